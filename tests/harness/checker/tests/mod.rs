//! Histories made by hand: each kind of violation is found, and no allowed order is reported.

mod causes;
mod ends;

use std::{ops::Range, time::Duration};

use tokend_client::v1::{DenyReason, Revision};
use tonic::Code;

use super::{Kind, Violation, check, describe};
use crate::{
    clock::Moment,
    history::{
        Asks, Change, ChangeId, Consistency, Effect, History, KeyId, Outcome, Span, Token, TokenId, Verdict, Verify,
        WorkspaceId,
    },
};

const ALLOW: Verdict = Verdict::Allow;
const FAILED: Outcome = Outcome::Failed(Code::Unavailable);
const DONE: Outcome = Outcome::Done(None);
const TOKEN: TokenId = TokenId(0);
const WORKSPACE: WorkspaceId = WorkspaceId(0);
const KEY: KeyId = KeyId(0);
const AT_ONCE: Duration = Duration::from_micros(1);

/// A history with a workspace, a caller, and a token that was created from 10 to 20 ms.
struct Story(History);

fn ms(millis: u64) -> Moment {
    Moment::START.plus(Duration::from_millis(millis))
}

fn span(millis: &Range<u64>) -> Span {
    Span {
        invoked: ms(millis.start),
        responded: ms(millis.end),
    }
}

fn at(number: u64) -> Revision {
    Revision { epoch: 1, number }
}

impl Story {
    fn new() -> Self {
        let token = Token {
            name: "workspaces/acme/tokens/one".to_owned(),
            workspace: WORKSPACE,
            creation: span(&(10..20)),
        };
        Self(History {
            workspaces: vec!["workspaces/acme".to_owned()],
            tokens: vec![token],
            keys: vec!["callers/shop/keys/one".to_owned()],
            ..History::default()
        })
    }

    fn answered(mut self, effect: Effect, millis: Range<u64>, outcome: Outcome) -> Self {
        self.push(effect, &millis, Some(outcome), false);
        self
    }

    fn done(self, effect: Effect, millis: Range<u64>) -> Self {
        self.answered(effect, millis, DONE)
    }

    fn done_without_wait(mut self, effect: Effect, millis: Range<u64>, revision: u64) -> Self {
        self.push(effect, &millis, Some(Outcome::Done(Some(at(revision)))), true);
        self
    }

    fn unanswered(mut self, effect: Effect, invoked: u64) -> Self {
        self.push(effect, &(invoked..invoked), None, false);
        self
    }

    fn push(&mut self, effect: Effect, millis: &Range<u64>, outcome: Option<Outcome>, no_wait: bool) {
        let Span { invoked, responded } = span(millis);
        self.0.changes.push(Change {
            effect,
            rpc: "a change",
            server: 0,
            no_wait,
            invoked,
            answer: outcome.map(|outcome| (responded, outcome)),
        });
    }

    fn verify(self, millis: Range<u64>, verdict: Verdict) -> Self {
        self.asked(millis, Asks::Granted, Consistency::Ordinary, verdict)
    }

    fn asked(mut self, millis: Range<u64>, asks: Asks, consistency: Consistency, verdict: Verdict) -> Self {
        self.0.verifies.push(Verify {
            endpoint: 0,
            token: TOKEN,
            key: KEY,
            asks,
            consistency,
            span: span(&millis),
            verdict,
        });
        self
    }

    #[track_caller]
    fn holds(self) {
        let found = check(&self.0, 0);
        let described: Vec<_> = found.iter().map(|violation| describe(&self.0, violation)).collect();
        assert!(found.is_empty(), "{described:#?}");
    }

    /// Asserts that the last Verify, and no other, violates the promise.
    #[track_caller]
    fn violates(self, kind: Kind) {
        let verify = self.0.verifies.len() - 1;
        assert_eq!(check(&self.0, 0), [Violation { verify, kind }]);
    }
}

fn revoke() -> Effect {
    Effect::Revoke(vec![TOKEN])
}

fn rotate(overlap: u64) -> Effect {
    let overlap = Duration::from_millis(overlap);
    Effect::Expire {
        tokens: vec![TOKEN],
        overlap,
    }
}

fn limit(lifetime: Duration) -> Effect {
    Effect::Limit {
        workspaces: vec![WORKSPACE],
        lifetime,
    }
}

fn unlimit() -> Effect {
    Effect::Unlimit(vec![WORKSPACE])
}

fn suspend() -> Effect {
    Effect::Suspend(WORKSPACE)
}

fn resume() -> Effect {
    Effect::Resume(WORKSPACE)
}

fn revoke_key() -> Effect {
    Effect::RevokeKeys(vec![KEY])
}

fn denied(reason: DenyReason) -> Verdict {
    Verdict::Deny(reason)
}
