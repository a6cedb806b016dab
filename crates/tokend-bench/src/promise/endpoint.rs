//! Whoever gives verdicts, and the verdicts that the promise forbids.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokend_client::{
    Client,
    guard::{Denied, StreamState, TokenGuard},
    v1::{Decision, DenyReason},
};
use tokend_core::time::{BootTime, Clock};
use tonic::Code;

use super::calls::{SCOPE, Times, Token, WORKSPACE, question};
use crate::BoxError;

/// How long a guard may take to open its stream.
const STREAM_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// How often a question is asked that gets no verdict, on a healthy but busy machine.
const ATTEMPTS: usize = 100;

/// The most wrong verdicts that are described.
const DESCRIBED: usize = 20;

/// Something that gives verdicts.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) name: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// A server, over a connection of its own.
    Server(Client),
    /// A guard with its cache, which watches a server.
    Guard(TokenGuard),
}

/// What an endpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    Deny(DenyReason),
    Unavailable,
    /// An error that is neither a verdict nor an outage.
    Failed(String),
}

/// The wrong verdicts so far. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Wrong(Arc<Mutex<(u64, Vec<String>)>>);

impl Endpoint {
    /// Creates the endpoint of a server. The client must not repeat calls.
    pub(super) fn server(index: usize, client: Client) -> Self {
        Self {
            name: format!("server {index}"),
            kind: Kind::Server(client),
        }
    }

    /// Creates a guard, and waits until its stream is open.
    pub(super) async fn guard(index: usize, client: &Client) -> Result<Self, BoxError> {
        let guard = TokenGuard::new(client);
        let is_open = async {
            while guard.stats().stream != StreamState::Open {
                tokio::time::sleep(POLL).await;
            }
        };
        let opened = tokio::time::timeout(STREAM_LIMIT, is_open).await;
        opened.map_err(|_| "the guard's stream does not open")?;
        Ok(Self {
            name: format!("guard {index}"),
            kind: Kind::Guard(guard),
        })
    }

    pub(super) const fn is_guard(&self) -> bool {
        matches!(self.kind, Kind::Guard(_))
    }

    /// Returns the requests that a guard has allowed from its cache.
    pub(super) fn hits(&self) -> u64 {
        match &self.kind {
            Kind::Server(_) => 0,
            Kind::Guard(guard) => guard.stats().hits,
        }
    }

    /// Asks whether the token permits what it was created for.
    pub(super) async fn ask(&self, clock: &Clock, token: &Token) -> (Verdict, Times) {
        let sent = clock.boot_time();
        let verdict = match &self.kind {
            Kind::Server(client) => match client.token_verify().verify(question(token)).await {
                Ok(response) => {
                    let response = response.into_inner();
                    match response.decision() {
                        Decision::Allow => Verdict::Allow,
                        Decision::Deny | Decision::Unspecified => Verdict::Deny(response.deny_reason()),
                    }
                }
                Err(status) if status.code() == Code::Unavailable => Verdict::Unavailable,
                Err(status) => Verdict::Failed(format!("{:?}: {}", status.code(), status.message())),
            },
            Kind::Guard(guard) => match guard.verify(&token.secret, WORKSPACE, &[SCOPE], None).await {
                Ok(_) => Verdict::Allow,
                Err(Denied::ByVerdict { reason, .. }) => Verdict::Deny(reason),
                Err(Denied::Unavailable { .. }) => Verdict::Unavailable,
                Err(denied) => Verdict::Failed(denied.to_string()),
            },
        };
        let answered = clock.boot_time();
        (verdict, Times { sent, answered })
    }

    /// Asks about a token that nobody has revoked until two answers allow it: the second one comes from memory. On a
    /// busy machine, a server may need several attempts.
    pub(super) async fn warm(&self, clock: &Clock, token: &Token, wrong: &Wrong) -> Result<(), BoxError> {
        for _ in 0..2 {
            if let Verdict::Deny(reason) = self.verdict(clock, token).await?.0 {
                wrong.denied(self, token, reason);
            }
        }
        Ok(())
    }

    /// Asks about a token whose revocation has been answered: an ALLOW is wrong.
    pub(super) async fn check_revoked(&self, clock: &Clock, token: &Token, wrong: &Wrong) -> Result<(), BoxError> {
        let (verdict, times) = self.verdict(clock, token).await?;
        if verdict == Verdict::Allow {
            wrong.allowed(self, token, times.sent);
        }
        Ok(())
    }

    /// Asks until there is a verdict.
    async fn verdict(&self, clock: &Clock, token: &Token) -> Result<(Verdict, Times), BoxError> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let answer = self.ask(clock, token).await;
            if matches!(answer.0, Verdict::Allow | Verdict::Deny(_)) {
                return Ok(answer);
            }
            last = Some(answer.0);
            tokio::time::sleep(POLL).await;
        }
        Err(format!("{} gives no verdict: {last:?}", self.name).into())
    }
}

impl Wrong {
    /// Records an ALLOW for a token whose revocation had been answered before the question was sent.
    pub(super) fn allowed(&self, endpoint: &Endpoint, token: &Token, sent: BootTime) {
        let (name, token, sent) = (&endpoint.name, &token.name, sent.as_micros());
        self.record(format!(
            "{name} allowed {token}, which was revoked before (asked at {sent} µs)"
        ));
    }

    /// Records a DENY for a token that nobody had revoked.
    pub(super) fn denied(&self, endpoint: &Endpoint, token: &Token, reason: DenyReason) {
        let (name, token, reason) = (&endpoint.name, &token.name, reason.as_str_name());
        self.record(format!("{name} denied {token}, which nobody revoked: {reason}"));
    }

    pub(super) fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Returns how many there were, and the first ones.
    pub(super) fn take(&self) -> (u64, Vec<String>) {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn record(&self, description: String) {
        let mut wrong = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.0 += 1;
        if wrong.1.len() < DESCRIBED {
            wrong.1.push(description);
        }
    }
}
