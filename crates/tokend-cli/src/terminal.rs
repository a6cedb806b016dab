//! What may reach a terminal: tables of text in which nothing can move the cursor or deceive the eye.

use std::{borrow::Cow, fmt::Write as _, io::Write as _};

use comfy_table::{Table, presets};
use tokend_core::credential::without_secrets;

/// What an answer looks like to people.
pub(crate) enum View {
    /// One line for each entry.
    List {
        /// The columns' titles.
        header: &'static [&'static str],
        /// The entries.
        rows: Vec<Vec<String>>,
        /// What to say if there are none.
        none: &'static str,
    },
    /// One thing, a line for each field. Fields without a value are left out.
    Details(Vec<(&'static str, String)>),
    /// Several of these, with an empty line between. Empty ones are left out.
    Parts(Vec<Self>),
}

impl View {
    /// The lines, each with its end. None for an empty list.
    pub(crate) fn lines(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        match self {
            Self::List { rows, .. } if rows.is_empty() => return String::new(),
            Self::Parts(parts) => {
                let parts: Vec<_> = parts.iter().map(Self::lines).filter(|lines| !lines.is_empty()).collect();
                return parts.join("\n");
            }
            Self::List { header, rows, .. } => {
                table.set_header(*header);
                table.add_rows(rows.iter().map(|row| row.iter().map(|cell| printable(cell))));
            }
            Self::Details(fields) => {
                let told = fields.iter().filter(|(_, value)| !value.is_empty());
                table.add_rows(told.map(|(field, value)| [Cow::Borrowed(*field), printable(value)]));
            }
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.trim_fmt() + "\n"
    }
}

/// `text` without what a terminal would obey instead of show: control characters, and marks that reorder or hide text, stand
/// escaped.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unprintable) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().fold(String::with_capacity(text.len() + 16), |mut shown, char| {
        if is_unprintable(char) {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
        shown
    }))
}

/// JSON in which such characters stand as JSON's own escapes, so that it still says the same. They occur in its strings only.
pub(crate) fn printable_json(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut shown, char| {
        if is_unprintable(char) && char != '\n' {
            let mut units = [0; 2];
            for unit in char.encode_utf16(&mut units) {
                // Writing to a string can't fail.
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(char);
        }
        shown
    })
}

/// Prints a sentence for people on stderr, without the secrets in it: a token may stand where a name should. If nobody listens there, that is
/// no reason to fail.
pub(crate) fn note(sentence: &str) {
    let sentence = &without_secrets(sentence);
    // In one piece: stderr is not buffered, and others may write there, too.
    let _ = std::io::stderr().write_all(format!("{}\n", printable(sentence)).as_bytes());
}

fn is_unprintable(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            // Soft hyphen, zero-width characters, marks and overrides of direction, line separators, invisible operators.
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            // Byte order mark, interlinear marks, tags.
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_nothing_trails() {
        let view = View::List {
            header: &["NAME", "STATE"],
            rows: vec![vec!["a-long-name".to_owned(), "ACTIVE".to_owned()], vec!["ä".to_owned(), String::new()]],
            none: "none",
        };
        assert_eq!(view.lines(), "NAME         STATE\na-long-name  ACTIVE\nä\n");
        let view = View::Details(vec![("NAME", "x".to_owned()), ("REASON", String::new()), ("DISPLAY NAME", "a b".to_owned())]);
        assert_eq!(view.lines(), "NAME          x\nDISPLAY NAME  a b\n");
        assert_eq!(View::List { header: &["NAME"], rows: Vec::new(), none: "none" }.lines(), "");
    }

    #[test]
    fn no_control_character_comes_through() {
        assert_eq!(printable("wörks ✓ 名"), "wörks ✓ 名");
        assert_eq!(printable("\u{1b}[31mred\n\u{9b}2J\u{7f}"), r"\u{1b}[31mred\n\u{9b}2J\u{7f}");
        assert_eq!(printable("ci\u{202e}gnp"), r"ci\u{202e}gnp");
        let view = View::Details(vec![("NAME", "a\nb\tc\u{1b}".to_owned())]);
        assert_eq!(view.lines(), "NAME  a\\nb\\tc\\u{1b}\n");
    }

    #[test]
    fn json_says_the_same_with_escapes() {
        let text = "a\u{9b}b\u{7f}c\u{202e}d\u{e0041}";
        let json = printable_json(&serde_json::to_string(text).expect("JSON"));
        assert!(!json.contains(is_unprintable), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text);
    }
}
