//! The key ring: the keys that mint and authenticate credentials and seal rows.
//!
//! Each [`Kid`] has one 32-byte root, kept in a file outside the database ([`RootKeys`]). Only subkeys are used: they
//! are derived with [`blake3::derive_key`], each with its own context string, so that no key serves two purposes. What
//! each key may do is stored in the database ([`KnownKey`]), so that all servers switch together.
//!
//! ```text
//! RootKeys (file) ---+
//!                    +--> KeyRing: mint, authenticate, recognize, seal
//! KnownKey (rows) ---+
//!
//! state of a key:  VERIFIES --activate--> ACTIVE --another is activated--> VERIFIES --retire--> RETIRED
//! ```

mod file;
mod key;
mod roots;

pub use file::KeyRingFileError;
pub use key::Fingerprint;
pub use roots::{AddKeyError, KeyState, KnownKey, RootKeys, WrongKeys};

use std::sync::Arc;

use rand::TryCryptoRng;

use crate::{
    credential::{
        Authentic, AuthenticationError, Credential, CredentialId, Kid, Kind, Malformed, Minted, Prefix, Recognized,
        SecretBytes, SecretDigest, SignedParts, TAG_BYTES, Unrecognized, Unverified, spell,
    },
    row_mac::{RowMac, Sealed},
};
use key::Key;

/// The keys of this installation and what each may do now, and the prefix of its tokens. Created by [`RootKeys::ring`].
#[derive(Debug)]
pub struct KeyRing {
    prefix: Prefix,
    active: Arc<Key>,
    /// Keys that verify but do not sign.
    verifying: Vec<Arc<Key>>,
    /// Every key whose root is available, including retired keys: their records in the audit log are still verified.
    at_hand: Vec<Arc<Key>>,
    /// Keys that the database lists as not retired, and whose roots are missing from the file.
    missing_keys: Vec<Kid>,
    /// The active key, if it is among the missing ones. `active` is only a substitute then.
    missing_active_key: Option<Kid>,
}

impl KeyRing {
    /// Returns the prefix of every token of this installation.
    #[must_use]
    pub const fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// Returns the id of the key that mints and seals.
    #[must_use]
    pub fn active_kid(&self) -> Kid {
        self.active.kid()
    }

    /// Returns whether credentials of this key are accepted.
    #[must_use]
    pub fn verifies(&self, kid: Kid) -> bool {
        self.key(kid).is_some()
    }

    /// Returns whether the installation uses this key but its root is missing here, so that its credentials can't be
    /// checked.
    #[must_use]
    pub fn is_missing(&self, kid: Kid) -> bool {
        self.missing_keys.contains(&kid)
    }

    /// Returns the keys for which [`KeyRing::is_missing`] is true.
    #[must_use]
    pub fn missing_keys(&self) -> &[Kid] {
        &self.missing_keys
    }

    /// Returns the key that other servers sign with, if its root is missing here. Nothing may be sealed then.
    #[must_use]
    pub const fn missing_active_key(&self) -> Option<Kid> {
        self.missing_active_key
    }

    /// Creates a new credential of `kind` under the active key.
    ///
    /// # Errors
    /// The error of the random source.
    pub fn mint<R: TryCryptoRng>(&self, kind: Kind, random: &mut R) -> Result<Minted, R::Error> {
        let id = CredentialId::random(random)?;
        let secret = SecretBytes::random(random)?;
        let digest = SecretDigest::new(self.active.kid(), self.active.digest(kind, id, &secret));
        let parts = SignedParts {
            prefix: &self.prefix,
            kind,
            kid: self.active.kid(),
            id,
            secret: &secret,
        };
        Ok(Minted {
            id,
            secret: spell(&parts, |signed| self.active.tag(signed)),
            digest,
        })
    }

