//! Lists in text columns.
//!
//! Words without spaces are separated by one space. Free text is stored as JSON. `*` means "all" in a list of words, so
//! that an empty column never means everything.

use std::{collections::BTreeMap, fmt::Display};

const ALL: &str = "*";

/// All values, or only some.
pub(crate) enum Choice<T> {
    All,
    Only(Vec<T>),
}

/// Writes words, separated by a space.
pub(crate) fn join<T: Display>(words: impl IntoIterator<Item = T>) -> String {
    let words: Vec<_> = words.into_iter().map(|word| word.to_string()).collect();
    words.join(" ")
}

/// Reads words that are separated by exactly one space.
pub(crate) fn split<T, E: Display>(text: &str, word: impl Fn(&str) -> Result<T, E>) -> Result<Vec<T>, String> {
    text.split(' ')
        .map(|text| word(text).map_err(|error| error.to_string()))
        .collect()
}

/// Reads words as [`split`] does. An empty text is an empty list.
pub(crate) fn split_any<T, E: Display>(text: &str, word: impl Fn(&str) -> Result<T, E>) -> Result<Vec<T>, String> {
    if text.is_empty() {
        Ok(Vec::new())
    } else {
        split(text, word)
    }
}

/// Writes a choice. `None` means all.
pub(crate) fn join_choice<T: Display>(only: Option<impl IntoIterator<Item = T>>) -> String {
    only.map_or_else(|| ALL.to_owned(), join)
}

/// Reads a choice.
pub(crate) fn split_choice<T, E: Display>(
    text: &str,
    word: impl Fn(&str) -> Result<T, E>,
) -> Result<Choice<T>, String> {
    if text == ALL {
        Ok(Choice::All)
    } else {
        split(text, word).map(Choice::Only)
    }
}

/// Writes a map of free texts.
pub(crate) fn write_map<'a>(entries: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let entries = entries.map(|(key, value)| (key.to_owned(), value.into()));
    serde_json::Value::Object(entries.collect()).to_string()
}

/// Returns a text that the output of [`write_map`] contains exactly if the map has that key, with that value if one is
/// given. This works because a quote within a text follows a backslash, and only a key is followed by a colon.
pub(crate) fn map_entry(key: &str, value: Option<&str>) -> String {
    let key = serde_json::Value::from(key);
    value.map_or_else(
        || format!("{key}:"),
        |value| format!("{key}:{}", serde_json::Value::from(value)),
    )
}

/// Reads a map of free texts.
pub(crate) fn read_map(text: &str) -> Result<BTreeMap<String, String>, String> {
    serde_json::from_str(text).map_err(|error| format!("must be a JSON object of texts: {error}"))
}

/// Writes a list of free texts.
pub(crate) fn write_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().collect::<serde_json::Value>().to_string()
}

/// Reads a list of free texts.
pub(crate) fn read_texts(text: &str) -> Result<Vec<String>, String> {
    serde_json::from_str(text).map_err(|error| format!("must be a JSON array of texts: {error}"))
}
