//! Which tokens are taken away, a while after they have ended.
//!
//! That a token's time is over is not enough: its end must have been put on record, so that a clock that was wrong for a moment costs
//! nobody a token. And the record is not enough either: what is purged has ended by every other account, too.

use std::time::Duration;

use crate::{
    time::Timestamp,
    token::{Circumstances, Revocation, Token, TokenState},
    workspace::WorkspaceState,
};

/// A token, and what its end depends on.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// The token.
    pub token: &'a Token,
    /// What its life depends on besides itself.
    pub circumstances: &'a Circumstances,
    /// When its end by expiry was put on record.
    pub expiry_recorded: Option<Timestamp>,
}

impl Ended<'_> {
    /// When its end was put on record: its revocation, which outranks its expiry, or else its workspace's deletion. `None` of a token
    /// that has not ended, whatever its expiry.
    #[must_use]
    pub fn recorded(&self) -> Option<Timestamp> {
        let Self { token, circumstances, expiry_recorded } = self;
        let end = token.expiry(circumstances);
        let by_expiry = expiry_recorded.filter(|recorded| end.has_passed(*recorded));
        match (&token.revocation, by_expiry, circumstances.state) {
            (Some(Revocation { at, by: _, reason: _ }), _, _) => Some(*at),
            (None, Some(recorded), _) => Some(recorded),
            (None, None, WorkspaceState::Deleted { at }) => Some(at),
            (None, None, WorkspaceState::Active | WorkspaceState::Suspended { .. }) => None,
        }
    }

    /// Whether it may be purged at `now`: it has ended, and that has been on record for `retention` at least.
    #[must_use]
    pub fn may_be_purged(&self, retention: Duration, now: Timestamp) -> bool {
        // Follows from what is on record. What is deleted is gone for good, so it is asked nevertheless.
        let has_ended = match self.token.state(self.circumstances, now) {
            TokenState::Expired | TokenState::Revoked => true,
            TokenState::Active | TokenState::Suspended => false,
        };
        // A retention that leads past the year 9999 is not over yet.
        has_ended && self.recorded().is_some_and(|at| at.plus(retention).is_ok_and(|over| over <= now))
    }
}
