//! Retention: which revoked and expired tokens are purged, and when.
//!
//! An expired token is purged only a while after its expiry was recorded, so that a clock that was wrong for a moment
//! deletes nothing. The record alone is not enough either: at the time of the purge the token must still count as
//! expired or revoked.

use std::time::Duration;

use crate::{
    time::Timestamp,
    token::{Revocation, Token, TokenContext, TokenState},
    workspace::WorkspaceState,
};

/// A token, with everything that decides whether it may be purged.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// The token.
    pub token: &'a Token,
    /// What the token's state depends on besides the token.
    pub token_context: &'a TokenContext,
    /// When its expiry was recorded in the audit log.
    pub expiry_recorded: Option<Timestamp>,
}

impl Ended<'_> {
    /// Returns when the token's end was recorded: its revocation, else its expiry, else the deletion of its workspace.
    /// `None` if nothing was recorded, even if the token has expired.
    #[must_use]
    pub fn recorded(&self) -> Option<Timestamp> {
        let Self {
            token,
            token_context,
            expiry_recorded,
        } = self;
        let end = token.expiry(token_context);
        let by_expiry = expiry_recorded.filter(|recorded| end.has_passed(*recorded));
        match (&token.revocation, by_expiry, token_context.state) {
            (Some(Revocation { at, by: _, reason: _ }), _, _) => Some(*at),
            (None, Some(recorded), _) => Some(recorded),
            (None, None, WorkspaceState::Deleted { at }) => Some(at),
            (None, None, WorkspaceState::Active | WorkspaceState::Suspended { .. }) => None,
        }
    }

    /// Returns whether the token may be purged at `now`: it is expired or revoked, and this was recorded at least
    /// `retention` ago.
    #[must_use]
    pub fn may_be_purged(&self, retention: Duration, now: Timestamp) -> bool {
        // The recorded time implies this. It is checked again because a purge can't be undone.
        let has_ended = match self.token.state(self.token_context, now) {
            TokenState::Expired | TokenState::Revoked => true,
            TokenState::Active | TokenState::Suspended => false,
        };
        // A retention that leads past the year 9999 is never over.
        has_ended
            && self
                .recorded()
                .is_some_and(|at| at.plus(retention).is_ok_and(|over| over <= now))
    }
}
