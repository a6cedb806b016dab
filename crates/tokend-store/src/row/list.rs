//! Lists in text columns.
//!
//! Words that can't hold a space stand with one space between them; free text stands in JSON. `*` says "all" in words, so that an
//! empty column never means everything.

use std::{collections::BTreeMap, fmt::Display};

const ALL: &str = "*";

/// Some of something, or all of it.
pub(super) enum Choice<T> {
    All,
    Only(Vec<T>),
}

/// Writes words with a space between.
pub(super) fn join<T: Display>(words: impl IntoIterator<Item = T>) -> String {
    let words: Vec<_> = words.into_iter().map(|word| word.to_string()).collect();
    words.join(" ")
}

/// Reads words with exactly one space between.
pub(super) fn split<T, E: Display>(text: &str, word: impl Fn(&str) -> Result<T, E>) -> Result<Vec<T>, String> {
    text.split(' ').map(|text| word(text).map_err(|error| error.to_string())).collect()
}

/// Reads words as [`split`] does, or none.
pub(super) fn split_any<T, E: Display>(text: &str, word: impl Fn(&str) -> Result<T, E>) -> Result<Vec<T>, String> {
    if text.is_empty() { Ok(Vec::new()) } else { split(text, word) }
}

/// Writes a choice; `None` is all.
pub(super) fn join_choice<T: Display>(only: Option<impl IntoIterator<Item = T>>) -> String {
    only.map_or_else(|| ALL.to_owned(), join)
}

/// Reads a choice.
pub(super) fn split_choice<T, E: Display>(text: &str, word: impl Fn(&str) -> Result<T, E>) -> Result<Choice<T>, String> {
    if text == ALL { Ok(Choice::All) } else { split(text, word).map(Choice::Only) }
}

/// Writes free texts by key.
pub(super) fn write_map<'a>(entries: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let entries = entries.map(|(key, value)| (key.to_owned(), value.into()));
    serde_json::Value::Object(entries.collect()).to_string()
}

/// A piece of what [`write_map`] writes that stands there exactly if the map has that key, and that value if one is given: a quote within
/// a text follows a backslash, and only a key is followed by a colon.
pub(crate) fn map_entry(key: &str, value: Option<&str>) -> String {
    let key = serde_json::Value::from(key);
    value.map_or_else(|| format!("{key}:"), |value| format!("{key}:{}", serde_json::Value::from(value)))
}

/// Reads free texts by key.
pub(super) fn read_map(text: &str) -> Result<BTreeMap<String, String>, String> {
    serde_json::from_str(text).map_err(|error| format!("must be a JSON object of texts: {error}"))
}

/// Writes free texts.
pub(super) fn write_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().collect::<serde_json::Value>().to_string()
}

/// Reads free texts.
pub(super) fn read_texts(text: &str) -> Result<Vec<String>, String> {
    serde_json::from_str(text).map_err(|error| format!("must be a JSON array of texts: {error}"))
}
