//! Quoting a client's input in an error message: escaped and cut, so that the message stays one short printable line.

use crate::credential::public_len;

/// The most characters that are quoted.
const MAX_CHARS: usize = 64;

/// Returns `text` in double quotes, with control characters escaped and cut after 64 characters. A credential is cut
/// where its secret part begins, since clients may log errors.
#[must_use]
pub fn quoted(text: &str) -> String {
    let shown = text.char_indices().nth(MAX_CHARS).map_or(text, |(cut, _)| &text[..cut]);
    let shown = &shown[..public_len(shown)];
    if shown.len() == text.len() {
        format!("{text:?}")
    } else {
        format!("{shown:?}... ({} bytes)", text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_and_cut() {
        assert_eq!(quoted("a\nb"), r#""a\nb""#);
        assert_eq!(
            quoted(&"ä".repeat(1000)),
            format!("\"{}\"... (2000 bytes)", "ä".repeat(64))
        );
    }

    #[test]
    fn no_secret_is_shown() {
        let token = format!("tkdw_{}_{}", "0".repeat(18), "s".repeat(50));
        assert_eq!(quoted(&token), format!("\"tkdw_{}_\"... (74 bytes)", "0".repeat(18)));
        assert_eq!(
            quoted(&format!("Bearer {token}")),
            format!("\"Bearer tkdw_{}_\"... (81 bytes)", "0".repeat(18))
        );
        let (name, ids) = ("a_b_c", format!("{}_b", "0".repeat(17)));
        assert_eq!((quoted(name), quoted(&ids)), (format!("{name:?}"), format!("{ids:?}")));
    }
}
