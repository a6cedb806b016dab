//! Text for terminals: tables and messages with escaped control characters.

use std::{borrow::Cow, fmt::Write as _, io::Write as _};

use comfy_table::{Table, presets};
use tokend_core::credential::without_secrets;

/// A response as people see it.
pub(crate) enum View {
    /// A table with one row for each entry.
    List {
        /// The titles of the columns.
        header: Vec<&'static str>,
        /// The entries.
        rows: Vec<Vec<String>>,
        /// The message to print on stderr if there are no entries.
        none: &'static str,
    },
    /// One resource with a line for each field. Fields without a value are left out.
    Details(Vec<(&'static str, String)>),
    /// Several views, separated by an empty line. Empty views are left out.
    Parts(Vec<Self>),
}

/// A field of a `T`: its title and how to show its value. A column of a list, or a line of details.
pub(crate) type Field<T> = (&'static str, fn(&T) -> String);

impl View {
    /// Shows entries as a table with these columns. `none` is the message for an empty list.
    pub(crate) fn list<T>(entries: &[T], columns: &[Field<T>], none: &'static str) -> Self {
        let row = |entry: &T| columns.iter().map(|(_, cell)| cell(entry)).collect();
        Self::List {
            header: columns.iter().map(|(title, _)| *title).collect(),
            rows: entries.iter().map(row).collect(),
            none,
        }
    }

    /// Shows one resource with these fields.
    pub(crate) fn details<T>(entry: Option<&T>, fields: &[Field<T>]) -> Self {
        let lines = |entry: &T| fields.iter().map(|(title, value)| (*title, value(entry))).collect();
        Self::Details(entry.map(lines).unwrap_or_default())
    }

    /// Returns the lines, each with its line break. An empty list has no lines.
    pub(crate) fn lines(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        match self {
            Self::List { rows, .. } if rows.is_empty() => return String::new(),
            Self::Parts(parts) => {
                let parts: Vec<_> = parts
                    .iter()
                    .map(Self::lines)
                    .filter(|lines| !lines.is_empty())
                    .collect();
                return parts.join("\n");
            }
            Self::List { header, rows, .. } => {
                table.set_header(header);
                table.add_rows(rows.iter().map(|row| row.iter().map(|cell| printable(cell))));
            }
            Self::Details(fields) => {
                let present = fields.iter().filter(|(_, value)| !value.is_empty());
                table.add_rows(present.map(|(field, value)| [Cow::Borrowed(*field), printable(value)]));
            }
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.trim_fmt() + "\n"
    }
}

/// Escapes the characters of `text` that a terminal would interpret or hide: control characters, and marks that
/// reorder or hide text.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unprintable) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.chars()
            .fold(String::with_capacity(text.len() + 16), |mut shown, char| {
                if is_unprintable(char) {
                    shown.extend(char.escape_default());
                } else {
                    shown.push(char);
                }
                shown
            }),
    )
}

/// Replaces such characters in JSON with JSON's own escapes, which does not change its meaning: they only occur in
/// strings.
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

/// Prints a message on stderr. Secrets in it are removed: users sometimes pass a token where a name belongs. Failure to
/// write is ignored.
pub(crate) fn note(message: &str) {
    let message = &without_secrets(message);
    // In a single write: stderr is not buffered, and other processes may write to it.
    let _ = std::io::stderr().write_all(format!("{}\n", printable(message)).as_bytes());
}

fn is_unprintable(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            // Soft hyphen, zero-width characters, direction marks and overrides, line separators, invisible operators.
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
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
            header: vec!["NAME", "STATE"],
            rows: vec![
                vec!["a-long-name".to_owned(), "ACTIVE".to_owned()],
                vec!["ä".to_owned(), String::new()],
            ],
            none: "none",
        };
        assert_eq!(view.lines(), "NAME         STATE\na-long-name  ACTIVE\nä\n");
        let view = View::Details(vec![
            ("NAME", "x".to_owned()),
            ("REASON", String::new()),
            ("DISPLAY NAME", "a b".to_owned()),
        ]);
        assert_eq!(view.lines(), "NAME          x\nDISPLAY NAME  a b\n");
        assert_eq!(
            View::List {
                header: vec!["NAME"],
                rows: Vec::new(),
                none: "none"
            }
            .lines(),
            ""
        );
    }

    #[test]
    fn no_control_character_comes_through() {
        assert_eq!(printable("wörks ✓ 名"), "wörks ✓ 名");
        assert_eq!(
            printable("\u{1b}[31mred\n\u{9b}2J\u{7f}"),
            r"\u{1b}[31mred\n\u{9b}2J\u{7f}"
        );
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
