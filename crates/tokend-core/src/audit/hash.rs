use std::{fmt, str::FromStr};

use crate::{
    credential::Kid,
    keyring::KeyRing,
    row_mac::{MacInput, RowMac, Sealed},
};

/// A keyed hash in the audit log: of a record, or the MAC of a head or a checkpoint. Comparison takes constant time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHash(blake3::Hash);

/// The text is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 64 hexadecimal digits")]
pub struct MalformedHash;

impl ChainHash {
    /// The size in the database, in bytes.
    pub const BYTES: usize = blake3::OUT_LEN;
    /// The hash before the first record: zeros.
    pub const NOTHING: Self = Self::from_bytes([0; Self::BYTES]);

    /// Wraps a stored hash.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(blake3::Hash::from_bytes(bytes))
    }

    /// Returns the bytes to store.
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

/// A keyed hash of a row's sealed columns after a change, under the audit subkey. Row MACs are renewed when a key is
/// retired; this digest never is, so it has a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowDigest(RowMac);

impl RowDigest {
    /// Returns the bytes to store: layout, key id, hash.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; RowMac::BYTES] {
        self.0.to_bytes()
    }

    /// Reads a stored digest; `None` if the bytes are malformed.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        RowMac::from_bytes(bytes).map(Self)
    }
}

impl KeyRing {
    /// Computes the digest of `row` to record in an event.
    #[must_use]
    pub fn audit_digest<T: Sealed>(&self, row: &T) -> RowDigest {
        let kid = self.active_kid();
        // The ring always has its active key.
        let hash = self
            .audited_row(kid, row, T::LAYOUT)
            .map_or(blake3::Hash::from_bytes([0; blake3::OUT_LEN]), |(hash, _)| hash);
        RowDigest(RowMac::new(T::LAYOUT, kid, hash))
    }

    /// Returns whether the digest was computed from `row`.
    #[must_use]
    pub fn matches_audit_digest<T: Sealed>(&self, row: &T, digest: &RowDigest) -> bool {
        let (layout, kid) = (digest.0.layout(), digest.0.kid());
        let audited = self
            .audited_row(kid, row, layout)
            .filter(|_| (1..=T::LAYOUT).contains(&layout));
        audited.is_some_and(|(hash, has_defaults)| has_defaults && hash == *digest.0.hash())
    }

    fn audited_row<T: Sealed>(&self, kid: Kid, row: &T, layout: u8) -> Option<(blake3::Hash, bool)> {
        let mut input = self.audit_input(kid, T::TABLE, layout)?;
        row.write_sealed_columns(&mut input);
        Some(input.finish())
    }

    /// Starts a hash under a key's audit subkey. Each table has its own name, so that a hash from one table is never
    /// valid in another.
    pub(super) fn audit_input(&self, kid: Kid, table: &str, layout: u8) -> Option<MacInput> {
        self.audit_key(kid).map(|key| MacInput::new(key, table, layout))
    }
}
