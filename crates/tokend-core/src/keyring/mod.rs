//! The key ring: the keys that mint and recognize credentials and seal rows.
//!
//! One 32-byte root for each [`Kid`], kept in a file outside the database. What is used are subkeys, derived with
//! [`blake3::derive_key`] and a written context each, so that no two purposes ever share a key. One key is active: it mints and
//! seals. The others only verify what they made before.

mod file;
mod key;

pub use file::KeyRingFileError;
pub use key::Fingerprint;

use rand::TryCryptoRng;

use crate::{
    credential::{
        Authentic, Credential, CredentialId, Kid, Kind, Malformed, Minted, Prefix, Recognized, SecretBytes, SecretDigest,
        SignedParts, TAG_BYTES, Unrecognized, Unverified, spell,
    },
    row_mac::{RowMac, Sealed},
};
use key::Key;

/// Every key of this installation, and the prefix of its tokens.
#[derive(Debug)]
pub struct KeyRing {
    prefix: Prefix,
    active: Key,
    /// Keys that verify and no longer, or not yet, sign.
    others: Vec<Key>,
}

impl KeyRing {
    /// A ring of one new key.
    ///
    /// # Errors
    /// The random source's: without true randomness nothing is made.
    pub fn generate<R: TryCryptoRng>(prefix: Prefix, random: &mut R) -> Result<Self, R::Error> {
        Ok(Self { prefix, active: Key::generate(Kid::FIRST, random)?, others: Vec::new() })
    }

    /// The prefix of every token of this installation.
    #[must_use]
    pub const fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// The key that mints and seals.
    #[must_use]
    pub const fn active_kid(&self) -> Kid {
        self.active.kid()
    }

    /// What the database keeps to tell a wrong ring: each key's id and fingerprint, the active key first.
    pub fn fingerprints(&self) -> impl Iterator<Item = (Kid, Fingerprint)> + '_ {
        self.keys().map(|key| (key.kid(), key.fingerprint(&self.prefix)))
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
    /// [`Unrecognized`], whatever is wrong with it.
    pub fn authenticate(&self, presented: &str) -> Result<Authentic, Unrecognized> {
        let unverified = Unverified::parse(presented).map_err(|_: Malformed| Unrecognized)?;
        if *unverified.prefix() != self.prefix {
            return Err(Unrecognized);
        }
        let key = self.key(unverified.kid()).ok_or(Unrecognized)?;
        if !tags_equal(key.tag(unverified.signed), unverified.tag) {
            return Err(Unrecognized);
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
        RowMac::new(T::LAYOUT, self.active.kid(), self.active.row_mac(row, T::LAYOUT))
    }

    /// Tells whether `row` is what was sealed. False for any other value, layout or table, and for a key that the ring lacks.
    #[must_use]
    pub fn is_intact<T: Sealed>(&self, row: &T, mac: &RowMac) -> bool {
        self.key(mac.kid()).is_some_and(|key| mac.layout() == T::LAYOUT && key.row_mac(row, T::LAYOUT) == *mac.hash())
    }

    /// The subkey of page tokens.
    pub(crate) fn page_key(&self, kid: Kid) -> Option<&[u8; blake3::KEY_LEN]> {
        self.key(kid).map(Key::page)
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.active).chain(&self.others)
    }

    fn key(&self, kid: Kid) -> Option<&Key> {
        self.keys().find(|key| key.kid() == kid)
    }
}

/// Compares without stopping at the first difference, so that timing tells nothing of the right tag.
fn tags_equal(ours: [u8; TAG_BYTES], theirs: [u8; TAG_BYTES]) -> bool {
    subtle::ConstantTimeEq::ct_eq(ours.as_slice(), theirs.as_slice()).into()
}
