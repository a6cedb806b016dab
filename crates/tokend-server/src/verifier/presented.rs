//! A presented string, and what it turns out to be.

use std::sync::Arc;

use tokend_core::{
    credential::{Authentic, CredentialId, Kind},
    keyring::KeyRing,
};

/// A presented string, before its row is read.
#[derive(Debug)]
pub(crate) struct Presented(Option<Issued>);

/// A credential that this installation issued, and the key ring that says so.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) credential: Authentic,
    pub(super) ring: Arc<KeyRing>,
}

/// What a presented string turns out to be.
#[derive(Debug)]
pub(crate) enum Outcome<T> {
    /// This installation did not issue it.
    Foreign,
    /// This installation issued it, and no stored row of the wanted kind has its secret.
    Unknown,
    /// The presenter knows the secret of this row.
    Verified(T),
}

impl Presented {
    pub(super) const fn issued(issued: Issued) -> Self {
        Self(Some(issued))
    }

    pub(super) const fn foreign() -> Self {
        Self(None)
    }

    pub(super) const fn as_issued(&self) -> Option<&Issued> {
        self.0.as_ref()
    }

    /// Returns what the string is for, if this installation issued it.
    pub(crate) fn kind(&self) -> Option<Kind> {
        self.0.as_ref().map(|issued| issued.credential.kind())
    }

    /// Returns the public id in the string, if this installation issued it.
    pub(crate) fn id(&self) -> Option<CredentialId> {
        self.0.as_ref().map(|issued| issued.credential.id())
    }
}

impl<T> Outcome<T> {
    /// Returns the row, if there is one.
    pub(crate) fn verified(self) -> Option<T> {
        match self {
            Self::Verified(row) => Some(row),
            Self::Foreign | Self::Unknown => None,
        }
    }
}
