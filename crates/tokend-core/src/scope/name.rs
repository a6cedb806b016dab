use std::{borrow::Borrow, fmt, str::FromStr};

/// The name of a scope, such as `repository:write`: lower-case words of letters, digits, `_`, `.` and `-`, separated by
/// colons, at most 64 characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeName(String);

/// The text is not a scope's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be lower-case words with colons between them, such as repository:write, 64 characters at most")]
pub struct MalformedScopeName;

impl ScopeName {
    /// The most characters.
    pub const MAX_LEN: usize = 64;

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ScopeName {
    type Err = MalformedScopeName;

    fn from_str(text: &str) -> Result<Self, MalformedScopeName> {
        let word = |word: &str| {
            word.starts_with(|first: char| first.is_ascii_lowercase())
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte))
        };
        if text.len() > Self::MAX_LEN || !text.split(':').all(word) {
            return Err(MalformedScopeName);
        }
        Ok(Self(text.to_owned()))
    }
}

impl Borrow<str> for ScopeName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ScopeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ScopeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_colons_between() {
        for good in ["a", "repository:write", "a.b-c_d:e1:f", &"a".repeat(64)] {
            assert_eq!(
                good.parse::<ScopeName>().map(|name| name.to_string()).as_deref(),
                Ok(good)
            );
        }
        for bad in [
            "",
            ":",
            "a:",
            ":a",
            "a::b",
            "A",
            "1a",
            "a:1",
            "a b",
            "a\n",
            "*",
            "\u{e4}",
            &"a".repeat(65),
        ] {
            assert_eq!(bad.parse::<ScopeName>(), Err(MalformedScopeName), "{bad:?}");
        }
    }
}
