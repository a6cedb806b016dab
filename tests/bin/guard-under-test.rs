//! A backend that guards requests with the SDK's [`TokenGuard`], for the harness: a separate process, which tests can
//! stop and kill.
//!
//!     guard-under-test ADDRESS...
//!
//! Reads one question in each line of standard input and writes one answer in each line of standard output, in any
//! order. A question names the caller's key with which to verify:
//!
//! ```text
//! ask:    NUMBER KEY SECRET RESOURCE SCOPE
//! answer: NUMBER ALLOW TOKEN-NAME | NUMBER DENY REASON | NUMBER UNAUTHENTICATED | NUMBER ERROR CODE
//!
//! ask:    NUMBER STATS
//! answer: NUMBER STATS HITS MISSES STREAMS RESYNCS REFUSED-ANSWERS
//! ```
//!
//! `REASON` is a name of the enum `DenyReason` without its prefix, `CODE` the number of a gRPC status code. The counts
//! are those of `GuardStats`, of all guards since the process started.

use std::{
    env,
    io::{self, BufRead, Write},
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokend_client::{
    CallerKey, Client,
    guard::{Denied, GuardStats, TokenGuard},
};
use tokend_tests::broken_rules;
use tokio::sync::mpsc;
use tonic::Code;

/// The most guards. Those of keys that are not asked with any more, such as revoked ones, leave.
const MOST_GUARDS: usize = 16;

/// Answers questions with one guard for each caller's key.
struct Backend {
    /// All servers, separated by commas.
    addresses: String,
    guards: Mutex<Guards>,
}

/// The guards by their keys, the one that was used last at the end.
#[derive(Default)]
struct Guards {
    by_key: Vec<(String, TokenGuard)>,
    /// What the guards that left have counted.
    past: [u64; 5],
}

fn main() -> ExitCode {
    if let Some(ended) = broken_rules::Program::Guard.leave_out_rules() {
        return ended;
    }
    let backend = Arc::new(Backend {
        addresses: env::args().skip(1).collect::<Vec<_>>().join(","),
        guards: Mutex::default(),
    });
    let (questions, mut asked) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if questions.send(line).is_err() {
                return;
            }
        }
    });
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    runtime.block_on(async {
        while let Some(line) = asked.recv().await {
            let backend = Arc::clone(&backend);
            tokio::spawn(async move {
                if let Some((number, answer)) = backend.answer(&line).await {
                    write(&format!("{number} {answer}\n"));
                }
            });
        }
    });
    ExitCode::SUCCESS
}

#[expect(
    clippy::disallowed_methods,
    reason = "this program has no other output than its answers"
)]
fn write(line: &str) {
    let mut output = io::stdout().lock();
    // Nobody reads the answers any more if it fails.
    let _ = output.write_all(line.as_bytes()).and_then(|()| output.flush());
}

impl Backend {
    /// Returns the number of a question and its answer. Ignores a line that is not a question.
    async fn answer<'a>(&self, line: &'a str) -> Option<(&'a str, String)> {
        let mut words = line.split(' ');
        let number = words.next()?;
        let answer = match (words.next()?, words.next()) {
            ("STATS", None) => self.stats(),
            (key, Some(secret)) => {
                let (resource, scopes) = (words.next()?, words.collect::<Vec<_>>());
                self.verify(key, secret, resource, &scopes).await
            }
            _ => return None,
        };
        Some((number, answer))
    }

    async fn verify(&self, key: &str, secret: &str, resource: &str, scopes: &[&str]) -> String {
        let Some(guard) = self.guard(key).await else {
            return error(Code::Internal);
        };
        match guard.verify(secret, resource, scopes, None).await {
            Ok(token) => format!("ALLOW {}", token.name()),
            Err(Denied::ByVerdict { reason, .. }) => {
                format!("DENY {}", reason.as_str_name().trim_start_matches("DENY_REASON_"))
            }
            Err(Denied::Misconfigured(failed)) => match failed.code {
                // Only the service itself says that a caller is unknown.
                Code::Unauthenticated if !failed.reason.is_empty() => "UNAUTHENTICATED".to_owned(),
                code => error(code),
            },
            Err(Denied::Unavailable { .. }) => error(Code::Unavailable),
            Err(_) => error(Code::Internal),
        }
    }

    /// Returns the guard that asks with this key.
    async fn guard(&self, key: &str) -> Option<TokenGuard> {
        if let Some(guard) = self.lock().get(key) {
            return Some(guard);
        }
        let client = Client::builder(&self.addresses).key(&CallerKey::new(key).ok()?);
        let client = client.connect_lazy().await.ok()?;
        let mut guards = self.lock();
        // Another question may have been quicker.
        Some(guards.get(key).unwrap_or_else(|| guards.add(key, &client)))
    }

    fn stats(&self) -> String {
        let counts = self.lock().counts();
        format!("STATS {}", counts.map(|count| count.to_string()).join(" "))
    }

    fn lock(&self) -> MutexGuard<'_, Guards> {
        self.guards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guards {
    fn get(&mut self, key: &str) -> Option<TokenGuard> {
        let place = self.by_key.iter().position(|(of, _)| of == key)?;
        let found = self.by_key.remove(place);
        let guard = found.1.clone();
        self.by_key.push(found);
        Some(guard)
    }

    fn add(&mut self, key: &str, client: &Client) -> TokenGuard {
        if self.by_key.len() >= MOST_GUARDS {
            let (_, left) = self.by_key.remove(0);
            self.past = sum(self.past, counts(&left.stats()));
        }
        let guard = TokenGuard::new(client);
        self.by_key.push((key.to_owned(), guard.clone()));
        guard
    }

    fn counts(&self) -> [u64; 5] {
        let guards = self.by_key.iter().map(|(_, guard)| counts(&guard.stats()));
        guards.fold(self.past, sum)
    }
}

fn counts(stats: &GuardStats) -> [u64; 5] {
    [
        stats.hits,
        stats.misses,
        stats.streams,
        stats.resyncs,
        stats.refused_answers,
    ]
}

fn sum(mut one: [u64; 5], other: [u64; 5]) -> [u64; 5] {
    for (count, more) in one.iter_mut().zip(other) {
        *count += more;
    }
    one
}

fn error(code: Code) -> String {
    format!("ERROR {}", i32::from(code))
}
