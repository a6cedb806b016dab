//! Free text with limits.

use std::fmt;

/// Text of `MIN` to `MAX` characters (Unicode scalar values). Control characters are refused, but for line breaks and tabs where
/// `LINES` allows several lines; text that must not be empty must not be blank either.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text<const MIN: usize, const MAX: usize, const LINES: bool>(String);

/// What a token or workspace is called.
pub type DisplayName = Text<1, 120, false>;
/// What a token is for.
pub type Description = Text<0, 1_000, true>;
/// Why something was done.
pub type Reason = Text<0, 500, true>;

/// Why a text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Too short, too long, or blank.
    #[error("must have {min} to {max} characters, not all of them blank; it has {len}")]
    Length {
        /// Fewest characters.
        min: usize,
        /// Most characters.
        max: usize,
        /// What was given.
        len: usize,
    },
    /// A control character.
    #[error("must not contain control characters; there is one at character {position}")]
    ControlCharacter {
        /// Its place, counted from 1.
        position: usize,
    },
}

impl<const MIN: usize, const MAX: usize, const LINES: bool> Text<MIN, MAX, LINES> {
    /// Takes a text that keeps the limits.
    ///
    /// # Errors
    /// [`TextError`], which tells the limit.
    pub fn new(text: String) -> Result<Self, TextError> {
        let len = text.chars().count();
        if !(MIN..=MAX).contains(&len) || (MIN > 0 && text.trim().is_empty()) {
            return Err(TextError::Length { min: MIN, max: MAX, len });
        }
        let refused = |c: char| c.is_control() && !(LINES && matches!(c, '\n' | '\r' | '\t'));
        match text.chars().position(refused) {
            Some(at) => Err(TextError::ControlCharacter { position: at + 1 }),
            None => Ok(Self(text)),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MIN: usize, const MAX: usize, const LINES: bool> fmt::Display for Text<MIN, MAX, LINES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MIN: usize, const MAX: usize, const LINES: bool> fmt::Debug for Text<MIN, MAX, LINES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<const MIN: usize, const MAX: usize, const LINES: bool> From<Text<MIN, MAX, LINES>> for String {
    fn from(text: Text<MIN, MAX, LINES>) -> Self {
        text.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_characters_not_bytes() {
        assert!(DisplayName::new("ä".repeat(120)).is_ok());
        assert_eq!(DisplayName::new("ä".repeat(121)), Err(TextError::Length { min: 1, max: 120, len: 121 }));
        assert!(DisplayName::new(String::new()).is_err());
        assert!(DisplayName::new(" \u{3000}".to_owned()).is_err());
        assert!(Description::new(String::new()).is_ok());
    }

    #[test]
    fn control_characters_are_refused() {
        assert_eq!(DisplayName::new("a\nb".to_owned()), Err(TextError::ControlCharacter { position: 2 }));
        assert!(Reason::new("a\nb\tc".to_owned()).is_ok());
        assert_eq!(Reason::new("a\u{1b}[31m".to_owned()), Err(TextError::ControlCharacter { position: 2 }));
    }
}
