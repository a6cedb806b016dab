use std::{
    fs::File,
    io::{Read, Write},
    os::unix::fs::FileExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::eventually;

/// A running program whose output is captured. Dropping it kills the program.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: Captured,
    stderr: Captured,
}

/// The exit status and output of a program that has exited.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its whole standard output.
    pub stdout: String,
    /// Its whole standard error.
    pub stderr: String,
}

impl Process {
    /// Starts a program and closes its standard input after `input`.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn spawn(mut command: Command, input: &(impl AsRef<[u8]> + ?Sized)) -> Self {
        let captured = || tempfile::tempfile().expect("a file for the output is created");
        let (stdout, stderr) = (captured(), captured());
        let copy = |file: &File| Stdio::from(file.try_clone().expect("the file has a copy"));
        command.stdout(copy(&stdout)).stderr(copy(&stderr));
        let mut process = Self::spawn_onto(command, input);
        process.stdout = Captured::File(stdout);
        process.stderr = Captured::File(stderr);
        process
    }

    /// Like [`spawn`](Self::spawn), but keeps the command's standard output and standard error. Captures only pipes.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn spawn_onto(mut command: Command, input: &(impl AsRef<[u8]> + ?Sized)) -> Self {
        command.stdin(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("can't run {command:?}: {error}"));
        let stdout = Captured::of_any(child.stdout.take());
        let stderr = Captured::of_any(child.stderr.take());
        // A program that exits without reading its input closes the pipe first.
        let _ = child
            .stdin
            .take()
            .expect("standard input is piped")
            .write_all(input.as_ref());
        Self { child, stdout, stderr }
    }

    /// Returns its standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Returns its standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Returns its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns whether the program still runs.
    ///
    /// # Panics
    /// If the system reports an error.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the program is waited for").is_none()
    }

    /// Sends SIGTERM, as a supervisor does to stop a service.
    ///
    /// # Panics
    /// If the program has already been waited for.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("the signal is sent");
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If the program has already been waited for.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the signal is sent");
    }

    /// Sends SIGABRT: the program crashes, and writes a core dump unless it has disabled core dumps.
    ///
    /// # Panics
    /// If the program has already been waited for.
    pub fn abort(&self) {
        kill_process(Pid::from_child(&self.child), Signal::ABORT).expect("the signal is sent");
    }

    /// Sends SIGINT, as Ctrl-C does.
    ///
    /// # Panics
    /// If the program has already been waited for.
    pub fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("the signal is sent");
    }

    /// Kills the program, as a crash does, and waits until it is gone.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn kill(mut self) {
        self.child.kill().expect("the program is killed");
        self.child.wait().expect("the program is waited for");
    }

    /// Waits until the program exits.
    ///
    /// # Panics
    /// If the program does not exit within half a minute.
    pub async fn finish(mut self) -> Finished {
        let child = &mut self.child;
        let status = eventually("the program ends", async || {
            child.try_wait().expect("the program is waited for")
        })
        .await;
        Finished {
            status,
            stdout: self.stdout.all(),
            stderr: self.stderr.all(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        #[expect(
            clippy::print_stderr,
            reason = "the test harness keeps what is printed so of a test that passes"
        )]
        if thread::panicking() {
            // The test runner shows this only if the test fails.
            eprintln!("--- stdout\n{}--- stderr\n{}---", self.stdout(), self.stderr());
        }
    }
}

impl Finished {
    /// Returns its exit code.
    ///
    /// # Panics
    /// If a signal killed the program.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| panic!("a signal killed the program: {self:#?}"))
    }

    /// Returns the standard output after asserting that the program exited with 0.
    ///
    /// # Panics
    /// If the exit code is not 0.
    pub fn succeeded(self) -> String {
        assert!(self.status.success(), "it has failed: {self:#?}");
        self.stdout
    }

    /// Returns the line on standard error after asserting that the program failed with exit code 1, one readable line,
    /// and nothing on standard output.
    ///
    /// # Panics
    /// If the program exited in any other way.
    pub fn failed_with_a_sentence(self) -> String {
        assert_eq!(self.code(), 1, "{self:#?}");
        assert_eq!(self.stdout, "", "{self:#?}");
        let lines: Vec<_> = self.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
        let [sentence] = lines[..] else {
            panic!("expected one line, not {}: {self:#?}", lines.len())
        };
        for jargon in [
            "panicked",
            "RUST_BACKTRACE",
            "Os {",
            "Error(",
            "Err(",
            "Some(",
            "DbErr",
            "SqlxError",
        ] {
            assert!(
                !sentence.contains(jargon),
                "{jargon} in a sentence for people: {sentence}"
            );
        }
        sentence.to_owned()
    }
}

/// What a program has written so far.
#[derive(Debug)]
enum Captured {
    /// To a file without a name: what the program has written is there at once.
    File(File),
    /// To a pipe. A thread reads it, so that the program never waits for the test.
    Pipe(Arc<Mutex<Vec<u8>>>, Option<JoinHandle<()>>),
}

impl Captured {
    fn of_any(pipe: Option<impl Read + Send + 'static>) -> Self {
        let read = Arc::new(Mutex::new(Vec::new()));
        let reader = pipe.map(|mut pipe| {
            let into = Arc::clone(&read);
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                    into.lock()
                        .expect("no reader panics")
                        .extend_from_slice(&buffer[..length]);
                }
            })
        });
        Self::Pipe(read, reader)
    }

    fn text(&self) -> String {
        match self {
            Self::File(file) => {
                // Reading at a position leaves the one at which the program writes.
                let mut bytes = vec![0; usize::try_from(length(file)).expect("the output fits into memory")];
                file.read_exact_at(&mut bytes, 0).expect("the output is read");
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Self::Pipe(read, _) => String::from_utf8_lossy(&read.lock().expect("no reader panics")).into_owned(),
        }
    }

    /// Returns all that was written, after the program has exited.
    fn all(&mut self) -> String {
        if let Self::Pipe(_, reader) = self
            && let Some(reader) = reader.take()
        {
            reader.join().expect("the reader does not panic");
        }
        self.text()
    }
}

fn length(file: &File) -> u64 {
    file.metadata().expect("the file has a length").len()
}
