use std::{fmt, str::FromStr};

use crate::base62;

/// Names a key in the ring: one base62 digit, carried by every credential.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kid(u8);

/// Text that is not one letter or digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key id is one letter or digit")]
pub struct MalformedKid;

impl Kid {
    /// The key that a new ring starts with.
    pub(crate) const FIRST: Self = Self(0);
    /// How many there are.
    pub(crate) const COUNT: u8 = 62;

    /// Every one, in the order in which keys are given them.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// The key whose digit in credentials is `digit`.
    #[must_use]
    pub fn from_digit(digit: u8) -> Option<Self> {
        base62::value(digit).map(Self)
    }

    /// The digit in credentials, and the byte in the database.
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
