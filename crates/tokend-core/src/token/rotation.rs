//! Rotation: a token is replaced by a successor with the same permissions, and keeps working for an overlap.
//!
//! At the end of the overlap the old token expires, unless its own expiry comes first: an overlap never makes a token
//! live longer, and never revives an expired one. The overlap is limited to [`MAX_OVERLAP`]. In a chain of rotations
//! only the newest token and its predecessor work at the same time, so there are never more than two working secrets
//! for each token that counts against a limit.

use std::time::Duration;

use crate::{
    credential::{CredentialId, SecretDigest},
    name::{CallerId, TokenName},
    policy::Lifetime,
    time::{TimeOutOfRange, Timestamp},
    token::{Expiry, Token, TokenContext, TokenState},
};

/// The longest overlap: 30 days.
pub const MAX_OVERLAP: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The overlap that is used if the request names none and no policy has a shorter `max_lifetime`: 30 minutes.
pub const DEFAULT_OVERLAP: Duration = Duration::from_secs(30 * 60);

/// Why a token can't be rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// The token was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// The token was rotated before.
    #[error("the token was rotated before")]
    Rotated {
        /// Its successor.
        to: CredentialId,
    },
    /// The overlap ends after the year 9999.
    #[error("the overlap {0}")]
    Overlap(TimeOutOfRange),
}

/// The requested overlap is longer than the `max_lifetime` of the policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must not be longer than the `max_lifetime` of the policies, {} s", .0.span().as_secs())]
pub struct OverlapTooLong(pub Lifetime);

/// Returns the overlap: the chosen one, or else [`DEFAULT_OVERLAP`], limited to `max_lifetime`.
///
/// # Errors
/// [`OverlapTooLong`] if the chosen overlap is longer than `max_lifetime`.
pub fn overlap(chosen: Option<Duration>, max_lifetime: Option<Lifetime>) -> Result<Duration, OverlapTooLong> {
    match (chosen, max_lifetime) {
        (Some(chosen), Some(max)) if chosen > max.span() => Err(OverlapTooLong(max)),
        (Some(chosen), _) => Ok(chosen),
        (None, Some(max)) => Ok(DEFAULT_OVERLAP.min(max.span())),
        (None, None) => Ok(DEFAULT_OVERLAP),
    }
}

/// The properties of a successor that differ from those of its predecessor.
#[derive(Clone, Debug)]
pub struct Successor {
    /// The successor's id.
    pub id: CredentialId,
    /// The digest of the successor's secret.
    pub digest: SecretDigest,
    /// The caller that rotates the token.
    pub creator: CallerId,
    /// The chosen expiry. Without one, the successor gets the lifetime that was chosen for its predecessor.
    pub expiry: Option<Expiry>,
}

/// The two tokens after a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The token that is replaced.
    pub predecessor: Token,
    /// The token that replaces it.
    pub successor: Token,
}

impl Token {
    /// Replaces the token at `now`. The old token works for `overlap` longer, but not past its own expiry.
    ///
    /// # Errors
    /// [`RotationError`].
    pub fn rotate(&self, new: Successor, overlap: Duration, now: Timestamp) -> Result<Rotated, RotationError> {
        if self.revocation.is_some() {
            return Err(RotationError::Revoked);
        }
        if let Some(to) = self.rotated_to {
            return Err(RotationError::Rotated { to });
        }
        let overlap_end = now.plus(overlap).map_err(RotationError::Overlap)?;
        let Successor {
            id,
            digest,
            creator,
            expiry,
        } = new;
        let expiry = expiry.unwrap_or_else(|| self.requested_span_from(now));
        let successor = Self {
            name: TokenName {
                workspace: self.name.workspace.clone(),
                id,
            },
            digest,
            create_time: now,
            creator,
            own_expiry: expiry,
            requested_expiry: expiry,
            rotated_from: Some(self.name.id),
            ..self.clone()
        };
        let own_expiry = self.own_expiry.earlier(Expiry::At(overlap_end));
        Ok(Rotated {
            predecessor: Self {
                own_expiry,
                rotated_to: Some(id),
                ..self.clone()
            },
            successor,
        })
    }

    /// Returns the token as it is after its successor was rotated at `now`: it expires immediately. `None` if it has
    /// expired already or was revoked.
    #[must_use]
    pub fn superseded(&self, token_context: &TokenContext, now: Timestamp) -> Option<Self> {
        match self.state(token_context, now) {
            TokenState::Active | TokenState::Suspended => Some(Self {
                own_expiry: Expiry::At(now),
                ..self.clone()
            }),
            TokenState::Expired | TokenState::Revoked => None,
        }
    }

    /// Returns an expiry as far from `now` as the chosen expiry was from the token's creation, at most the end of the
    /// year 9999.
    fn requested_span_from(&self, now: Timestamp) -> Expiry {
        match self.requested_expiry {
            Expiry::Never => Expiry::Never,
            Expiry::At(end) => {
                let span = end.saturating_since(self.create_time);
                Expiry::At(now.plus(span).unwrap_or(Timestamp::MAX))
            }
        }
    }
}