    /// Checks whether this installation minted `presented`, without using the database.
    ///
    /// # Errors
    /// [`AuthenticationError::Unrecognized`] for anything else, whatever the fault; [`AuthenticationError::MissingKey`]
    /// if it can't be checked here.
    pub fn authenticate(&self, presented: &str) -> Result<Authentic, AuthenticationError> {
        let unverified = Unverified::parse(presented).map_err(|_: Malformed| AuthenticationError::Unrecognized)?;
        if *unverified.prefix() != self.prefix {
            return Err(AuthenticationError::Unrecognized);
        }
        let key = match self.key(unverified.kid()) {
            Some(key) => key,
            None if self.is_missing(unverified.kid()) => return Err(AuthenticationError::MissingKey(unverified.kid())),
            None => return Err(AuthenticationError::Unrecognized),
        };
        if !tags_equal(key.tag(unverified.signed), unverified.tag) {
            return Err(AuthenticationError::Unrecognized);
        }
        Ok(Authentic {
            kind: unverified.kind(),
            kid: unverified.kid(),
            id: unverified.id(),
            secret: unverified.secret,
        })
    }

    /// Checks whether the presented secret belongs to the stored `row`.
    ///
    /// # Errors
    /// [`Unrecognized`] if the row has another kind or id, or the secret does not match.
    pub fn recognize<T: Credential>(&self, presented: &Authentic, row: T) -> Result<Recognized<T>, Unrecognized> {
        if presented.kind != T::KIND || presented.id != row.id() || presented.kid != row.digest().kid() {
            return Err(Unrecognized);
        }
        let key = self.key(presented.kid).ok_or(Unrecognized)?;
        let shown = SecretDigest::new(
            presented.kid,
            key.digest(presented.kind, presented.id, &presented.secret),
        );
        if shown == *row.digest() {
            Ok(Recognized(row))
        } else {
            Err(Unrecognized)
        }
    }

    /// Computes the MAC to store beside `row`.
    #[must_use]
    pub fn seal<T: Sealed>(&self, row: &T) -> RowMac {
        RowMac::new(T::LAYOUT, self.active.kid(), self.active.row_mac(row, T::LAYOUT).0)
    }

    /// Returns whether `row` is what was sealed. False for another value or table, for an unknown layout, and for a key
    /// that is missing or retired.
    #[must_use]
    pub fn is_intact<T: Sealed>(&self, row: &T, mac: &RowMac) -> bool {
        let Some(key) = self.key(mac.kid()).filter(|_| (1..=T::LAYOUT).contains(&mac.layout())) else {
            return false;
        };
        let (hash, has_defaults) = key.row_mac(row, mac.layout());
        has_defaults && hash == *mac.hash()
    }

    /// Returns the subkey for page tokens.
    pub(crate) fn page_key(&self, kid: Kid) -> Option<&[u8; blake3::KEY_LEN]> {
        self.key(kid).map(Key::page)
    }

    /// Returns the subkey for the audit log, of retired keys too: records refer to it as long as they are kept.
    pub(crate) fn audit_key(&self, kid: Kid) -> Option<&[u8; blake3::KEY_LEN]> {
        self.at_hand.iter().find(|key| key.kid() == kid).map(|key| key.audit())
    }

    /// Returns the subkey for the revocations file, of retired keys too: the file is kept as long as the backups are.
    pub(crate) fn revocation_key(&self, kid: Kid) -> Option<&[u8; blake3::KEY_LEN]> {
        self.at_hand
            .iter()
            .find(|key| key.kid() == kid)
            .map(|key| key.revocations())
    }

    fn key(&self, kid: Kid) -> Option<&Key> {
        std::iter::once(&self.active)
            .chain(&self.verifying)
            .map(Arc::as_ref)
            .find(|key| key.kid() == kid)
    }
}

/// Compares without stopping at the first difference, so that the time taken reveals nothing about the right tag.
fn tags_equal(ours: [u8; TAG_BYTES], theirs: [u8; TAG_BYTES]) -> bool {
    subtle::ConstantTimeEq::ct_eq(ours.as_slice(), theirs.as_slice()).into()
}
