use std::fmt;

use rand::TryCryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::Kid;

/// A whole credential in clear, as its holder presents it.
///
/// It has no `Display`, `Clone` or serialization, its `Debug` is redacted, and it is wiped on drop. It reaches an
/// answer only through [`Secret::expose`], which a reviewer can search for.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret(String);

impl Secret {
    /// Wraps a credential in clear.
    #[must_use]
    pub const fn new(clear: String) -> Self {
        Self(clear)
    }

    /// Returns the credential in clear.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// The 192 secret random bits of a credential.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct SecretBytes(pub(super) [u8; Self::BYTES]);

impl SecretBytes {
    pub(crate) const BYTES: usize = 24;

    pub(crate) fn random<R: TryCryptoRng>(random: &mut R) -> Result<Self, R::Error> {
        let mut bytes = Self([0; Self::BYTES]);
        random.try_fill_bytes(&mut bytes.0)?;
        Ok(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(redacted)")
    }
}

/// What is stored of a secret: `keyed BLAKE3(kind | id | secret)` and the key that computed it. The secret can't be
/// recovered from it.
///
/// Compared through [`blake3::Hash`], in constant time. A slow password hash is not needed, since 192 random bits can't
/// be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretDigest {
    kid: Kid,
    hash: blake3::Hash,
}

impl SecretDigest {
    /// The size of the hash in the database, in bytes.
    pub const BYTES: usize = blake3::OUT_LEN;

    pub(crate) const fn new(kid: Kid, hash: blake3::Hash) -> Self {
        Self { kid, hash }
    }

    /// Wraps a stored digest.
    #[must_use]
    pub const fn from_stored(kid: Kid, hash: [u8; Self::BYTES]) -> Self {
        Self {
            kid,
            hash: blake3::Hash::from_bytes(hash),
        }
    }

    /// Returns the key that computed the digest.
    #[must_use]
    pub const fn kid(&self) -> Kid {
        self.kid
    }

    /// Returns the bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        self.hash.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_is_redacted() {
        assert_eq!(format!("{:?}", Secret::new("tkdw_hush".to_owned())), "Secret(redacted)");
        assert_eq!(format!("{:?}", SecretBytes([7; 24])), "SecretBytes(redacted)");
    }

    /// Runs the wiping of drop while the memory can still be inspected.
    #[test]
    fn wiping_leaves_nothing() {
        let mut secret = Secret::new("tkdw_hush".to_owned());
        secret.zeroize();
        assert_eq!(secret.expose(), "");
        let mut bytes = SecretBytes([7; 24]);
        bytes.zeroize();
        assert_eq!(bytes.as_bytes(), &[0; 24]);
    }

    /// Fails to compile if a secret is no longer wiped on drop.
    #[test]
    fn secrets_are_wiped_on_drop() {
        const fn wiped_on_drop<T: ZeroizeOnDrop>() {}
        wiped_on_drop::<Secret>();
        wiped_on_drop::<SecretBytes>();
    }

    /// A `Clone`, `Display` or the like would make the call of `lacks` below ambiguous, and the build would fail.
    #[test]
    fn secrets_can_be_neither_cloned_nor_printed() {
        trait Without<Marker> {
            fn lacks() {}
        }
        impl<T> Without<()> for T {}
        struct Clones;
        impl<T: Clone> Without<Clones> for T {}
        struct Prints;
        impl<T: fmt::Display> Without<Prints> for T {}
        struct Serializes;
        impl<T: serde::Serialize> Without<Serializes> for T {}
        <Secret as Without<_>>::lacks();
        <SecretBytes as Without<_>>::lacks();
    }
}
