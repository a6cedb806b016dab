//! Free text with limits.

use std::fmt;

use crate::credential::{HoldsSecret, refuse_secrets, without_secrets};

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
    /// Nothing in it can be seen.
    #[error("must have a character that can be seen")]
    Unseen,
    /// A secret.
    #[error(transparent)]
    Secret(#[from] HoldsSecret),
    /// A character that breaks or reorders a line, in a text of one line.
    #[error("must not contain characters that break or reorder a line; there is one at character {position}")]
    Reordering {
        /// Its place, counted from 1.
        position: usize,
    },
}

impl<const MIN: usize, const MAX: usize, const LINES: bool> Text<MIN, MAX, LINES> {
    /// Takes a text that a client sends and that is stored: one that keeps the limits, holds no secret, and can be seen where it must not
    /// be empty.
    ///
    /// # Errors
    /// [`TextError`], which never repeats the text.
    pub fn received(text: String) -> Result<Self, TextError> {
        let text = Self::new(text)?;
        refuse_secrets(text.as_str())?;
        if MIN > 0 && text.as_str().chars().all(is_unseen) { Err(TextError::Unseen) } else { Ok(text) }
    }

    /// Takes a text that keeps the limits, such as one that was stored.
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
    /// Takes a text that a client sends about something that can't wait, without the secrets in it.
    ///
    /// # Errors
    /// [`TextError`], which tells the limit.
    pub fn received_without_secrets(text: String) -> Result<Self, TextError> {
        // What is cut gets shorter.
        Self::new(text).map(|Self(text)| Self(without_secrets(&text).into_owned()))
    }

    /// As much of a text of our own making as keeps the limits: what is too long is cut, what is refused is left out.
    #[must_use]
    pub fn cut(text: &str) -> Self {
        let fits = |char: &char| !Self::is_refused_control(*char) && (LINES || !breaks_or_reorders_a_line(*char));
        Self(text.chars().filter(fits).take(MAX).collect())
    }
}

/// Whether nothing is seen of a character where it stands alone: white space, control and format characters, what Unicode calls ignorable by
/// default (UCD 16, `Default_Ignorable_Code_Point`), and signs that are drawn as nothing.
#[must_use]
pub fn is_unseen(char: char) -> bool {
    char.is_control()
        || char.is_whitespace()
        || matches!(
            char,
            // Ignorable: soft hyphen, joiners, Hangul and Khmer fillers, variation selectors, marks of direction, tags.
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
            // Format characters beside those: interlinear annotation, and how hieroglyphs are joined.
            | '\u{fff9}'..='\u{fffb}' | '\u{13430}'..='\u{1343f}'
            // Drawn as nothing: the empty Braille pattern, and a note without a head.
            | '\u{2800}' | '\u{1d159}'
        )
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

    /// Against Unicode's own properties, of the version that the `regex` crate has.
    #[test]
    fn what_unicode_calls_invisible_is_unseen() {
        let unseen = r"[\p{Cc}\p{Cf}\p{White_Space}\p{Default_Ignorable_Code_Point}]";
        // Signs of numbers and verses, which are format characters because they enclose what follows, and can be seen.
        let seen = r"[\u{600}-\u{605}\u{6dd}\u{70f}\u{890}\u{891}\u{8e2}\u{110bd}\u{110cd}]";
        let [unseen, seen] = [unseen, seen].map(|class| regex::Regex::new(class).expect("a class"));
        for char in ('\0'..=char::MAX).filter(|char| !matches!(char, '\u{2800}' | '\u{1d159}')) {
            let text = char.to_string();
            assert_eq!(is_unseen(char), unseen.is_match(&text) && !seen.is_match(&text), "{char:?}");
        }
    }

    #[test]
    fn a_name_can_be_seen() {
        for unseen in ["\u{200b}", "\u{feff}\u{ad}", "\u{3164}", "\u{2800} ", "\u{e0041}", "\u{115f}\u{fe0f}", "\u{200e}"] {
            assert_eq!(DisplayName::received(unseen.to_owned()), Err(TextError::Unseen), "{unseen:?}");
            assert!(DisplayName::new(unseen.to_owned()).is_ok(), "what was stored can be read");
            assert!(DisplayName::received(format!("{unseen}a")).is_ok(), "{unseen:?}");
            assert!(Description::received(unseen.to_owned()).is_ok(), "a description may be empty");
        }
        for seen in ["\u{301}", "\u{e000}", "\u{ffff}", "-", "名", "🚀"] {
            assert!(DisplayName::received(seen.to_owned()).is_ok(), "{seen:?}");
        }
    }

    #[test]
    fn a_secret_is_refused_or_cut() {
        let token = format!("tkdw_{}_{}", "0".repeat(18), "s".repeat(50));
        assert_eq!(DisplayName::received(token.clone()), Err(TextError::Secret(HoldsSecret)));
        assert_eq!(Description::received(format!("of\n{token}")), Err(TextError::Secret(HoldsSecret)));
        assert!(DisplayName::new(token.clone()).is_ok(), "what was stored can be read");
        let reason = Reason::received_without_secrets(format!("{token} leaked"));
        assert_eq!(reason.map(String::from), Ok(format!("tkdw_{}_... leaked", "0".repeat(18))));
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
