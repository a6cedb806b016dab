//! What verifies tokens for a backend: a server, or a client that keeps answers.
//!
//! An endpoint answers ALLOW, DENY or an error for a token, a resource and scopes. [`Endpoint::Server`] asks one server.
//! [`Endpoint::Caching`] is a client that keeps an ALLOW for the answer's `cacheable_for`. [`Endpoint::Program`] is a
//! separate process, such as one with the SDK's guard.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use tokend_client::{
    CallerKey,
    v1::{Decision, VerifyRequest, token_verify_client::TokenVerifyClient},
};
use tokio::time::{sleep, timeout};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

use crate::{
    clock::{Moment, Stopwatch},
    cluster::{Cluster, Server},
    history::{Asks, Consistency, KeyId, TokenId, Verdict},
    program::Program,
};

/// Longer than any fault: an answer that a stopped server owes is waited for.
const PATIENCE: Duration = Duration::from_secs(45);
/// How long a client that finds its server down waits before the next attempt.
const DOWN_PAUSE: Duration = Duration::from_millis(50);

/// Something that answers whether a token may do something.
#[derive(Debug)]
pub(crate) enum Endpoint {
    /// A server, by its index.
    Server(usize),
    /// A client that keeps answers.
    Caching(CachingClient),
    /// A separate process.
    Program(Program),
}

/// A question with all that is needed to ask it.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) token: TokenId,
    pub(crate) token_name: String,
    pub(crate) secret: String,
    pub(crate) workspace: String,
    pub(crate) asks: Asks,
    pub(crate) consistency: Consistency,
    pub(crate) key: KeyId,
    pub(crate) caller: CallerKey,
    /// The same key in clear, for a program.
    pub(crate) caller_secret: String,
}

impl Question {
    /// The resource in the question.
    pub(crate) fn resource(&self) -> String {
        match self.asks {
            Asks::OtherResource => "workspaces/elsewhere/repositories/site".to_owned(),
            Asks::Granted | Asks::OtherScope => format!("{}/repositories/site", self.workspace),
        }
    }

    /// The required scope. Tokens have `repository:write`.
    pub(crate) fn scope(&self) -> &'static str {
        match self.asks {
            Asks::OtherScope => "webhook",
            Asks::Granted | Asks::OtherResource => "repository",
        }
    }

    fn request(&self) -> VerifyRequest {
        let min_revision = match self.consistency {
            Consistency::AtLeast(revision) => Some(revision),
            Consistency::Ordinary | Consistency::Newest => None,
        };
        VerifyRequest {
            token: self.secret.clone(),
            resource: self.resource(),
            required_scopes: vec![self.scope().to_owned()],
            min_revision,
            fully_consistent: self.consistency == Consistency::Newest,
            ..Default::default()
        }
    }
}

/// The answer of a server.
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    /// How long the verdict may be kept, counted from when the question was sent.
    pub(crate) cacheable_for: Duration,
    /// The reason of an error that the service returned itself.
    pub(crate) error: Option<String>,
}

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Self {
        Self {
            verdict,
            cacheable_for: Duration::ZERO,
            error: None,
        }
    }
}

impl Endpoint {
    /// Asks, and waits for the answer. `server` is a server for those that are tied to none.
    pub(crate) async fn ask(
        &self,
        cluster: &Cluster,
        stopwatch: &Stopwatch,
        server: usize,
        asked: &Question,
    ) -> Answer {
        match self {
            Self::Server(index) => ask(cluster.servers()[*index].verify_line(), asked).await,
            Self::Caching(client) => client.ask(&cluster.servers()[server], stopwatch, asked).await,
            Self::Program(program) => program.ask(asked).await.into(),
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Server(index) => format!("server {}", index + 1),
            Self::Caching(client) => client.name.clone(),
            Self::Program(program) => program.name().to_owned(),
        }
    }
}

/// Asks the server at the other end of a line. Without a line, the server is down.
async fn ask(line: Option<Channel>, asked: &Question) -> Answer {
    let Some(line) = line else {
        sleep(DOWN_PAUSE).await;
        return Verdict::Failed(Code::Unavailable).into();
    };
    let mut client = TokenVerifyClient::with_interceptor(line, asked.caller.clone());
    match timeout(PATIENCE, client.verify(asked.request())).await {
        Err(_) => Verdict::Failed(Code::DeadlineExceeded).into(),
        Ok(Err(status)) => error(&status),
        Ok(Ok(response)) => {
            let response = response.into_inner();
            let name = response.token.as_ref().map(|token| token.name.as_str());
            let verdict = match response.decision() {
                Decision::Allow if name == Some(&asked.token_name) => Verdict::Allow,
                Decision::Allow => Verdict::AllowOther,
                Decision::Deny | Decision::Unspecified => Verdict::Deny(response.deny_reason()),
            };
            let cacheable_for = response.cacheable_for.and_then(|span| span.try_into().ok());
            Answer {
                verdict,
                cacheable_for: cacheable_for.unwrap_or_default(),
                error: None,
            }
        }
    }
}

