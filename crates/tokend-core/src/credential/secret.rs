use std::fmt;

use rand::TryCryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A whole credential in clear, as its holder presents it.
///
/// It has no `Display`, `Clone` or serialization, its `Debug` is redacted, and it is wiped when dropped: it can reach an answer
/// only through [`Secret::expose`], a word to search for in a review.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret(String);

impl Secret {
    /// Takes charge of a credential in clear.
    #[must_use]
    pub const fn new(clear: String) -> Self {
        Self(clear)
    }

    /// The credential in clear.
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

/// The 192 random bits of a credential that nobody can guess.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_tells_nothing() {
        assert_eq!(format!("{:?}", Secret::new("tkdw_hush".to_owned())), "Secret(redacted)");
        assert_eq!(format!("{:?}", SecretBytes([7; 24])), "SecretBytes(redacted)");
    }

    /// The wiping that runs on drop, looked at while the memory is still ours.
    #[test]
    fn wiping_leaves_nothing() {
        let mut secret = Secret::new("tkdw_hush".to_owned());
        secret.zeroize();
        assert_eq!(secret.expose(), "");
        let mut bytes = SecretBytes([7; 24]);
        bytes.zeroize();
        assert_eq!(bytes.as_bytes(), &[0; 24]);
    }

    /// Fails to compile when a secret stops being wiped on drop.
    #[test]
    fn secrets_are_wiped_on_drop() {
        const fn wiped_on_drop<T: ZeroizeOnDrop>() {}
        wiped_on_drop::<Secret>();
        wiped_on_drop::<SecretBytes>();
    }

    /// `Clone`, `Display` and the like would give the method below a second candidate and end the build.
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
