//! Labels: key-value pairs by which people sort their tokens.

use std::collections::BTreeMap;

use crate::{
    credential::{ContainsSecret, refuse_secrets},
    text::{characters::breaks_or_reorders_a_line, quoted},
};

/// Up to 16 labels, ordered by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(BTreeMap<String, String>);

/// Why labels are rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// There are too many labels.
    #[error("must have at most {max} entries; it has {0}", max = Labels::MAX)]
    TooMany(usize),
    /// A key does not match `[a-z][a-z0-9_-]{0,62}`.
    #[error(
        "must have keys of 1 to {max} lower-case letters, digits, _ and -, starting with a letter; {0} is invalid",
        max = Labels::MAX_KEY_LEN
    )]
    Key(String),
    /// A key or a value contains a secret.
    #[error(transparent)]
    Secret(#[from] ContainsSecret),
    /// A value is too long, or has a control character or another one that breaks or reorders a line.
    #[error(
        "must have values of at most {max} characters, without control characters or others that break or reorder \
         a line; the value of {key} is invalid",
        max = Labels::MAX_VALUE_CHARS
    )]
    Value {
        /// The label's key.
        key: String,
    },
}

impl Labels {
    /// The most labels.
    pub const MAX: usize = 16;
    /// The most characters in a key.
    pub const MAX_KEY_LEN: usize = 63;
    /// The most characters in a value.
    pub const MAX_VALUE_CHARS: usize = 128;

    /// Validates labels from a client: the limits, and that no secret is in them.
    ///
    /// # Errors
    /// [`LabelError`] for the first invalid label.
    pub fn received(labels: BTreeMap<String, String>) -> Result<Self, LabelError> {
        let labels = Self::new(labels)?;
        labels
            .iter()
            .flat_map(|(key, value)| [key, value])
            .try_for_each(refuse_secrets)?;
        Ok(labels)
    }

    /// Validates the limits of labels, such as those read from storage.
    ///
    /// # Errors
    /// [`LabelError`] for the first invalid label.
    pub fn new(labels: BTreeMap<String, String>) -> Result<Self, LabelError> {
        if labels.len() > Self::MAX {
            return Err(LabelError::TooMany(labels.len()));
        }
        for (key, value) in &labels {
            if !is_key(key) {
                return Err(LabelError::Key(quoted(key)));
            }
            let is_refused = |char: char| char.is_control() || breaks_or_reorders_a_line(char);
            if value.chars().count() > Self::MAX_VALUE_CHARS || value.chars().any(is_refused) {
                return Err(LabelError::Value { key: key.clone() });
            }
        }
        Ok(Self(labels))
    }

    /// Returns the value of the label with that key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Returns the labels, ordered by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

fn is_key(text: &str) -> bool {
    text.len() <= Labels::MAX_KEY_LEN
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, value: &str) -> Result<Labels, LabelError> {
        Labels::new(BTreeMap::from([(key.to_owned(), value.to_owned())]))
    }

    #[test]
    fn limits_are_inclusive() {
        let many = |count: usize| Labels::new((0..count).map(|n| (format!("k{n}"), String::new())).collect());
        assert!(many(16).is_ok());
        assert_eq!(many(17), Err(LabelError::TooMany(17)));
        assert!(one(&"a".repeat(63), &"ä".repeat(128)).is_ok());
        assert!(matches!(one(&"a".repeat(64), ""), Err(LabelError::Key(_))));
        assert!(matches!(one("a", &"a".repeat(129)), Err(LabelError::Value { .. })));
        for bad in ["", "A", "1a", "_a", "a.b", "ä"] {
            assert!(matches!(one(bad, ""), Err(LabelError::Key(_))), "{bad}");
        }
        let secret = format!("tkdw_{}_{}", "0".repeat(18), "s".repeat(50));
        for (key, value) in [("a", &*secret), (&secret[..50], "")] {
            let labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            assert_eq!(
                Labels::received(labels.clone()),
                Err(LabelError::Secret(ContainsSecret))
            );
            assert!(Labels::new(labels).is_ok(), "what was stored can be read");
        }
        assert!(matches!(one("a", "b\n"), Err(LabelError::Value { .. })));
        assert!(matches!(one("a", "b\u{202e}c"), Err(LabelError::Value { .. })));
    }
}
