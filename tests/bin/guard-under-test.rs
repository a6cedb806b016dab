//! A backend that verifies tokens, for the harness: a separate process, which tests can stop and kill.
//!
//!     guard-under-test ADDRESS...
//!
//! Reads one question in each line of standard input and writes one answer in each line of standard output, in any
//! order. A question names the caller's key with which to verify:
//!
//! ```text
//! ask:    NUMBER KEY SECRET RESOURCE SCOPE
//! answer: NUMBER ALLOW TOKEN-NAME | NUMBER DENY REASON | NUMBER UNAUTHENTICATED | NUMBER ERROR CODE
//! ```
//!
//! `REASON` is a name of the enum `DenyReason` without its prefix, `CODE` the number of a gRPC status code.

use std::{
    collections::HashMap,
    env,
    io::{self, BufRead, Write},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tokend_client::{
    CallError, CallerKey, Client,
    v1::{Decision, VerifyRequest},
};
use tokend_tests::broken_rules;
use tokio::sync::{Mutex, mpsc};
use tonic::Code;

/// Answers questions with one connection for each caller's key.
struct Backend {
    addresses: Vec<String>,
    next_address: AtomicUsize,
    clients: Mutex<HashMap<String, Client>>,
}

fn main() -> ExitCode {
    if let Some(ended) = broken_rules::Program::Guard.leave_out_rules() {
        return ended;
    }
    let backend = Arc::new(Backend {
        addresses: env::args().skip(1).collect(),
        next_address: AtomicUsize::new(0),
        clients: Mutex::default(),
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
        let (number, key, secret) = (words.next()?, words.next()?, words.next()?);
        let request = VerifyRequest {
            token: secret.to_owned(),
            resource: words.next()?.to_owned(),
            required_scopes: words.map(ToOwned::to_owned).collect(),
            ..Default::default()
        };
        Some((number, self.verify(key, request).await))
    }

    async fn verify(&self, key: &str, request: VerifyRequest) -> String {
        let Some(client) = self.client(key).await else {
            return error(Code::Unavailable);
        };
        match client.token_verify().verify(request).await {
            Ok(response) => {
                let response = response.into_inner();
                match response.decision() {
                    Decision::Allow => format!("ALLOW {}", response.token.unwrap_or_default().name),
                    Decision::Deny | Decision::Unspecified => {
                        let reason = response.deny_reason().as_str_name();
                        format!("DENY {}", reason.trim_start_matches("DENY_REASON_"))
                    }
                }
            }
            Err(status) => match CallError::from(status) {
                // Only the service itself says that a caller is unknown.
                CallError {
                    code: Code::Unauthenticated,
                    reason,
                    ..
                } if !reason.is_empty() => "UNAUTHENTICATED".to_owned(),
                failed => {
                    self.use_next_address(key).await;
                    error(failed.code)
                }
            },
        }
    }

    async fn client(&self, key: &str) -> Option<Client> {
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(key) {
            return Some(client.clone());
        }
        let number = self.next_address.fetch_add(1, Ordering::Relaxed);
        let address = &self.addresses[number % self.addresses.len()];
        let client = Client::connect(address, &CallerKey::new(key).ok()?).await.ok()?;
        clients.insert(key.to_owned(), client.clone());
        Some(client)
    }

    /// After an error, the next question with this key goes to another server.
    async fn use_next_address(&self, key: &str) {
        self.clients.lock().await.remove(key);
    }
}

fn error(code: Code) -> String {
    format!("ERROR {}", i32::from(code))
}
