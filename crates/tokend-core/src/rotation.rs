//! Rotation: a token is replaced by another one that permits the same, and has an overlap left to work in.
//!
//! The end of the overlap is an expiry, the earlier of it and the token's own: no overlap makes a token last longer, and none revives
//! one whose time is over. An overlap has a longest span, and of a chain of rotations only the newest token and its predecessor work at once:
//! so rotations never add up to more working secrets than two for each token that may work.

use std::time::Duration;

use crate::{
    credential::{CredentialId, SecretDigest},
    name::{CallerId, TokenName},
    policy::Lifetime,
    time::{TimeOutOfRange, Timestamp},
    token::{Circumstances, Expiry, Token, TokenState},
};

/// The longest overlap.
pub const MAX_OVERLAP: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long an old secret works beside the new one if nothing is chosen and no policy demands less.
pub const DEFAULT_OVERLAP: Duration = Duration::from_secs(30 * 60);

/// Why a token is not rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRotatable {
    /// It was revoked, and what is revoked gets no successor.
    #[error("the token was revoked")]
    Revoked,
    /// It has a successor already.
    #[error("the token was rotated before")]
    Rotated {
        /// The successor.
        to: CredentialId,
    },
    /// The overlap ends after the year 9999.
    #[error("the overlap {0}")]
    Overlap(TimeOutOfRange),
}

/// The overlap asked for is longer than a policy lets any token live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must not be longer than the `max_lifetime` of the policies, {} s", .0.span().as_secs())]
pub struct OverlapTooLong(pub Lifetime);

/// How long the old secret works on, where the policies have that longest lifetime: as chosen, or the default as far as they let it be.
///
/// # Errors
/// [`OverlapTooLong`] if the overlap that was chosen is longer than that.
pub fn overlap(chosen: Option<Duration>, max_lifetime: Option<Lifetime>) -> Result<Duration, OverlapTooLong> {
    match (chosen, max_lifetime) {
        (Some(chosen), Some(max)) if chosen > max.span() => Err(OverlapTooLong(max)),
        (Some(chosen), _) => Ok(chosen),
        (None, Some(max)) => Ok(DEFAULT_OVERLAP.min(max.span())),
        (None, None) => Ok(DEFAULT_OVERLAP),
    }
}

/// What is new about a successor; all else is its predecessor's.
#[derive(Clone, Debug)]
pub struct Successor {
    /// Its id.
    pub id: CredentialId,
    /// What is stored of its secret.
    pub digest: SecretDigest,
    /// The caller that rotates.
    pub creator: CallerId,
    /// When it ends by itself, if that was chosen; else it is given the span that its predecessor was.
    pub expiry: Option<Expiry>,
}

/// Both tokens after a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The one that is being replaced.
    pub predecessor: Token,
    /// The one that replaces it.
    pub successor: Token,
}

impl Token {
    /// Replaces the token at `now`. It works for `overlap` more, and not past its own end.
    ///
    /// # Errors
    /// [`NotRotatable`].
    pub fn rotate(&self, new: Successor, overlap: Duration, now: Timestamp) -> Result<Rotated, NotRotatable> {
        if self.revocation.is_some() {
            return Err(NotRotatable::Revoked);
        }
        if let Some(to) = self.rotated_to {
            return Err(NotRotatable::Rotated { to });
        }
        let overlap_end = now.plus(overlap).map_err(NotRotatable::Overlap)?;
        let Successor { id, digest, creator, expiry } = new;
        let expiry = expiry.unwrap_or_else(|| self.requested_span_from(now));
        let successor = Self {
            name: TokenName { workspace: self.name.workspace.clone(), id },
            digest,
            create_time: now,
            creator,
            own_expiry: expiry,
            requested_expiry: expiry,
            rotated_from: Some(self.name.id),
            ..self.clone()
        };
        let own_expiry = self.own_expiry.earlier(Expiry::At(overlap_end));
        Ok(Rotated { predecessor: Self { own_expiry, rotated_to: Some(id), ..self.clone() }, successor })
    }

    /// The token when what replaced it is replaced in its turn at `now`: it ends then. `None` if it does not work any more.
    #[must_use]
    pub fn superseded(&self, circumstances: &Circumstances, now: Timestamp) -> Option<Self> {
        match self.state(circumstances, now) {
            TokenState::Active | TokenState::Suspended => Some(Self { own_expiry: Expiry::At(now), ..self.clone() }),
            TokenState::Expired | TokenState::Revoked => None,
        }
    }

    /// The end that lies as far from `now` as the one that was chosen lay from the token's making, and not past the year 9999.
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
