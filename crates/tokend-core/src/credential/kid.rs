use std::{fmt, str::FromStr};

use crate::base62;

/// The id of a key in the ring: one base62 digit, contained in every credential.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kid(u8);

/// The text is not one letter or digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key id is one letter or digit")]
pub struct MalformedKid;

impl Kid {
    /// The first key of a new ring.
    pub(crate) const FIRST: Self = Self(0);
    /// The number of key ids.
    pub(crate) const COUNT: u8 = 62;

    /// Returns every id, in the order in which keys get them.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// Returns the key with that digit in credentials.
    #[must_use]
    pub fn from_digit(digit: u8) -> Option<Self> {
        base62::value(digit).map(Self)
    }

    /// Returns the digit in credentials, which is also the byte in the database.
    #[must_use]
    pub fn digit(self) -> u8 {
        base62::digit(self.0)
    }
}

impl FromStr for Kid {
    type Err = MalformedKid;

    fn from_str(text: &str) -> Result<Self, MalformedKid> {
        match text.as_bytes() {
            [digit] => Self::from_digit(*digit).ok_or(MalformedKid),
            _ => Err(MalformedKid),
        }
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", char::from(self.digit()))
    }
}

impl fmt::Debug for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kid({self})")
    }
}
