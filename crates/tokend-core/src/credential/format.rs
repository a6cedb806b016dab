//! The format of a credential. Each credential has exactly one spelling:
//!
//! ```text
//! tkd w _ 0 3vFq...17 _ hW2...33 k9d...11 Qm1..6
//! |   |   | |           |        |        +- CRC32 of all before it
//! |   |   | |           |        +- tag: 64 bits of keyed BLAKE3 over all before it
//! |   |   | |           +- secret: 192 bits
//! |   |   | +- id: 96 bits, public
//! |   |   +- kid: the key in the ring
//! |   +- kind: w(orkspace token) or c(aller key)
//! +- the installation's prefix
//! ```

use std::fmt;

use zeroize::Zeroizing;

use crate::{
    base62::{self, DIGITS_32, DIGITS_64},
    credential::{CredentialId, Kid, Kind, Prefix, Secret, SecretBytes},
};

/// The size of the tag, in bytes.
pub(crate) const TAG_BYTES: usize = 8;

/// The characters of kid and id.
pub(super) const HEAD_LEN: usize = 1 + CredentialId::DIGITS;
const SECRET_LEN: usize = 3 * DIGITS_64;
/// The characters of secret, tag and checksum.
pub(super) const TAIL_LEN: usize = SECRET_LEN + DIGITS_64 + DIGITS_32;
/// The kind letter, `_`, kid and id, `_`, and the tail.
const LEN_WITHOUT_PREFIX: usize = 2 + HEAD_LEN + 1 + TAIL_LEN;

/// A text in the format of a credential with the right checksum. Whether this installation minted it, only the key ring
/// can decide.
pub struct Unverified<'a> {
    prefix: Prefix,
    pub(crate) signed: &'a [u8],
    pub(crate) tag: [u8; TAG_BYTES],
    kind: Kind,
    kid: Kid,
    id: CredentialId,
    pub(crate) secret: SecretBytes,
}

impl fmt::Debug for Unverified<'_> {
    /// Omits `signed` and the tag, since they contain the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            prefix,
            signed: _,
            tag: _,
            kind,
            kid,
            id,
            secret,
        } = self;
        let mut shown = f.debug_struct("Unverified");
        shown
            .field("prefix", prefix)
            .field("kind", kind)
            .field("kid", kid)
            .field("id", id)
            .field("secret", secret);
        shown.finish_non_exhaustive()
    }
}

/// Why a text is not a credential. For people who ask what a string is; Verify never says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The length, the prefix, the separators, the kind letter or a digit is wrong.
    #[error("not the shape of a tokend credential")]
    Shape,
    /// The shape is right but the CRC32 is not, most likely because of a typing or copying error.
    #[error("the checksum is wrong: a character was lost or changed")]
    Checksum,
}

impl<'a> Unverified<'a> {
    /// Parses a presented text. Reads at most the length of the longest credential and allocates nothing.
    ///
    /// # Errors
    /// [`Malformed`] for anything but the one canonical encoding.
    pub fn parse(presented: &'a str) -> Result<Self, Malformed> {
        let bytes = presented.as_bytes();
        let prefix_len = bytes.len().checked_sub(LEN_WITHOUT_PREFIX).ok_or(Malformed::Shape)?;
        if !(Prefix::MIN_LEN..=Prefix::MAX_LEN).contains(&prefix_len) {
            return Err(Malformed::Shape);
        }
        let prefix = presented
            .get(..prefix_len)
            .and_then(|prefix| prefix.parse().ok())
            .ok_or(Malformed::Shape)?;
        let kind = Kind::from_letter(bytes[prefix_len]).ok_or(Malformed::Shape)?;
        let (head_start, tail_start) = (prefix_len + 2, prefix_len + 2 + HEAD_LEN + 1);
        if bytes[head_start - 1] != b'_' || bytes[tail_start - 1] != b'_' {
            return Err(Malformed::Shape);
        }
        let (secret_end, tag_end) = (tail_start + SECRET_LEN, bytes.len() - DIGITS_32);

        let crc = base62::decode_32(&bytes[tag_end..]).ok_or(Malformed::Shape)?;
        let tag = base62::decode_64(&bytes[secret_end..tag_end]).ok_or(Malformed::Shape)?;
        let mut secret = SecretBytes([0; SecretBytes::BYTES]);
        let limbs = bytes[tail_start..secret_end].chunks_exact(DIGITS_64);
        for (limb, digits) in secret.0.chunks_exact_mut(8).zip(limbs) {
            limb.copy_from_slice(&base62::decode_64(digits).ok_or(Malformed::Shape)?.to_be_bytes());
        }
        let kid = Kid::from_digit(bytes[head_start]).ok_or(Malformed::Shape)?;
        let id = CredentialId::from_digits(&bytes[head_start + 1..tail_start - 1]).ok_or(Malformed::Shape)?;
        // The checksum is not for security, since anyone can compute it. It lets scanners and people detect typing
        // errors offline.
        if crc32fast::hash(&bytes[..tag_end]) != crc {
            return Err(Malformed::Checksum);
        }
        Ok(Self {
            prefix,
            signed: &bytes[..secret_end],
            tag: tag.to_be_bytes(),
            kind,
            kid,
            id,
            secret,
        })
    }

    /// Returns the prefix of the installation that the text claims to come from.
    #[must_use]
    pub const fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// Returns the kind that the text claims.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the key that the text claims to be minted with.
    #[must_use]
    pub const fn kid(&self) -> Kid {
        self.kid
    }

    /// Returns the public id that the text claims.
    #[must_use]
    pub const fn id(&self) -> CredentialId {
        self.id
    }
}

/// Returns the first characters of a credential, by which people recognize it. None of them is secret.
#[must_use]
pub fn hint(prefix: &Prefix, kind: Kind, kid: Kid, id: CredentialId) -> String {
    format!("{prefix}{}_{kid}{:.3}...", kind.letter(), id.to_string())
}

/// The parts of a credential before the tag and the checksum.
pub(crate) struct SignedParts<'a> {
    pub(crate) prefix: &'a Prefix,
    pub(crate) kind: Kind,
    pub(crate) kid: Kid,
    pub(crate) id: CredentialId,
    pub(crate) secret: &'a SecretBytes,
}

/// Encodes a credential. `tag` computes the tag over everything before it.
pub(crate) fn spell(parts: &SignedParts<'_>, tag: impl FnOnce(&[u8]) -> [u8; TAG_BYTES]) -> Secret {
    // The capacity is set up front: a growing string would leave copies of the secret behind.
    let mut text = String::with_capacity(Prefix::MAX_LEN + LEN_WITHOUT_PREFIX);
    let mut digits = Zeroizing::new([0; DIGITS_64]);
    text.push_str(parts.prefix.as_str());
    text.push(parts.kind.letter());
    text.push('_');
    text.push(char::from(parts.kid.digit()));
    push_ascii(&mut text, &parts.id.digits());
    text.push('_');
    for limb in parts.secret.as_bytes().as_chunks::<8>().0 {
        base62::encode(u64::from_be_bytes(*limb), &mut *digits);
        push_ascii(&mut text, &*digits);
    }
    base62::encode(u64::from_be_bytes(tag(text.as_bytes())), &mut *digits);
    push_ascii(&mut text, &*digits);
    base62::encode(crc32fast::hash(text.as_bytes()).into(), &mut digits[..DIGITS_32]);
    push_ascii(&mut text, &digits[..DIGITS_32]);
    Secret::new(text)
}

fn push_ascii(text: &mut String, digits: &[u8]) {
    text.extend(digits.iter().map(|&digit| char::from(digit)));
}
