use std::fmt;

use rand::TryCryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    credential::{CredentialId, Kid, Kind, Prefix, SecretBytes, TAG_BYTES},
    row_mac::{MacInput, Sealed},
};

/// Identifies a key without revealing it: 128 bits derived from its root and the installation's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; Self::BYTES]);

impl Fingerprint {
    /// The size in the database, in bytes.
    pub const BYTES: usize = 16;

    /// Wraps a stored fingerprint.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

/// A root and the subkeys derived from it. Wiped on drop; `Debug` shows only the id.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Key {
    #[zeroize(skip)]
    kid: Kid,
    root: [u8; Self::ROOT_BYTES],
    tag: [u8; blake3::KEY_LEN],
    digest: [u8; blake3::KEY_LEN],
    row: [u8; blake3::KEY_LEN],
    page: [u8; blake3::KEY_LEN],
    audit: [u8; blake3::KEY_LEN],
    revocations: [u8; blake3::KEY_LEN],
}

impl Key {
    pub(super) const ROOT_BYTES: usize = 32;

    pub(super) fn generate<R: TryCryptoRng>(kid: Kid, random: &mut R) -> Result<Self, R::Error> {
        let mut root = Zeroizing::new([0; Self::ROOT_BYTES]);
        random.try_fill_bytes(&mut *root)?;
        Ok(Self::from_root(kid, &root))
    }

    /// Derives the subkeys. The context strings are part of the format: changing one invalidates every credential and
    /// row.
    pub(super) fn from_root(kid: Kid, root: &[u8; Self::ROOT_BYTES]) -> Self {
        Self {
            kid,
            root: *root,
            tag: blake3::derive_key("tokend 2026-11-24 credential tag v1", root),
            digest: blake3::derive_key("tokend 2026-11-24 secret digest v1", root),
            row: blake3::derive_key("tokend 2026-11-24 row MAC v1", root),
            page: blake3::derive_key("tokend 2026-11-24 page token v1", root),
            audit: blake3::derive_key("tokend 2026-11-24 audit log v1", root),
            revocations: blake3::derive_key("tokend 2026-11-24 export of endings v1", root),
        }
    }

    pub(super) const fn kid(&self) -> Kid {
        self.kid
    }

    pub(super) const fn page(&self) -> &[u8; blake3::KEY_LEN] {
        &self.page
    }

    pub(super) const fn revocations(&self) -> &[u8; blake3::KEY_LEN] {
        &self.revocations
    }

    pub(super) const fn audit(&self) -> &[u8; blake3::KEY_LEN] {
        &self.audit
    }

    pub(super) const fn root(&self) -> &[u8; Self::ROOT_BYTES] {
        &self.root
    }

    pub(super) fn fingerprint(&self, prefix: &Prefix) -> Fingerprint {
        let key = Zeroizing::new(blake3::derive_key("tokend 2026-11-24 key fingerprint v1", &self.root));
        let hash = blake3::keyed_hash(&key, prefix.as_str().as_bytes());
        let mut bytes = [0; Fingerprint::BYTES];
        bytes.copy_from_slice(&hash.as_bytes()[..Fingerprint::BYTES]);
        Fingerprint(bytes)
    }

    /// Computes the tag of a credential. 64 bits are enough to reject forgeries cheaply; the digest decides afterwards.
    pub(super) fn tag(&self, signed: &[u8]) -> [u8; TAG_BYTES] {
        let hash = blake3::keyed_hash(&self.tag, signed);
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&hash.as_bytes()[..TAG_BYTES]);
        tag
    }

    pub(super) fn digest(&self, kind: Kind, id: CredentialId, secret: &SecretBytes) -> blake3::Hash {
        const LONGEST_DOMAIN: usize = 32;
        let domain = kind.domain();
        let mut input = Zeroizing::new([0; LONGEST_DOMAIN + CredentialId::BYTES + SecretBytes::BYTES]);
        // The domain is padded with zero bytes, so that every part has a fixed position.
        input[..domain.len()].copy_from_slice(domain);
        input[LONGEST_DOMAIN..LONGEST_DOMAIN + CredentialId::BYTES].copy_from_slice(id.as_bytes());
        input[LONGEST_DOMAIN + CredentialId::BYTES..].copy_from_slice(secret.as_bytes());
        blake3::keyed_hash(&self.digest, &*input)
    }

    /// Computes the hash over the columns of `layout`, and whether all newer columns hold their defaults.
    pub(super) fn row_mac<T: Sealed>(&self, row: &T, layout: u8) -> (blake3::Hash, bool) {
        let mut input = MacInput::new(&self.row, T::TABLE, layout);
        row.write_sealed_columns(&mut input);
        input.finish()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, redacted)", self.kid)
    }
}
