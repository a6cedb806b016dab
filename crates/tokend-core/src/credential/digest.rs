use crate::credential::Kid;

/// What is stored of a secret: `keyed BLAKE3(kind | id | secret)` and the key it was made with. It can't be turned back.
///
/// Compared through [`blake3::Hash`], in constant time. The keyed hash of 192 random bits needs no slow password hash: there
/// is nothing to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretDigest {
    kid: Kid,
    hash: blake3::Hash,
}

impl SecretDigest {
    /// Bytes of the hash in the database.
    pub const BYTES: usize = blake3::OUT_LEN;

    pub(crate) const fn new(kid: Kid, hash: blake3::Hash) -> Self {
        Self { kid, hash }
    }

    /// A digest read back from storage.
    #[must_use]
    pub const fn from_stored(kid: Kid, hash: [u8; Self::BYTES]) -> Self {
        Self { kid, hash: blake3::Hash::from_bytes(hash) }
    }

    /// The key that the digest was made with.
    #[must_use]
    pub const fn kid(&self) -> Kid {
        self.kid
    }

    /// The bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        self.hash.as_bytes()
    }
}
