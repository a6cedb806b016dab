//! An endpoint that is a separate process, such as one with the SDK's guard.
//!
//! It speaks the protocol that `tests/bin/guard-under-test.rs` describes. A question is invoked before its line is written
//! and answered after the other line is read, so what the history says is true of the process, too.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    ops::Add,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokend_client::v1::DenyReason;
use tokend_tests::broken_rules;
use tokio::{sync::oneshot, time::timeout};
use tonic::Code;

use crate::{endpoint::Question, history::Verdict};

/// Longer than any fault.
const PATIENCE: Duration = Duration::from_secs(45);

/// How long the answer to a question for counts is waited for.
const COUNTS_PATIENCE: Duration = Duration::from_secs(5);

/// The most questions without an answer. Their lines fit into the pipe, so that writing never blocks.
const MOST_WAITING: usize = 150;

/// Who waits for which answer. `None` once the process has exited.
type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<String>>>>>;

/// What the guards of a process have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Questions that a cache answered.
    pub(crate) hits: u64,
    /// Questions that no cache could answer.
    pub(crate) misses: u64,
    /// Watch streams that began.
    pub(crate) streams: u64,
    /// How often everything in a cache had to be dropped.
    pub(crate) resyncs: u64,
    /// Answers that were too old to be cached.
    pub(crate) refused_answers: u64,
}

/// A process that answers questions. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    /// The rules that the process leaves out.
    broken_rules: String,
    running: Mutex<Running>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Running {
    child: Child,
    input: ChildStdin,
    waiting: Waiting,
    /// What the process had counted when it was last asked.
    counts: Counts,
    /// What its predecessors had counted.
    past: Counts,
}

impl Program {
    /// Starts the process.
    pub(crate) fn start(name: &str, program: &str, arguments: Vec<String>, broken_rules: &str) -> Self {
        let program = PathBuf::from(program);
        Self {
            name: name.to_owned(),
            running: Mutex::new(Running::start(&program, &arguments, broken_rules)),
            program,
            arguments,
            broken_rules: broken_rules.to_owned(),
            next: AtomicU64::new(0),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, signal: Signal) {
        // It fails for a process that has exited.
        let _ = kill_process(Pid::from_child(&self.lock().child), signal);
    }

    /// Kills the process and starts another one.
    pub(crate) fn restart(&self) {
        let mut running = self.lock();
        let past = running.past + running.counts;
        *running = Running::start(&self.program, &self.arguments, &self.broken_rules);
        running.past = past;
    }

    /// Returns what the guards have counted, except for what killed processes counted since they were last asked.
    pub(crate) async fn counts(&self) -> Counts {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let asked = self.lock().send(number, &format!("{number} STATS\n"));
        if let Ok(answered) = asked
            && let Ok(Ok(answer)) = timeout(COUNTS_PATIENCE, answered).await
            && let Some(counts) = counts(&answer)
        {
            self.lock().counts = counts;
        }
        let running = self.lock();
        running.past + running.counts
    }

    /// Asks the process.
    pub(crate) async fn ask(&self, asked: &Question) -> Verdict {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let line = format!(
            "{number} {} {} {} {}\n",
            asked.caller_secret,
            asked.secret,
            asked.resource(),
            asked.scope()
        );
        let answered = match self.lock().send(number, &line) {
            Ok(answered) => answered,
            Err(code) => return Verdict::Failed(code),
        };
        match timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => verdict(&answer, &asked.token_name),
            Ok(Err(_)) => Verdict::Failed(Code::Unavailable),
            Err(_) => Verdict::Failed(Code::DeadlineExceeded),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn start(program: &Path, arguments: &[String], broken_rules: &str) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .env(broken_rules::VARIABLE, broken_rules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("can't run {}: {error}", program.display()));
        let input = child.stdin.take().expect("standard input is piped");
        let output = child.stdout.take().expect("standard output is piped");
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let answered = Arc::clone(&waiting);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Some((number, answer)) = line.split_once(' ') else {
                    continue;
                };
                let mut waiting = answered.lock().expect("no reader panics");
                let number = number.parse::<u64>().ok();
                if let Some(waits) = number.and_then(|number| waiting.as_mut()?.remove(&number)) {
                    // Nobody waits any more if the question was given up.
                    let _ = waits.send(answer.to_owned());
                }
            }
            // The process has exited. Its questions get no answer.
            answered.lock().expect("no reader panics").take();
        });
        Self {
            child,
            input,
            waiting,
            counts: Counts::default(),
            past: Counts::default(),
        }
    }

    /// Sends a question, and returns where its answer will be.
    fn send(&mut self, number: u64, line: &str) -> Result<oneshot::Receiver<String>, Code> {
        let (answer, answered) = oneshot::channel();
        match self.waiting.lock().expect("no asker panics").as_mut() {
            None => return Err(Code::Unavailable),
            Some(waiting) if waiting.len() >= MOST_WAITING => return Err(Code::ResourceExhausted),
            Some(waiting) => waiting.insert(number, answer),
        };
        self.input.write_all(line.as_bytes()).map_err(|_| Code::Unavailable)?;
        Ok(answered)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            hits: self.hits + other.hits,
            misses: self.misses + other.misses,
            streams: self.streams + other.streams,
            resyncs: self.resyncs + other.resyncs,
            refused_answers: self.refused_answers + other.refused_answers,
        }
    }
}

