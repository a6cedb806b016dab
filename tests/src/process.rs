use std::{
    io::{Read, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::eventually;

/// A running program whose output is kept. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: Captured,
    stderr: Captured,
}

/// What a program left when it ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

impl Process {
    /// Starts a program and closes its standard input after `input`.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn spawn(mut command: Command, input: &(impl AsRef<[u8]> + ?Sized)) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::spawn_onto(command, input)
    }

    /// Likewise, with the standard output and standard error that the command was given: what is no pipe is not kept.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn spawn_onto(mut command: Command, input: &(impl AsRef<[u8]> + ?Sized)) -> Self {
        command.stdin(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("can't run {command:?}: {error}"));
        let stdout = Captured::of_any(child.stdout.take());
        let stderr = Captured::of_any(child.stderr.take());
        // A program that ends without reading its input closes the pipe first.
        let _ = child.stdin.take().expect("it is piped").write_all(input.as_ref());
        Self { child, stdout, stderr }
    }

    /// Its standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Its standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// If the system does not tell.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it can be waited for").is_none()
    }

    /// Sends it SIGTERM, the way every supervisor asks a service to end.
    ///
    /// # Panics
    /// If it has been waited for already.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it is there to be told");
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has been waited for already.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is there to get it");
    }

    /// Sends it SIGABRT, which makes a crash of it: a process that may be dumped leaves a core dump.
    ///
    /// # Panics
    /// If it has been waited for already.
    pub fn abort(&self) {
        kill_process(Pid::from_child(&self.child), Signal::ABORT).expect("it is there to be told");
    }

    /// Sends it SIGINT, as Ctrl-C does.
    ///
    /// # Panics
    /// If it has been waited for already.
    pub fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it is there to be told");
    }

    /// Ends it at once, the way a crash does, and waits until it is gone.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// If it does not within half a minute.
    pub async fn finish(mut self) -> Finished {
        let child = &mut self.child;
        let status = eventually("the program ends", async || child.try_wait().expect("it can be waited for")).await;
        Finished { status, stdout: self.stdout.all(), stderr: self.stderr.all() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        #[expect(clippy::print_stderr, reason = "the test harness keeps what is printed so of a test that passes")]
        if thread::panicking() {
            // Printed with the failure of the test; a passing one keeps silent.
            eprintln!("--- stdout\n{}--- stderr\n{}---", self.stdout(), self.stderr());
        }
    }
}

impl Finished {
    /// The code that it exited with.
    ///
    /// # Panics
    /// If a signal ended it.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("it was ended by a signal: {self:#?}"))
    }

    /// Its standard output, once it has ended well.
    ///
    /// # Panics
    /// If it exited with anything but 0.
    pub fn succeeded(self) -> String {
        assert!(self.status.success(), "it has failed: {self:#?}");
        self.stdout
    }

    /// The sentence on standard error with which it failed: exit code 1, one line of text for people, nothing on standard output.
    ///
    /// # Panics
    /// If it ended in any other way.
    pub fn failed_with_a_sentence(self) -> String {
        assert_eq!(self.code(), 1, "{self:#?}");
        assert_eq!(self.stdout, "", "{self:#?}");
        let lines: Vec<_> = self.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
        let [sentence] = lines[..] else { panic!("one sentence, not {}: {self:#?}", lines.len()) };
        for jargon in ["panicked", "RUST_BACKTRACE", "Os {", "Error(", "Err(", "Some(", "DbErr", "SqlxError"] {
            assert!(!sentence.contains(jargon), "{jargon} in a sentence for people: {sentence}");
        }
        sentence.to_owned()
    }
}

/// What was read from a pipe so far. A thread reads it, so that the program never waits for the test.
#[derive(Debug)]
struct Captured {
    read: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Captured {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let read = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&read);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                into.lock().expect("no reader panics").extend_from_slice(&buffer[..length]);
            }
        });
        Self { read, reader: Some(reader) }
    }

    fn of_any(pipe: Option<impl Read + Send + 'static>) -> Self {
        pipe.map_or_else(|| Self { read: Arc::default(), reader: None }, Self::of)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.read.lock().expect("no reader panics")).into_owned()
    }

    /// Everything, once the program has closed the pipe.
    fn all(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it does not panic");
        }
        self.text()
    }
}
