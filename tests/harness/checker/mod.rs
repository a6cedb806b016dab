//! Decides whether a history keeps the promise: when the answer to a change says that something is dead, no Verify that
//! starts afterwards allows it, on any server or client.
//!
//! Also checked: no DENY and no rejected caller without a change that explains it, so that no outage turns into a
//! verdict; and no verdict about another token or question than the one that was asked.
//!
//! The check is sound for every order in which the operations may have taken effect: an obligation begins with an
//! answer, a possible explanation with an invocation.

mod index;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use tokend_client::v1::DenyReason;

use self::index::Index;
use crate::history::{Asks, Change, ChangeId, Consistency, Effect, History, Verdict, Verify};

/// A Verify whose answer breaks a promise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Violation {
    /// The index of the Verify in [`History::verifies`].
    pub(crate) verify: usize,
    pub(crate) kind: Kind,
}

/// The promise that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// ALLOW, although the change was answered before the Verify started.
    AllowedAfter(ChangeId),
    /// ALLOW from the newest state, or from a revision that contains the change.
    AllowedAtRevisionOf(ChangeId),
    /// A verdict for a caller whose key was revoked before the Verify started.
    ServedCallerAfter(ChangeId),
    /// ALLOW for a scope or a resource that the token was never granted.
    AllowedUngranted,
    /// ALLOW for another token.
    AllowedOtherToken,
    /// DENY, although no change can have led to this reason.
    DeniedWithoutCause,
    /// UNAUTHENTICATED, although nobody attempted to revoke the key.
    RejectedWithoutCause,
}

/// Checks the Verifies from the index `first` on. Changes are considered from the beginning.
pub(crate) fn check(history: &History, first: usize) -> Vec<Violation> {
    let index = Index::of(history);
    let verifies = history.verifies.iter().enumerate().skip(first);
    verifies
        .filter_map(|(verify, facts)| violation(&index, facts).map(|kind| Violation { verify, kind }))
        .collect()
}

fn violation(index: &Index<'_>, verify: &Verify) -> Option<Kind> {
    match verify.verdict {
        Verdict::Failed(_) => None,
        Verdict::Unauthenticated => (!index.explains_rejection(verify)).then_some(Kind::RejectedWithoutCause),
        Verdict::Allow | Verdict::AllowOther | Verdict::Deny(_) => {
            if let Some(change) = index.end_of_key(verify) {
                return Some(Kind::ServedCallerAfter(change));
            }
            match verify.verdict {
                Verdict::AllowOther => Some(Kind::AllowedOtherToken),
                Verdict::Deny(reason) => (!is_explained(index, verify, reason)).then_some(Kind::DeniedWithoutCause),
                _ if verify.asks != Asks::Granted => Some(Kind::AllowedUngranted),
                _ => allowed(index, verify),
            }
        }
    }
}

/// Returns the promise that an ALLOW breaks.
fn allowed(index: &Index<'_>, verify: &Verify) -> Option<Kind> {
    if let Some(change) = index.end_of_token(verify) {
        return Some(Kind::AllowedAfter(change));
    }
    let change = match verify.consistency {
        Consistency::Ordinary => None,
        Consistency::Newest => index.committed_before(verify),
        Consistency::AtLeast(revision) => index.committed_at(verify, revision),
    };
    change.map(Kind::AllowedAtRevisionOf)
}

/// Whether some order of the operations leads to a DENY with this reason.
fn is_explained(index: &Index<'_>, verify: &Verify, reason: DenyReason) -> bool {
    match reason {
        DenyReason::Revoked => index.explains_revoked(verify),
        DenyReason::Expired => index.explains_expired(verify),
        DenyReason::WorkspaceSuspended => index.explains_suspended(verify),
        DenyReason::WorkspaceDeleted => index.explains_deleted(verify),
        DenyReason::ResourceNotCovered => verify.asks == Asks::OtherResource,
        DenyReason::InsufficientScope => verify.asks == Asks::OtherScope,
        // Every token that a run asks about exists, and none is limited to addresses.
        DenyReason::Unspecified | DenyReason::Unrecognized | DenyReason::AddressNotAllowed => false,
    }
}

/// Describes a violation, with every change that may concern it.
pub(crate) fn describe(history: &History, violation: &Violation) -> String {
    let verify = &history.verifies[violation.verify];
    let token = &history.tokens[verify.token.0];
    let mut text = format!(
        "{:?}\n  {verify:?}\n  of {}, created {:?}, as {}\n",
        violation.kind, token.name, token.creation, history.keys[verify.key.0]
    );
    let concerns = |change: &Change| match &change.effect {
        Effect::Revoke(tokens) | Effect::Expire { tokens, .. } => tokens.contains(&verify.token),
        Effect::Suspend(workspace) | Effect::Resume(workspace) | Effect::Delete(workspace) => {
            *workspace == token.workspace
        }
        Effect::Limit { workspaces, .. } | Effect::Unlimit(workspaces) => workspaces.contains(&token.workspace),
        Effect::RevokeKeys(keys) => keys.contains(&verify.key),
    };
    let changes = history.changes.iter().enumerate();
    for (id, change) in changes.filter(|(_, change)| concerns(change)) {
        let Change {
            effect,
            rpc,
            server,
            no_wait,
            invoked,
            answer,
        } = change;
        let wait = if *no_wait { " with no_wait" } else { "" };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "  {:?}: {rpc}{wait} at server {server}, invoked at {invoked:?}, answered {answer:?}, {effect:?}",
            ChangeId(id)
        );
    }
    text
}
