//! The key ring: the keys that mint and recognize credentials and seal rows.
//!
//! One 32-byte root for each [`Kid`], kept in a file outside the database ([`RootKeys`]). What is used are subkeys, derived with
//! [`blake3::derive_key`] and a written context each, so that no two purposes ever share a key. What each key may do stands in the
//! database ([`KnownKey`]), so that all servers change over together. Both make the ring:
//!
//! ```text
//! RootKeys (file) ---+
//!                    +--> KeyRing: mint, authenticate, recognize, seal
//! KnownKey (rows) ---+
//!
//! a key's life:  added, only verifies --activate--> active, mints and seals --another is activated--> only verifies --> retired
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
        Authentic, Credential, CredentialId, Kid, Kind, Malformed, Minted, NotAuthentic, Prefix, Recognized, SecretBytes,
        SecretDigest, SignedParts, TAG_BYTES, Unrecognized, Unverified, spell,
    },
    row_mac::{RowMac, Sealed},
};
use key::Key;

/// Every key of this installation by what it may do now, and the prefix of its tokens. Made by [`RootKeys::ring`].
#[derive(Debug)]
pub struct KeyRing {
    prefix: Prefix,
    active: Arc<Key>,
    /// Keys that verify and no longer, or not yet, sign.
    verifying: Vec<Arc<Key>>,
    /// Every key whose root is at hand, retired ones too: what they sealed in the audit log is still believed.
    at_hand: Vec<Arc<Key>>,
    /// Keys that the database knows and does not call retired, and whose roots are not at hand.
    lacked: Vec<Kid>,
    /// Which of them signs elsewhere, if one does. `active` then only stands in for it.
    lacked_active: Option<Kid>,
}

impl KeyRing {
    /// The prefix of every token of this installation.
    #[must_use]
    pub const fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// The key that mints and seals.
    #[must_use]
    pub fn active_kid(&self) -> Kid {
        self.active.kid()
    }

    /// Whether credentials of that key are recognized.
    #[must_use]
    pub fn verifies(&self, kid: Kid) -> bool {
        self.key(kid).is_some()
    }

    /// Whether the installation uses that key and its root is not at hand: what it made can't be judged here.
    #[must_use]
    pub fn lacks(&self, kid: Kid) -> bool {
        self.lacked.contains(&kid)
    }

    /// The keys of which that is so.
    #[must_use]
    pub fn lacked(&self) -> &[Kid] {
        &self.lacked
    }

    /// The key that the other servers sign with, if its root is not at hand. Nothing may be sealed then.
    #[must_use]
    pub const fn lacked_active(&self) -> Option<Kid> {
        self.lacked_active
    }

    /// Makes a new credential of `kind` under the active key.
    ///
    /// # Errors
    /// The random source's; nothing was made then.
    pub fn mint<R: TryCryptoRng>(&self, kind: Kind, random: &mut R) -> Result<Minted, R::Error> {
        let id = CredentialId::random(random)?;
        let secret = SecretBytes::random(random)?;
        let digest = SecretDigest::new(self.active.kid(), self.active.digest(kind, id, &secret));
        let parts = SignedParts { prefix: &self.prefix, kind, kid: self.active.kid(), id, secret: &secret };
        Ok(Minted { id, secret: spell(&parts, |signed| self.active.tag(signed)), digest })
    }

    /// Tells whether this installation minted `presented`, without asking the database.
    ///
    /// # Errors
    /// [`NotAuthentic::Unrecognized`], whatever is wrong with it; [`NotAuthentic::KeyLacked`] if that can't be told here.
    pub fn authenticate(&self, presented: &str) -> Result<Authentic, NotAuthentic> {
        let unverified = Unverified::parse(presented).map_err(|_: Malformed| NotAuthentic::Unrecognized)?;
        if *unverified.prefix() != self.prefix {
            return Err(NotAuthentic::Unrecognized);
        }
        let key = match self.key(unverified.kid()) {
            Some(key) => key,
            None if self.lacks(unverified.kid()) => return Err(NotAuthentic::KeyLacked(unverified.kid())),
            None => return Err(NotAuthentic::Unrecognized),
        };
        if !tags_equal(key.tag(unverified.signed), unverified.tag) {
            return Err(NotAuthentic::Unrecognized);
        }
        Ok(Authentic { kind: unverified.kind(), kid: unverified.kid(), id: unverified.id(), secret: unverified.secret })
    }

    /// Tells whether the presenter knows the secret of the stored `row`.
    ///
    /// # Errors
    /// [`Unrecognized`] if the row is of another kind or id, or the secret is another.
    pub fn recognize<T: Credential>(&self, presented: &Authentic, row: T) -> Result<Recognized<T>, Unrecognized> {
        if presented.kind != T::KIND || presented.id != row.id() || presented.kid != row.digest().kid() {
            return Err(Unrecognized);
        }
        let key = self.key(presented.kid).ok_or(Unrecognized)?;
        let shown = SecretDigest::new(presented.kid, key.digest(presented.kind, presented.id, &presented.secret));
        if shown == *row.digest() { Ok(Recognized(row)) } else { Err(Unrecognized) }
    }

    /// The MAC to store beside `row`.
    #[must_use]
    pub fn seal<T: Sealed>(&self, row: &T) -> RowMac {
        RowMac::new(T::LAYOUT, self.active.kid(), self.active.row_mac(row, T::LAYOUT).0)
    }

    /// Tells whether `row` is what was sealed. False for any other value or table, for a layout that is not known, and for a key
    /// that the ring lacks or that is retired.
    #[must_use]
    pub fn is_intact<T: Sealed>(&self, row: &T, mac: &RowMac) -> bool {
        let Some(key) = self.key(mac.kid()).filter(|_| (1..=T::LAYOUT).contains(&mac.layout())) else { return false };
        let (hash, says_no_more) = key.row_mac(row, mac.layout());
        says_no_more && hash == *mac.hash()
    }

    /// The subkey of page tokens.
    pub(crate) fn page_key(&self, kid: Kid) -> Option<&[u8; blake3::KEY_LEN]> {
        self.key(kid).map(Key::page)
    }

    /// The subkey of the audit log, of retired keys too: records name it for as long as they are kept.
    pub(crate) fn audit_key(&self, kid: Kid) -> Option<&[u8; blake3::KEY_LEN]> {
        self.at_hand.iter().find(|key| key.kid() == kid).map(|key| key.audit())
    }

    /// The subkey of exported endings, of retired keys too: an export is kept for as long as the backups are.
    pub(crate) fn ending_key(&self, kid: Kid) -> Option<&[u8; blake3::KEY_LEN]> {
        self.at_hand.iter().find(|key| key.kid() == kid).map(|key| key.ending())
    }

    fn key(&self, kid: Kid) -> Option<&Key> {
        std::iter::once(&self.active).chain(&self.verifying).map(Arc::as_ref).find(|key| key.kid() == kid)
    }
}

/// Compares without stopping at the first difference, so that timing tells nothing of the right tag.
fn tags_equal(ours: [u8; TAG_BYTES], theirs: [u8; TAG_BYTES]) -> bool {
    subtle::ConstantTimeEq::ct_eq(ours.as_slice(), theirs.as_slice()).into()
}
