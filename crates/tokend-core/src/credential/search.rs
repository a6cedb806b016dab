//! Finds credentials inside other text, such as pasted text and leak reports.
//!
//! There are two searches, of different strictness:
//!
//! - [`credentials_in`] returns the well-formed credentials in a text, for leak reports. The checksum decides, so
//!   nothing has to separate a credential from the text around it.
//! - [`without_secrets`] returns a text that may be stored, logged or sent. It also detects a credential that was cut
//!   short or mistyped, as long as enough of its secret part is left to matter.
//!
//! Both ignore invisible characters, line breaks and tabs, since a terminal, a mail program or an editor may have
//! inserted them into a credential. Spaces do separate.
//!
//! How each free text from a client is handled:
//!
//! - `display_name`, `description`, labels, ids that people choose, `request_id`, `certificate_sans`: rejected with
//!   `INVALID_ARGUMENT`. Nothing is lost, and the client can send another text.
//! - Names, resources, scopes, networks, addresses: rejected. Their grammar has no room for a credential.
//! - `filter`: rejected. No stored text that it could match contains a secret.
//! - The metadata `x-tokend-actor`: rejected. A program sets it, the same in each call, so that the mistake is noticed
//!   immediately.
//! - `reason` of a revocation: cut. The token must be revoked, whatever somebody pastes during an incident.
//! - `url` and `source` of a leak: cut. The address where a token was found often contains it.
//! - `page_token`, `etag`: only compared. They are neither stored nor repeated.
//! - Whatever an error quotes: cut, by [`quoted`](crate::text::quoted). Clients may log errors.
//! - Reason and detail of an audit event: cut. A second barrier, since the audit log can't be edited afterwards.
//!
//! A text that is cut keeps the public part of the credential, by which its token can be found, and everything around
//! it.

use std::{borrow::Cow, ops::Range};

use zeroize::Zeroizing;

use super::{
    Kind, Prefix, Secret, Unverified,
    format::{HEAD_LEN, TAIL_LEN},
};
use crate::text::characters::is_unseen;

/// The shortest secret part that is removed: 8 characters hold 47 of the 192 bits. With fewer, the secret stays
/// unknown.
const MIN_SECRET_LEN: usize = 8;
/// From this length on, a secret part without a digit is removed too: no word is so long, and few secrets lack digits.
const MIN_WORDLESS_LEN: usize = 16;
/// Stands for any character outside ASCII.
const NOT_ASCII: u8 = 0xff;

/// The text contains a credential, or a large part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must not contain a token or caller key, or a large part of one; use its resource name or its first characters \
     instead"
)]
pub struct ContainsSecret;

/// Checks that a text contains no secret.
///
/// # Errors
/// [`ContainsSecret`].
pub fn refuse_secrets(text: &str) -> Result<(), ContainsSecret> {
    match Seen::of(text).secret_part(0) {
        None => Ok(()),
        Some(_) => Err(ContainsSecret),
    }
}

/// Returns the text with `...` in place of each secret part.
#[must_use]
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    let seen = Seen::of(text);
    let (mut shown, mut copied, mut next) = (String::new(), 0, 0);
    while let Some(part) = seen.secret_part(next) {
        shown.push_str(&text[copied..seen.offset(part.start)]);
        shown.push_str("...");
        (copied, next) = (seen.end(part.end), part.end);
    }
    if copied == 0 {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(shown + &text[copied..])
    }
}

/// Returns the length of the text before the first secret part, or of the whole text if there is none.
pub(crate) fn public_len(text: &str) -> usize {
    let seen = Seen::of(text);
    seen.secret_part(0).map_or(text.len(), |part| seen.offset(part.start))
}

/// Returns every well-formed credential in a text, in order and with repetitions. Whether this installation minted
/// them, only the key ring can decide.
#[must_use]
pub fn credentials_in(text: &str) -> Vec<Secret> {
    let seen = Seen::of(text);
    let (mut found, mut next) = (Vec::new(), 0);
    while let Some((head, tail)) = seen.next_credential(next) {
        next = tail;
        // Other characters may precede the prefix directly. The checksum covers the prefix, so at most one start is
        // right.
        let starts = (Prefix::MIN_LEN..=Prefix::MAX_LEN).filter_map(|prefix_len| head.checked_sub(prefix_len + 2));
        let spelled = starts.filter_map(|start| seen.spelled(start..tail + TAIL_LEN));
        if let Some(credential) = { spelled }.find(|text| Unverified::parse(text.expose()).is_ok()) {
            found.push(credential);
            next = tail + TAIL_LEN;
        }
    }
    found
}

