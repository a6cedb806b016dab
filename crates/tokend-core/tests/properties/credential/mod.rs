//! Credentials: their format, and that only what this ring minted is ever accepted.

mod format;
mod recognition;

use tokend_core::{
    credential::{Authentic, CredentialId, Kind, SecretDigest},
    keyring::KeyRing,
};

use crate::samples::{OTHER_ROOT, ROOT, caller_key, ring_of, token};

const DIGITS: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Other characters: some of a credential, and some look-alikes, invisible ones, and ones of several bytes.
const OTHERS: &str = "_-. \t\n\0/+=~\u{7f}\u{e4}\u{ff10}\u{430}\u{200b}\u{301}\u{1f511}";

/// One ring with a second key, and one with the longest prefix.
fn rings() -> [KeyRing; 2] {
    [
        ring_of("tkd", &[("0", ROOT), ("1", OTHER_ROOT)]),
        ring_of("zz9initech01", &[("z", OTHER_ROOT)]),
    ]
}

fn spelled_digits(mut value: u64, width: usize) -> String {
    let mut digits = vec![0; width];
    for place in digits.iter_mut().rev() {
        *place = DIGITS.as_bytes()[(value % 62) as usize];
        value /= 62;
    }
    String::from_utf8(digits).expect("ASCII")
}

/// Replaces the last six digits by the right checksum.
fn with_right_checksum(text: &str) -> String {
    let body = &text[..text.len() - 6];
    format!("{body}{}", spelled_digits(crc32fast::hash(body.as_bytes()).into(), 6))
}

fn replaced(text: &str, position: usize, with: char) -> String {
    format!("{}{with}{}", &text[..position], &text[position + 1..])
}

fn authentic(ring: &KeyRing, text: &str) -> Authentic {
    ring.authenticate(text).expect("minted by this ring")
}

/// Returns whether a row of the right kind with this id and digest is recognized.
fn is_recognized(ring: &KeyRing, presented: &Authentic, id: CredentialId, digest: SecretDigest) -> bool {
    match presented.kind() {
        Kind::WorkspaceToken => {
            let mut row = token();
            (row.name.id, row.digest) = (id, digest);
            ring.recognize(presented, row).is_ok()
        }
        Kind::CallerKey => {
            let mut row = caller_key();
            (row.name.id, row.digest) = (id, digest);
            ring.recognize(presented, row).is_ok()
        }
    }
}