fn error(status: &Status) -> Answer {
    let reason = reason(status);
    // Only the service itself says that a caller is unknown.
    let verdict = match status.code() {
        Code::Unauthenticated if reason.is_some() => Verdict::Unauthenticated,
        code => Verdict::Failed(code),
    };
    Answer {
        error: reason,
        ..Answer::from(verdict)
    }
}

/// Returns the reason of an error, if the service itself returned it.
pub(crate) fn reason(status: &Status) -> Option<String> {
    let details = status.get_error_details();
    details.error_info().map(|info| info.reason.clone())
}

/// A mistake of a client, by which a run shows that it finds such mistakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// Keeps an ALLOW for this long, whatever the answer says.
    KeepsFor(Duration),
    /// Keeps an ALLOW for its `cacheable_for`, counted from the answer: without the rule `CacheableFromSend`.
    CountsFromAnswer,
    /// Keeps an ALLOW for all questions about the token.
    ForgetsQuestion,
    /// Answers an outage with DENY.
    DeniesInOutage,
    /// Answers UNAVAILABLE as if the caller were unknown.
    BlamesCaller,
}

/// A client that keeps an ALLOW for its `cacheable_for`, counted from when the question was sent. It asks any server,
/// through the proxy in front of it.
#[derive(Debug)]
pub(crate) struct CachingClient {
    name: String,
    flaw: Flaw,
    kept: Mutex<Kept>,
}

/// Until when an ALLOW may be used.
#[derive(Debug, Default)]
pub(crate) struct Kept(HashMap<(TokenId, Asks, KeyId), Moment>);

impl Kept {
    /// The most answers to keep. More are not needed: a lease lasts about a second.
    const MOST: usize = 4_096;

    fn keep(&mut self, key: (TokenId, Asks, KeyId), sent: Moment, span: Duration) {
        if span.is_zero() {
            return;
        }
        if self.0.len() >= Self::MOST {
            self.0.clear();
        }
        self.0.insert(key, sent.plus(span));
    }

    fn allows(&self, key: (TokenId, Asks, KeyId), now: Moment) -> bool {
        self.0.get(&key).is_some_and(|until| now < *until)
    }
}

impl CachingClient {
    pub(crate) fn new(name: &str, flaw: Flaw) -> Self {
        Self {
            name: name.to_owned(),
            flaw,
            kept: Mutex::default(),
        }
    }

    async fn ask(&self, server: &Server, stopwatch: &Stopwatch, asked: &Question) -> Answer {
        let asks = match self.flaw {
            Flaw::ForgetsQuestion => Asks::Granted,
            _ => asked.asks,
        };
        let (key, sent) = ((asked.token, asks, asked.key), stopwatch.now());
        let may_use_kept = asked.consistency == Consistency::Ordinary;
        if may_use_kept && self.kept.lock().expect("no client panics").allows(key, sent) {
            return Verdict::Allow.into();
        }
        let mut answer = ask(server.remote_line(), asked).await;
        if answer.verdict == Verdict::Allow {
            let span = match self.flaw {
                Flaw::KeepsFor(span) => span,
                Flaw::ForgetsQuestion => Duration::from_secs(1),
                _ => answer.cacheable_for,
            };
            let from = match self.flaw {
                Flaw::CountsFromAnswer => stopwatch.now(),
                _ => sent,
            };
            self.kept.lock().expect("no client panics").keep(key, from, span);
        }
        match (self.flaw, answer.verdict) {
            (Flaw::DeniesInOutage, Verdict::Failed(_)) => {
                answer.verdict = Verdict::Deny(tokend_client::v1::DenyReason::Revoked);
            }
            (Flaw::BlamesCaller, Verdict::Failed(_)) => answer.verdict = Verdict::Unauthenticated,
            _ => {}
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_from_when_the_question_was_sent() {
        let key = (TokenId(1), Asks::Granted, KeyId(1));
        let at = |millis| Moment::START.plus(Duration::from_millis(millis));
        let mut kept = Kept::default();
        kept.keep(key, at(100), Duration::from_millis(50));
        assert!(kept.allows(key, at(149)));
        assert!(!kept.allows(key, at(150)));
        for other in [
            (TokenId(2), Asks::Granted, KeyId(1)),
            (TokenId(1), Asks::OtherScope, KeyId(1)),
            (TokenId(1), Asks::Granted, KeyId(2)),
        ] {
            assert!(!kept.allows(other, at(100)));
        }
        kept.keep((TokenId(3), Asks::Granted, KeyId(1)), at(100), Duration::ZERO);
        assert_eq!(kept.0.len(), 1);
    }
}
