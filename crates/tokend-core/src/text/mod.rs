//! Free text with limits on its length and characters.

pub mod encoding;

pub(crate) mod characters;
mod quote;

pub use characters::is_unseen;
pub use quote::quoted;

use std::fmt;

use crate::credential::{ContainsSecret, refuse_secrets, without_secrets};
use characters::breaks_or_reorders_a_line;

/// A text of `MIN` to `MAX` characters (Unicode scalar values). Control characters are rejected, except line breaks and
/// tabs if `LINES` allows several lines. A one-line text must not contain characters that break or reorder the line. A
/// text with a minimum length must not be blank.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text<const MIN: usize, const MAX: usize, const LINES: bool>(String);

/// The name of a token or workspace.
pub type DisplayName = Text<1, 120, false>;
/// What a token is used for.
pub type Description = Text<0, 1_000, true>;
/// Why something was done.
pub type Reason = Text<0, 500, true>;

/// Why a text is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The text is too short, too long, or blank where it must not be empty.
    #[error(
        "must have {min} to {max} characters{}; it has {len}",
        if *min > 0 { ", not all of them blank" } else { "" }
    )]
    Length {
        /// The fewest characters.
        min: usize,
        /// The most characters.
        max: usize,
        /// The number of characters given.
        len: usize,
    },
    /// The text has a control character.
    #[error("must not contain control characters; there is one at character {position}")]
    ControlCharacter {
        /// Its position, counted from 1.
        position: usize,
    },
    /// Every character is invisible.
    #[error("must have a visible character")]
    Unseen,
    /// The text contains a secret.
    #[error(transparent)]
    Secret(#[from] ContainsSecret),
    /// A one-line text has a character that breaks or reorders a line.
    #[error("must not contain characters that break or reorder a line; there is one at character {position}")]
    Reordering {
        /// Its position, counted from 1.
        position: usize,
    },
}

impl<const MIN: usize, const MAX: usize, const LINES: bool> Text<MIN, MAX, LINES> {
    /// Validates a text from a client that is to be stored: the limits, that it contains no secret, and that something
    /// is visible if it must not be empty.
    ///
    /// # Errors
    /// [`TextError`], which never repeats the text.
    pub fn received(text: String) -> Result<Self, TextError> {
        let text = Self::new(text)?;
        refuse_secrets(text.as_str())?;
        if MIN > 0 && text.as_str().chars().all(is_unseen) {
            Err(TextError::Unseen)
        } else {
            Ok(text)
        }
    }

    /// Validates the limits of a text, such as one read from storage.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn new(text: String) -> Result<Self, TextError> {
        let len = text.chars().count();
        if !(MIN..=MAX).contains(&len) || (MIN > 0 && text.trim().is_empty()) {
            return Err(TextError::Length {
                min: MIN,
                max: MAX,
                len,
            });
        }
        if let Some(at) = text.chars().position(Self::is_refused_control) {
            return Err(TextError::ControlCharacter { position: at + 1 });
        }
        match text.chars().position(breaks_or_reorders_a_line) {
            Some(at) if !LINES => Err(TextError::Reordering { position: at + 1 }),
            _ => Ok(Self(text)),
        }
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_refused_control(char: char) -> bool {
        char.is_control() && !(LINES && matches!(char, '\n' | '\r' | '\t'))
    }
}

impl<const MAX: usize, const LINES: bool> Text<0, MAX, LINES> {
    /// Validates the limits of a text from a client and removes secrets from it. For texts in urgent calls, which must
    /// not fail because of a pasted secret.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn received_without_secrets(text: String) -> Result<Self, TextError> {
        // Removing secrets makes the text shorter.
        Self::new(text).map(|Self(text)| Self(without_secrets(&text).into_owned()))
    }

    /// Creates a text from one that tokend composed: it is cut to the limit, and characters that are not allowed are
    /// dropped.
    #[must_use]
    pub fn cut(text: &str) -> Self {
        let fits = |char: &char| !Self::is_refused_control(*char) && (LINES || !breaks_or_reorders_a_line(*char));
        Self(text.chars().filter(fits).take(MAX).collect())
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
        assert_eq!(
            DisplayName::new("ä".repeat(121)),
            Err(TextError::Length {
                min: 1,
                max: 120,
                len: 121
            })
        );
        assert!(DisplayName::new(String::new()).is_err());
        assert!(DisplayName::new(" \u{3000}".to_owned()).is_err());
        assert!(Description::new(String::new()).is_ok());
    }

    #[test]
    fn control_characters_are_refused() {
        assert_eq!(
            DisplayName::new("a\nb".to_owned()),
            Err(TextError::ControlCharacter { position: 2 })
        );
        assert!(Reason::new("a\nb\tc".to_owned()).is_ok());
        assert_eq!(
            Reason::new("a\u{1b}[31m".to_owned()),
            Err(TextError::ControlCharacter { position: 2 })
        );
    }

    #[test]
    fn what_reorders_a_line_is_refused_in_one() {
        for char in ['\u{2028}', '\u{2029}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}'] {
            assert_eq!(
                DisplayName::new(format!("ab{char}")),
                Err(TextError::Reordering { position: 3 })
            );
            assert!(Reason::new(format!("ab{char}")).is_ok());
        }
        assert!(
            DisplayName::new("\u{5e9}\u{5dc}\u{5d5}\u{5dd}\u{200f}!".to_owned()).is_ok(),
            "right-to-left text and a mark"
        );
    }

    #[test]
    fn a_name_can_be_seen() {
        for unseen in [
            "\u{200b}",
            "\u{feff}\u{ad}",
            "\u{3164}",
            "\u{2800} ",
            "\u{e0041}",
            "\u{115f}\u{fe0f}",
            "\u{200e}",
        ] {
            assert_eq!(
                DisplayName::received(unseen.to_owned()),
                Err(TextError::Unseen),
                "{unseen:?}"
            );
            assert!(
                DisplayName::new(unseen.to_owned()).is_ok(),
                "what was stored can be read"
            );
            assert!(DisplayName::received(format!("{unseen}a")).is_ok(), "{unseen:?}");
            assert!(
                Description::received(unseen.to_owned()).is_ok(),
                "a description may be empty"
            );
        }
        for seen in ["\u{301}", "\u{e000}", "\u{ffff}", "-", "名", "🚀"] {
            assert!(DisplayName::received(seen.to_owned()).is_ok(), "{seen:?}");
        }
    }

    #[test]
    fn a_secret_is_refused_or_cut() {
        let token = format!("tkdw_{}_{}", "0".repeat(18), "s".repeat(50));
        assert_eq!(
            DisplayName::received(token.clone()),
            Err(TextError::Secret(ContainsSecret))
        );
        assert_eq!(
            Description::received(format!("of\n{token}")),
            Err(TextError::Secret(ContainsSecret))
        );
        assert!(DisplayName::new(token.clone()).is_ok(), "what was stored can be read");
        let reason = Reason::received_without_secrets(format!("{token} leaked"));
        assert_eq!(
            reason.map(String::from),
            Ok(format!("tkdw_{}_... leaked", "0".repeat(18)))
        );
    }

    #[test]
    fn an_error_names_the_limits() {
        let text = |error: TextError| error.to_string();
        let blank = DisplayName::new(" ".to_owned()).expect_err("blank");
        assert_eq!(
            text(blank),
            "must have 1 to 120 characters, not all of them blank; it has 1"
        );
        let too_long = Reason::new("a".repeat(501)).expect_err("too long");
        assert_eq!(text(too_long), "must have 0 to 500 characters; it has 501");
    }
}
