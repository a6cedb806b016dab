//! Credentials: workspace access tokens and caller keys, which share one format and one implementation.
//!
//! Each step of checking a credential returns a type of its own, so that no step can be skipped by accident:
//!
//! ```text
//! &str --parse--> Unverified --KeyRing::authenticate--> Authentic --KeyRing::recognize(row)--> Recognized<row>
//!      format,               prefix, key, tag:                     digest equals the stored one:
//!      checksum              we minted this string                 this row, and the holder knows its secret
//! ```
//!
//! The module `search` finds credentials inside other text, and removes secrets from it.
//!
//! Only for a [`Recognized`] token is there a [verdict](crate::verdict).

mod format;
mod id;
mod kid;
mod prefix;
mod search;
mod secret;

pub use format::{Malformed, Unverified, hint};
pub use id::{CredentialId, MalformedId};
pub use kid::{Kid, MalformedKid};
pub use prefix::{MalformedPrefix, Prefix};
pub use search::{ContainsSecret, credentials_in, refuse_secrets, without_secrets};
pub use secret::{Secret, SecretDigest};

pub(crate) use format::{SignedParts, TAG_BYTES, spell};
pub(crate) use search::public_len;
pub(crate) use secret::SecretBytes;

/// The kind of a credential: the letter after the installation's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `w`: a workspace access token, presented by customers' scripts and tools.
    WorkspaceToken,
    /// `c`: a caller key, with which a backend authenticates to tokend.
    CallerKey,
}

impl Kind {
    /// Returns the letter of the kind.
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

    /// Separates the digests of the two kinds, so that one is never valid as the other.
    pub(crate) const fn domain(self) -> &'static [u8] {
        match self {
            Self::WorkspaceToken => b"workspace token",
            Self::CallerKey => b"caller key",
        }
    }
}

/// A stored row that belongs to a credential.
pub trait Credential {
    /// The kind of credential that these rows belong to.
    const KIND: Kind;
    /// Returns the public id by which the row is found.
    fn id(&self) -> CredentialId;
    /// Returns the stored digest of the secret.
    fn digest(&self) -> &SecretDigest;
}

impl<T: Credential> Credential for std::sync::Arc<T> {
    const KIND: Kind = T::KIND;

    fn id(&self) -> CredentialId {
        (**self).id()
    }

    fn digest(&self) -> &SecretDigest {
        (**self).digest()
    }
}

impl<T: Credential> Credential for &T {
    const KIND: Kind = T::KIND;

    fn id(&self) -> CredentialId {
        (**self).id()
    }

    fn digest(&self) -> &SecretDigest {
        (**self).digest()
    }
}

/// A new credential: the secret to show once, and what to store.
#[derive(Debug)]
pub struct Minted {
    /// The public id.
    pub id: CredentialId,
    /// The whole credential, as its holder will present it.
    pub secret: Secret,
    /// The digest to store.
    pub digest: SecretDigest,
}

/// A credential that this installation minted. Whether it is stored and still valid has not been checked.
#[derive(Debug)]
pub struct Authentic {
    pub(crate) kind: Kind,
    pub(crate) kid: Kid,
    pub(crate) id: CredentialId,
    pub(crate) secret: SecretBytes,
}

impl Authentic {
    /// Returns the kind of the credential.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the public id to look the row up by.
    #[must_use]
    pub const fn id(&self) -> CredentialId {
        self.id
    }
}

/// A row whose secret the presenter knows. Created only by [`KeyRing::recognize`](crate::keyring::KeyRing::recognize).
#[derive(Debug)]
pub struct Recognized<T>(pub(crate) T);

impl<T> Recognized<T> {
    /// Returns the row.
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

/// The single answer for everything that is not a credential of this installation: malformed, forged, unknown, or with
/// a wrong secret. It contains nothing else, so that nothing else can leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a credential of this installation")]
pub struct Unrecognized;

/// Why a text is not accepted as a credential of this installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationError {
    /// This installation did not mint it.
    #[error("not a credential of this installation")]
    Unrecognized,
    /// The installation uses the key but its root is missing here, so that the credential can't be checked.
    #[error("key {0} is missing from the key ring")]
    MissingKey(Kid),
}
