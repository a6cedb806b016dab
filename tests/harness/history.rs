//! What the clients of a run did, and what they were answered.
//!
//! Every operation has the moment when it was invoked and the moment when its answer was there, on one clock. The
//! operation took effect somewhere between them, so the checker needs no other knowledge of the servers.

use std::{sync::Mutex, time::Duration};

use tokend_client::v1::{DenyReason, Revision};
use tonic::Code;

use crate::clock::{Moment, Stopwatch};

/// A failed change may still take effect for this long after its answer: longer than any fault holds its COMMIT back.
const LATE: Duration = Duration::from_secs(90);

/// The index of a token in [`History::tokens`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TokenId(pub(crate) usize);

/// The index of a workspace in [`History::workspaces`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkspaceId(pub(crate) usize);

/// The index of a caller's key in [`History::keys`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyId(pub(crate) usize);

/// The index of a change in [`History::changes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChangeId(pub(crate) usize);

/// Everything that happened so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) workspaces: Vec<String>,
    pub(crate) tokens: Vec<Token>,
    /// The names of keys. Each of them is the only key of its caller.
    pub(crate) keys: Vec<String>,
    pub(crate) changes: Vec<Change>,
    pub(crate) verifies: Vec<Verify>,
}

/// A token that CreateToken or RotateToken returned.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) name: String,
    pub(crate) workspace: WorkspaceId,
    pub(crate) creation: Span,
}

/// The time from an operation's invocation to its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) invoked: Moment,
    pub(crate) responded: Moment,
}

/// What a change does to later verdicts, if it takes effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Revokes tokens.
    Revoke(Vec<TokenId>),
    /// Rotates tokens away. They expire at the end of the overlap.
    Expire { tokens: Vec<TokenId>, overlap: Duration },
    /// Suspends a workspace.
    Suspend(WorkspaceId),
    /// Resumes a workspace.
    Resume(WorkspaceId),
    /// Deletes a workspace.
    Delete(WorkspaceId),
    /// Applies a policy to the existing tokens of workspaces. They expire after `lifetime`.
    Limit {
        workspaces: Vec<WorkspaceId>,
        lifetime: Duration,
    },
    /// Removes the rules of a policy, and with them deadlines that have not passed.
    Unlimit(Vec<WorkspaceId>),
    /// Revokes keys of callers, or deletes the callers.
    RevokeKeys(Vec<KeyId>),
}

/// A change that was attempted.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) effect: Effect,
    /// The RPC.
    pub(crate) rpc: &'static str,
    /// The server that was asked.
    pub(crate) server: usize,
    /// Whether the call asked for an answer that waits for nobody. Such an answer promises nothing.
    pub(crate) no_wait: bool,
    pub(crate) invoked: Moment,
    /// The moment and content of the answer. `None` as long as there is none.
    pub(crate) answer: Option<(Moment, Outcome)>,
}

/// The answer to a change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The answer says that the change holds. An answer that the caller or key is gone already counts, too.
    Done(Option<Revision>),
    /// Anything else. The change may or may not take effect.
    Failed(Code),
}

/// A question that was asked, and its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verify {
    /// The index of the server or client that was asked.
    pub(crate) endpoint: usize,
    pub(crate) token: TokenId,
    /// The caller's key.
    pub(crate) key: KeyId,
    pub(crate) asks: Asks,
    pub(crate) consistency: Consistency,
    pub(crate) span: Span,
    pub(crate) verdict: Verdict,
}

/// What a question asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Asks {
    /// A scope and a resource that the token was granted.
    Granted,
    /// A scope that the token lacks.
    OtherScope,
    /// A resource of another workspace.
    OtherResource,
}

/// How new the state must be that the answer is based on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Consistency {
    /// As new as the promise demands.
    Ordinary,
    /// `fully_consistent`.
    Newest,
    /// `min_revision`.
    AtLeast(Revision),
}

/// The answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verdict {
    Allow,
    /// ALLOW, for a token other than the one that was asked about.
    AllowOther,
    Deny(DenyReason),
    /// The service does not know the caller.
    Unauthenticated,
    /// No verdict.
    Failed(Code),
}

impl Change {
    /// Returns the moment from which the change may have taken effect no more, if it had not before.
    pub(crate) fn latest_effect(&self) -> Moment {
        match self.answer {
            None => Moment::NEVER,
            Some((responded, Outcome::Done(_))) => responded,
            Some((responded, Outcome::Failed(_))) => responded.plus(LATE),
        }
    }

    /// Returns when the change was committed at the latest, if its answer says so, and its revision.
    pub(crate) fn committed(&self) -> Option<(Moment, Option<Revision>)> {
        match self.answer {
            Some((responded, Outcome::Done(revision))) => Some((responded, revision)),
            _ => None,
        }
    }

    /// Returns the moment from which the change is promised to hold everywhere.
    pub(crate) fn promised(&self) -> Option<Moment> {
        self.committed()
            .filter(|_| !self.no_wait)
            .map(|(responded, _)| responded)
    }
}

/// Records a history while it happens.
#[derive(Debug)]
pub(crate) struct Recorder {
    stopwatch: Stopwatch,
    history: Mutex<History>,
}

impl Recorder {
    pub(crate) fn start() -> Self {
        Self {
            stopwatch: Stopwatch::start(),
            history: Mutex::default(),
        }
    }

    pub(crate) fn stopwatch(&self) -> &Stopwatch {
        &self.stopwatch
    }

    pub(crate) fn now(&self) -> Moment {
        self.stopwatch.now()
    }

    /// Runs `work` with the history.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut History) -> T) -> T {
        work(&mut self.history.lock().expect("no recorder panics"))
    }

    pub(crate) fn workspace(&self, name: String) -> WorkspaceId {
        self.with(|history| {
            history.workspaces.push(name);
            WorkspaceId(history.workspaces.len() - 1)
        })
    }

    pub(crate) fn key(&self, name: String) -> KeyId {
        self.with(|history| {
            history.keys.push(name);
            KeyId(history.keys.len() - 1)
        })
    }

    pub(crate) fn token(&self, token: Token) -> TokenId {
        self.with(|history| {
            history.tokens.push(token);
            TokenId(history.tokens.len() - 1)
        })
    }

    /// Records the invocation of a change. Call it before the request is sent.
    pub(crate) fn invoke(&self, rpc: &'static str, server: usize, effect: Effect, no_wait: bool) -> ChangeId {
        let invoked = self.now();
        let change = Change {
            effect,
            rpc,
            server,
            no_wait,
            invoked,
            answer: None,
        };
        self.with(|history| {
            history.changes.push(change);
            ChangeId(history.changes.len() - 1)
        })
    }

    /// Records the answer to a change, and returns when it was there and how long it took.
    pub(crate) fn respond(&self, id: ChangeId, outcome: Outcome) -> (Moment, Duration) {
        let responded = self.now();
        self.with(|history| {
            let change = &mut history.changes[id.0];
            change.answer = Some((responded, outcome));
            (responded, responded.since(change.invoked))
        })
    }

    pub(crate) fn verified(&self, verify: Verify) {
        self.with(|history| history.verifies.push(verify));
    }
}
