//! Free text with limits.

use std::fmt;

/// Text of `MIN` to `MAX` characters (Unicode scalar values). Control characters are refused, but for line breaks and tabs where
/// `LINES` allows several lines; a text of one line holds no character either that breaks or reorders it. Text that must not be empty must not be blank either.
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
    /// Too short, too long, or blank where it must not be empty.
    #[error("must have {min} to {max} characters{}; it has {len}", if *min > 0 { ", not all of them blank" } else { "" })]
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
    /// A character that breaks or reorders a line, in a text of one line.
    #[error("must not contain characters that break or reorder a line; there is one at character {position}")]
    Reordering {
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
        if let Some(at) = text.chars().position(Self::is_refused_control) {
            return Err(TextError::ControlCharacter { position: at + 1 });
        }
        match text.chars().position(breaks_or_reorders_a_line) {
            Some(at) if !LINES => Err(TextError::Reordering { position: at + 1 }),
            _ => Ok(Self(text)),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_refused_control(char: char) -> bool {
        char.is_control() && !(LINES && matches!(char, '\n' | '\r' | '\t'))
    }
}

impl<const MAX: usize, const LINES: bool> Text<0, MAX, LINES> {
    /// As much of a text of our own making as keeps the limits: what is too long is cut, what is refused is left out.
    #[must_use]
    pub fn cut(text: &str) -> Self {
        let fits = |char: &char| !Self::is_refused_control(*char) && (LINES || !breaks_or_reorders_a_line(*char));
        Self(text.chars().filter(fits).take(MAX).collect())
    }
}

/// Whether a character, though no control character by its category, makes a terminal or a log show what follows on another line or
/// in another order: Unicode's separators of lines and paragraphs, and its embeddings, overrides and isolates of direction. With them
/// a text of one line can be made to look like another. Marks of direction, which right-to-left scripts need, do no such thing.
pub(crate) const fn breaks_or_reorders_a_line(char: char) -> bool {
    matches!(char, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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

    #[test]
    fn what_reorders_a_line_is_refused_in_one() {
        for char in ['\u{2028}', '\u{2029}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}'] {
            assert_eq!(DisplayName::new(format!("ab{char}")), Err(TextError::Reordering { position: 3 }));
            assert!(Reason::new(format!("ab{char}")).is_ok());
        }
        assert!(DisplayName::new("\u{5e9}\u{5dc}\u{5d5}\u{5dd}\u{200f}!".to_owned()).is_ok(), "right-to-left text and a mark");
    }

    #[test]
    fn an_error_tells_the_limits() {
        let told = |error: TextError| error.to_string();
        let blank = DisplayName::new(" ".to_owned()).expect_err("blank");
        assert_eq!(told(blank), "must have 1 to 120 characters, not all of them blank; it has 1");
        let too_long = Reason::new("a".repeat(501)).expect_err("too long");
        assert_eq!(told(too_long), "must have 0 to 500 characters; it has 501");
    }
}