/// The visible characters of a text, with their offsets.
struct Seen<'a> {
    text: &'a str,
    offsets: Vec<usize>,
    /// Wiped, since it may contain secrets.
    bytes: Zeroizing<Vec<u8>>,
}

impl<'a> Seen<'a> {
    fn of(text: &'a str) -> Self {
        // The capacity is set up front: a growing vector would leave copies of secrets behind.
        let (mut offsets, mut bytes) = (
            Vec::with_capacity(text.len()),
            Zeroizing::new(Vec::with_capacity(text.len())),
        );
        for (at, char) in text
            .char_indices()
            .filter(|(_, char)| *char == ' ' || !is_unseen(*char))
        {
            offsets.push(at);
            bytes.push(u8::try_from(char).ok().filter(u8::is_ascii).unwrap_or(NOT_ASCII));
        }
        Self { text, offsets, bytes }
    }

    /// Returns the offset of the character at this index.
    fn offset(&self, index: usize) -> usize {
        self.offsets.get(index).copied().unwrap_or(self.text.len())
    }

    /// Returns the end of the character before this index.
    fn end(&self, index: usize) -> usize {
        self.offset(index - 1) + 1
    }

    /// Returns the first secret part that starts after this index.
    fn secret_part(&self, from: usize) -> Option<Range<usize>> {
        self.separators(from).find_map(|separator| {
            let head = separator.checked_sub(HEAD_LEN)?;
            let start = separator + 1;
            let length = self.bytes[start..]
                .iter()
                .take_while(|byte| byte.is_ascii_alphanumeric())
                .count();
            let has_digit = self.bytes[head..start + length].iter().any(u8::is_ascii_digit);
            let is_enough = length >= MIN_WORDLESS_LEN || (length >= MIN_SECRET_LEN && has_digit);
            let is_secret = self.is_public(head..separator)
                && if self.follows_prefix(head) {
                    is_enough
                } else {
                    length == TAIL_LEN && !self.is_glued(head)
                };
            is_secret.then_some(start..start + length)
        })
    }

    /// Returns where kid and id, and where the tail of the next text start that is long enough for a credential.
    fn next_credential(&self, from: usize) -> Option<(usize, usize)> {
        self.separators(from).find_map(|separator| {
            let head = separator.checked_sub(HEAD_LEN)?;
            let is_whole = self.bytes.len() >= separator + 1 + TAIL_LEN;
            (is_whole && self.is_public(head..separator) && self.follows_prefix(head)).then_some((head, separator + 1))
        })
    }

    fn separators(&self, from: usize) -> impl Iterator<Item = usize> {
        let separators = self
            .bytes
            .iter()
            .enumerate()
            .skip(from)
            .filter(|(_, byte)| **byte == b'_');
        separators.map(|(index, _)| index)
    }

    fn is_public(&self, head: Range<usize>) -> bool {
        self.bytes[head].iter().all(u8::is_ascii_alphanumeric)
    }

    /// Returns whether a prefix, a kind letter and `_` precede kid and id, in any case.
    fn follows_prefix(&self, head: usize) -> bool {
        let Some((b'_', before)) = self.bytes[..head].split_last() else {
            return false;
        };
        let Some((letter, before)) = before.split_last() else {
            return false;
        };
        let prefix = before.iter().rev().take(Prefix::MIN_LEN);
        Kind::from_letter(letter.to_ascii_lowercase()).is_some() && before.len() >= Prefix::MIN_LEN && { prefix }
            .all(u8::is_ascii_alphanumeric)
    }

    fn is_glued(&self, head: usize) -> bool {
        head.checked_sub(1)
            .is_some_and(|before| self.bytes[before].is_ascii_alphanumeric())
    }

