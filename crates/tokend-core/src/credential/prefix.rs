use std::{fmt, str::FromStr};

/// The installation's prefix, `tkd` by default: 3 to 12 lower-case letters or digits by which secret scanners recognize
/// a company's tokens. It can't be changed later, since it is part of every token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    bytes: [u8; Self::MAX_LEN],
    len: u8,
}

/// The text does not match `[a-z0-9]{3,12}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token prefix is 3 to 12 lower-case letters or digits")]
pub struct MalformedPrefix;

impl Prefix {
    /// The fewest characters.
    pub const MIN_LEN: usize = 3;
    /// The most characters.
    pub const MAX_LEN: usize = 12;

    /// Returns the prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII is accepted.
        str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl Default for Prefix {
    fn default() -> Self {
        let mut bytes = [0; Self::MAX_LEN];
        bytes[..3].copy_from_slice(b"tkd");
        Self { bytes, len: 3 }
    }
}

impl FromStr for Prefix {
    type Err = MalformedPrefix;

    fn from_str(text: &str) -> Result<Self, MalformedPrefix> {
        let well_formed = text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !well_formed || !(Self::MIN_LEN..=Self::MAX_LEN).contains(&text.len()) {
            return Err(MalformedPrefix);
        }
        let mut bytes = [0; Self::MAX_LEN];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self {
            bytes,
            len: text.len() as u8,
        })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix({})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_to_twelve_lower_case_letters_or_digits() {
        assert_eq!(Prefix::default().as_str(), "tkd");
        for good in ["abc", "a1b2c3d4e5f6"] {
            assert_eq!(
                good.parse::<Prefix>().map(|prefix| prefix.to_string()),
                Ok(good.to_owned())
            );
        }
        for bad in ["", "ab", "a1b2c3d4e5f67", "Abc", "a_b", "äbc"] {
            assert_eq!(bad.parse::<Prefix>(), Err(MalformedPrefix), "{bad}");
        }
    }
}
