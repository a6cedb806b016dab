use crate::{
    credential::Kid,
    keyring::KeyRing,
    row_mac::{MacInput, RowMac, Sealed},
};

/// What a row's covered columns were after a change: a keyed hash under the audit subkey. Another key than the one of the row's
/// MAC, which is renewed when a key is retired; this one is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowDigest(RowMac);

impl RowDigest {
    /// The bytes to store: layout, key id, hash.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; RowMac::BYTES] {
        self.0.to_bytes()
    }

    /// A digest read back from storage; `None` if it is none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        RowMac::from_bytes(bytes).map(Self)
    }
}

impl KeyRing {
    /// The digest of `row` to tell in its event.
    #[must_use]
    pub fn audit_digest<T: Sealed>(&self, row: &T) -> RowDigest {
        let kid = self.active_kid();
        // The active key is always there.
        let hash = self.audited_row(kid, row, T::LAYOUT).map_or(blake3::Hash::from_bytes([0; blake3::OUT_LEN]), |(hash, _)| hash);
        RowDigest(RowMac::new(T::LAYOUT, kid, hash))
    }

    /// Whether `row` is the one that a digest was made of.
    #[must_use]
    pub fn is_as_audited<T: Sealed>(&self, row: &T, digest: &RowDigest) -> bool {
        let (layout, kid) = (digest.0.layout(), digest.0.kid());
        let audited = self.audited_row(kid, row, layout).filter(|_| (1..=T::LAYOUT).contains(&layout));
        audited.is_some_and(|(hash, says_no_more)| says_no_more && hash == *digest.0.hash())
    }

    fn audited_row<T: Sealed>(&self, kid: Kid, row: &T, layout: u8) -> Option<(blake3::Hash, bool)> {
        let mut input = self.audit_input(kid, T::TABLE, layout)?;
        row.write_sealed_columns(&mut input);
        Some(input.finish())
    }

    /// Begins a hash under a key's audit subkey. Tables have names of their own, so that none stands in for another.
    pub(super) fn audit_input(&self, kid: Kid, table: &str, layout: u8) -> Option<MacInput> {
        self.audit_key(kid).map(|key| MacInput::new(key, table, layout))
    }
}
