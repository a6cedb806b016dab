//! Credentials: workspace access tokens and caller keys, which share one format and one machinery.
//!
//! A credential goes through types that can't be confused, so that no check can be skipped by accident:
//!
//! ```text
//! &str --parse--> Unverified --KeyRing::authenticate--> Authentic --KeyRing::recognize(row)--> Recognized<row>
//!      spelling,             prefix, key, tag:                     digest equals the stored one:
//!      checksum              we minted this string                 this row, and the holder knows its secret
//! ```
//!
//! The module `search` finds credentials inside other text, and keeps secrets out of it.
//!
//! Only a [`Recognized`] token can be asked for a [verdict](crate::verdict).

mod digest;
mod format;
mod id;
mod kid;
mod prefix;
mod search;
mod secret;

pub use digest::SecretDigest;
pub use format::{Malformed, Unverified, hint};
pub use id::{CredentialId, MalformedId};
pub use kid::{Kid, MalformedKid};
pub use prefix::{MalformedPrefix, Prefix};
pub use search::{HoldsSecret, credentials_in, refuse_secrets, without_secrets};
pub use secret::Secret;

pub(crate) use format::{SignedParts, TAG_BYTES, spell};
pub(crate) use search::public_len;
pub(crate) use secret::SecretBytes;

/// What a credential is for: the letter after the installation's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `w`: a workspace access token, presented by customers' scripts and tools.
    WorkspaceToken,
    /// `c`: a caller key, by which another backend authenticates to tokend.
    CallerKey,
}

impl Kind {
    /// The letter that stands for this kind.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::WorkspaceToken => 'w',
            Self::CallerKey => 'c',
        }
    }

    const fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'w' => Some(Self::WorkspaceToken),
            b'c' => Some(Self::CallerKey),
            _ => None,
        }
    }

    /// Separates the digests of the two kinds, so that neither can stand in for the other.
    pub(crate) const fn domain(self) -> &'static [u8] {
        match self {
            Self::WorkspaceToken => b"workspace token",
            Self::CallerKey => b"caller key",
        }
    }
}

/// A stored row that a credential stands for.
pub trait Credential {
    /// The kind of credential whose rows these are.
    const KIND: Kind;
    /// The public id by which the row is found.
    fn id(&self) -> CredentialId;
    /// What is stored of the secret.
    fn digest(&self) -> &SecretDigest;
}

/// A credential just made: the secret to show once, and what to store.
#[derive(Debug)]
pub struct Minted {
    /// The public id.
    pub id: CredentialId,
    /// The whole credential as its holder will present it.
    pub secret: Secret,
    /// What is stored instead.
    pub digest: SecretDigest,
}

/// A credential that this installation minted. Whether it was stored, or still stands, is another question.
#[derive(Debug)]
pub struct Authentic {
    pub(crate) kind: Kind,
    pub(crate) kid: Kid,
    pub(crate) id: CredentialId,
    pub(crate) secret: SecretBytes,
}

impl Authentic {
    /// What the credential is for.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The public id to look the row up by.
    #[must_use]
    pub const fn id(&self) -> CredentialId {
        self.id
    }
}

/// A row whose secret the presenter has shown to know. Made by [`KeyRing::recognize`](crate::keyring::KeyRing::recognize) alone.
#[derive(Debug)]
pub struct Recognized<T>(pub(crate) T);

impl<T> Recognized<T> {
    /// The row itself.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> std::ops::Deref for Recognized<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The one answer for whatever is not a credential of ours: malformed, forged, unknown, or a wrong secret. It carries no more,
/// so that nothing more can leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a credential of this installation")]
pub struct Unrecognized;

/// Why text is not taken for a credential that this installation minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAuthentic {
    /// It is none.
    #[error("not a credential of this installation")]
    Unrecognized,
    /// It may be one: the installation uses this key, and its root is not at hand here. No answer about it can be given.
    #[error("key {0} is not at hand")]
    KeyLacked(Kid),
}
