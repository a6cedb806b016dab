use std::{fmt, str::FromStr};

use rand::TryCryptoRng;

use crate::base62::{self, DIGITS_32, DIGITS_64};

/// The public id of a credential: 96 random bits, written as 17 base62 digits. It is safe to log, and is the last
/// segment of the resource name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialId([u8; Self::BYTES]);

/// The text is not 17 base62 digits, or exceeds the range of its limbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 17 letters or digits, as tokend generates them")]
pub struct MalformedId;

impl CredentialId {
    /// The size in the database, in bytes.
    pub const BYTES: usize = 12;
    /// The number of digits in text form.
    pub const DIGITS: usize = DIGITS_64 + DIGITS_32;

    /// Creates an id from bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    pub(crate) fn random<R: TryCryptoRng>(random: &mut R) -> Result<Self, R::Error> {
        let mut bytes = [0; Self::BYTES];
        random.try_fill_bytes(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Returns the id in base62, as it is spelled in names and credentials.
    #[must_use]
    pub fn digits(&self) -> [u8; Self::DIGITS] {
        let mut digits = [0; Self::DIGITS];
        let (wide, narrow) = self.limbs();
        base62::encode(wide, &mut digits[..DIGITS_64]);
        base62::encode(narrow.into(), &mut digits[DIGITS_64..]);
        digits
    }

    pub(crate) fn from_digits(digits: &[u8]) -> Option<Self> {
        if digits.len() != Self::DIGITS {
            return None;
        }
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&base62::decode_64(&digits[..DIGITS_64])?.to_be_bytes());
        bytes[8..].copy_from_slice(&base62::decode_32(&digits[DIGITS_64..])?.to_be_bytes());
        Some(Self(bytes))
    }

    fn limbs(&self) -> (u64, u32) {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.0;
        (
            u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            u32::from_be_bytes([i, j, k, l]),
        )
    }
}

impl FromStr for CredentialId {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        Self::from_digits(text.as_bytes()).ok_or(MalformedId)
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // base62 is ASCII.
        f.write_str(str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl fmt::Debug for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredentialId({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trips_and_sorts_as_its_bytes(a: [u8; 12], b: [u8; 12]) {
            let (a, b) = (CredentialId::from_bytes(a), CredentialId::from_bytes(b));
            prop_assert_eq!(a.to_string().parse(), Ok(a));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }
    }

    #[test]
    fn other_spellings_are_malformed() {
        for bad in [
            "",
            "0",
            "0000000000000000",
            "000000000000000000",
            "zzzzzzzzzzz000000",
            "00000000000zzzzzz",
            "0000000000000000-",
        ] {
            assert_eq!(bad.parse::<CredentialId>(), Err(MalformedId), "{bad}");
        }
    }
}
