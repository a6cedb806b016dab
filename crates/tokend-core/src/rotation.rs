//! Rotation: a token is replaced by another one that permits the same, and has an overlap left to work in.
//!
//! The end of the overlap is an expiry, the earlier of it and the token's own: no overlap makes a token last longer, and none revives
//! one whose time is over.

use std::time::Duration;

use crate::{
    credential::{CredentialId, SecretDigest},
    name::{CallerId, TokenName},
    time::{TimeOutOfRange, Timestamp},
    token::{Expiry, Token},
};

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
