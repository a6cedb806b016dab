//! Quoting what a client sent inside an error: escaped and cut, so that an error stays one short printable line.

/// Most characters quoted.
const MAX_CHARS: usize = 64;

/// `text` in double quotes, control characters escaped, cut after 64 characters.
#[must_use]
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        None => format!("{text:?}"),
        Some((cut, _)) => format!("{:?}... ({} bytes)", &text[..cut], text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_and_cut() {
        assert_eq!(quoted("a\nb"), r#""a\nb""#);
        assert_eq!(quoted(&"ä".repeat(1000)), format!("\"{}\"... (2000 bytes)", "ä".repeat(64)));
    }
}