/// Parses an answer with counts, without its number.
fn counts(answer: &str) -> Option<Counts> {
    let mut words = answer.strip_prefix("STATS ")?.split(' ').map(str::parse);
    let mut next = || words.next()?.ok();
    Some(Counts {
        hits: next()?,
        misses: next()?,
        streams: next()?,
        resyncs: next()?,
        refused_answers: next()?,
    })
}

/// Parses an answer without its number.
fn verdict(answer: &str, token_name: &str) -> Verdict {
    let (word, rest) = answer.split_once(' ').unwrap_or((answer, ""));
    match word {
        "ALLOW" if rest == token_name => Verdict::Allow,
        "ALLOW" => Verdict::AllowOther,
        "DENY" => {
            Verdict::Deny(DenyReason::from_str_name(&format!("DENY_REASON_{rest}")).unwrap_or(DenyReason::Unspecified))
        }
        "UNAUTHENTICATED" => Verdict::Unauthenticated,
        _ => Verdict::Failed(rest.parse().map_or(Code::Unknown, Code::from_i32)),
    }
}

#[cfg(test)]
mod tests {
    use tokend_client::CallerKey;

    use super::*;
    use crate::history::{Asks, Consistency, KeyId, TokenId};

    fn question(secret: &str) -> Question {
        Question {
            token: TokenId(0),
            token_name: "workspaces/acme/tokens/one".to_owned(),
            secret: secret.to_owned(),
            workspace: "workspaces/acme".to_owned(),
            asks: Asks::Granted,
            consistency: Consistency::Ordinary,
            key: KeyId(0),
            caller: CallerKey::new("key").expect("a key"),
            caller_secret: "key".to_owned(),
        }
    }

    fn script(text: &str) -> Program {
        Program::start("script", "sh", vec!["-c".to_owned(), text.to_owned()], "")
    }

    /// A program that answers with the third word of the question, in which `_` stands for a space.
    fn echo() -> Program {
        script("while read number key secret rest; do echo \"$number $secret\" | tr _ ' '; done")
    }

    #[tokio::test]
    async fn every_answer_is_understood() {
        let program = echo();
        for (answer, expected) in [
            ("ALLOW_workspaces/acme/tokens/one", Verdict::Allow),
            ("ALLOW_workspaces/acme/tokens/two", Verdict::AllowOther),
            ("DENY_EXPIRED", Verdict::Deny(DenyReason::Expired)),
            ("UNAUTHENTICATED", Verdict::Unauthenticated),
            ("ERROR_14", Verdict::Failed(Code::Unavailable)),
        ] {
            assert_eq!(program.ask(&question(answer)).await, expected, "{answer}");
        }
    }

    #[tokio::test]
    async fn what_a_killed_process_counted_is_not_lost() {
        let program = script("while read number rest; do echo \"$number STATS 1 20 3 4 5\"; done");
        let once = Counts {
            hits: 1,
            misses: 20,
            streams: 3,
            resyncs: 4,
            refused_answers: 5,
        };
        assert_eq!(program.counts().await, once);
        assert_eq!(program.counts().await, once, "the process counts, not the asker");
        program.restart();
        assert_eq!(program.counts().await, once + once);
    }

    #[tokio::test]
    async fn a_program_that_has_exited_gives_no_verdict() {
        let program = script("exit");
        let verdict = program.ask(&question("ALLOW")).await;
        assert_eq!(verdict, Verdict::Failed(Code::Unavailable));
    }

    #[tokio::test]
    async fn a_question_to_a_killed_program_gets_no_verdict() {
        let program = Arc::new(echo());
        program.signal(Signal::STOP);
        let asking = Arc::clone(&program);
        let asked = tokio::spawn(async move { asking.ask(&question("UNAUTHENTICATED")).await });
        tokio::task::yield_now().await;
        program.restart();
        assert_eq!(asked.await.expect("no panic"), Verdict::Failed(Code::Unavailable));
        assert_eq!(
            program.ask(&question("UNAUTHENTICATED")).await,
            Verdict::Unauthenticated
        );
    }
}
