use std::{fmt, str::FromStr};

/// A keyed hash of the audit log: of a record, or a MAC of a head or a checkpoint. Compared in constant time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHash(blake3::Hash);

/// Text that is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 64 hexadecimal digits")]
pub struct MalformedHash;

impl ChainHash {
    /// Bytes in the database.
    pub const BYTES: usize = blake3::OUT_LEN;
    /// What stands before the first record: zeros.
    pub const NOTHING: Self = Self::from_bytes([0; Self::BYTES]);

    /// A hash read back from storage.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(blake3::Hash::from_bytes(bytes))
    }

    /// The bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        self.0.as_bytes()
    }

    pub(super) const fn of(hash: blake3::Hash) -> Self {
        Self(hash)
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_hex().as_str())
    }
}

impl FromStr for ChainHash {
    type Err = MalformedHash;

    fn from_str(text: &str) -> Result<Self, MalformedHash> {
        blake3::Hash::from_hex(text).map(Self).map_err(|_| MalformedHash)
    }
}