    /// Returns these characters if they are all ASCII, in a string that is wiped.
    fn spelled(&self, characters: Range<usize>) -> Option<Secret> {
        let bytes = &self.bytes[characters];
        let mut text = String::with_capacity(bytes.len());
        text.extend(bytes.iter().map(|&byte| char::from(byte)));
        text.is_ascii().then(|| Secret::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A credential with the right checksum.
    fn credential(prefix: &str) -> String {
        let text = format!("{prefix}w_0{}_{}", "0A1b2C3d4E506G7h8", "0A1b2C3d4E5".repeat(4));
        let mut digits = [0; 6];
        crate::base62::encode(crc32fast::hash(text.as_bytes()).into(), &mut digits);
        text + str::from_utf8(&digits).expect("ASCII")
    }

    fn found(text: &str) -> Vec<String> {
        credentials_in(text)
            .iter()
            .map(|secret| secret.expose().to_owned())
            .collect()
    }

    #[test]
    fn a_credential_is_found_whatever_stands_around_it() {
        let token = credential("tkd");
        for around in [
            "{}",
            "\"{}\"",
            "{\"token\":\"{}\"}",
            "https://x:{}@example.com/a?b#c",
            "/?token={}&page=2",
            "at=12:00 user={} ok",
            "a{}b",
            "tkdw_{}",
            "_{}_",
            "\u{feff}{}\u{200b}",
            "ä{}ä",
            "\u{a0}{}\u{3000}",
            "\\n{}\\n",
            "{}{}",
        ] {
            let text = around.replace("{}", &token);
            assert_eq!(
                found(&text),
                vec![token.clone(); around.matches("{}").count()],
                "{text}"
            );
        }
        let two = format!("{token},{}\n{token}", credential("mytoken12345"));
        assert_eq!(found(&two), [token.clone(), credential("mytoken12345"), token]);
    }

    #[test]
    fn a_credential_with_invisible_characters_in_it_is_found() {
        let token = credential("tkd");
        for between in ["\0", "\u{200b}", "\n", "\r\n\t", "\u{ad}", "\u{2060}"] {
            let split: String = token
                .chars()
                .flat_map(|char| [char.to_string(), between.to_owned()])
                .collect();
            assert_eq!(found(&split), std::slice::from_ref(&token), "{between:?}");
            assert_eq!(
                without_secrets(&split).replace(between, ""),
                "tkdw_00A1b2C3d4E506G7h8_...",
                "{between:?}"
            );
        }
        assert!(found(&token.replacen('C', " C", 1)).is_empty(), "a blank separates");
    }

    #[test]
    fn what_is_misspelled_is_not_found() {
        let token = credential("tkd");
        for text in [
            &token[1..],
            &token[..73],
            &token.replace("0A", "0a"),
            "",
            "_",
            "tkdw_",
            &"_".repeat(200),
        ] {
            assert!(found(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn enough_of_a_secret_is_cut() {
        let token = credential("tkd");
        let head = &token[..24];
        let misspelled = format!("{head}{}", token[24..].to_lowercase());
        for text in [
            token.as_str(),
            &token[..40],
            &token[..32],
            &format!("{token}more"),
            &misspelled,
        ] {
            assert_eq!(without_secrets(text), format!("{head}..."), "{text}");
            assert_eq!(
                (public_len(text), refuse_secrets(text)),
                (24, Err(ContainsSecret)),
                "{text}"
            );
        }
        assert_eq!(
            without_secrets(&token.to_uppercase()),
            format!("{}...", head.to_uppercase())
        );
        assert_eq!(
            without_secrets(&token[5..]),
            format!("{}...", &head[5..]),
            "without its prefix"
        );
        let text = format!("see {token}, or /?token={token}&page=2");
        assert_eq!(
            without_secrets(&text),
            format!("see {head}..., or /?token={head}...&page=2")
        );
        assert_eq!(
            without_secrets(&format!("ä\u{200b}{token}ü")),
            format!("ä\u{200b}{head}...ü")
        );
    }

    #[test]
    fn what_is_public_stays() {
        let (token, hash) = (credential("tkd"), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        for text in [
            "",
            "tkdw_0A1b...",
            &token[..24],
            &token[..31],
            "workspaces/acme/tokens/0A1b2C3d4E506G7h8",
            "public_telecommunications_operators",
            &format!("abcdefghijklmnop12_{hash}"),
            &format!("backup_of_the_database_2027_{hash}"),
            "a_b_c",
        ] {
            assert_eq!((&*without_secrets(text), refuse_secrets(text)), (text, Ok(())));
            assert_eq!(public_len(text), text.len());
        }
    }
}
