//! Characters that are invisible, and characters that change how a line is displayed.

/// Returns whether a character is invisible where it stands alone: white space, control and format characters,
/// characters that Unicode calls ignorable (UCD 16, `Default_Ignorable_Code_Point`), and symbols that are drawn as
/// blanks.
#[must_use]
pub fn is_unseen(char: char) -> bool {
    char.is_control()
        || char.is_whitespace()
        || matches!(
            char,
            // Ignorable: soft hyphen, joiners, Hangul and Khmer fillers, variation selectors, direction marks, tags.
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
            // Other format characters: interlinear annotation, and joiners of hieroglyphs.
            | '\u{fff9}'..='\u{fffb}' | '\u{13430}'..='\u{1343f}'
            // Drawn as blanks: the empty Braille pattern, and a null notehead.
            | '\u{2800}' | '\u{1d159}'
        )
}

/// Returns whether a character, though not a control character by category, makes a terminal or a log display the
/// following text on another line or in another order: line and paragraph separators, and bidirectional embeddings,
/// overrides and isolates. With them a one-line text can be made to look like another. Direction marks, which
/// right-to-left scripts need, do not have that effect.
pub(crate) const fn breaks_or_reorders_a_line(char: char) -> bool {
    matches!(char, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares with Unicode's own properties, in the version that the `regex` crate has.
    #[test]
    fn what_unicode_calls_invisible_is_unseen() {
        let unseen = r"[\p{Cc}\p{Cf}\p{White_Space}\p{Default_Ignorable_Code_Point}]";
        // Number and verse signs, which are format characters because they enclose what follows, and are visible.
        let seen = r"[\u{600}-\u{605}\u{6dd}\u{70f}\u{890}\u{891}\u{8e2}\u{110bd}\u{110cd}]";
        let [unseen, seen] = [unseen, seen].map(|class| regex::Regex::new(class).expect("a class"));
        for char in ('\0'..=char::MAX).filter(|char| !matches!(char, '\u{2800}' | '\u{1d159}')) {
            let text = char.to_string();
            assert_eq!(
                is_unseen(char),
                unseen.is_match(&text) && !seen.is_match(&text),
                "{char:?}"
            );
        }
    }
}
