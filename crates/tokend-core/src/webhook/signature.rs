use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::MessageId;
use crate::time::Timestamp;

/// The beginning of a secret in text form, by which people and scanners recognize it.
const PREFIX: &str = "whsec_";

/// The secrets that messages are signed with, shared with the receiver: one, or two while the receiver switches to a
/// new one.
///
/// No `Display`, `Clone` or serialization; `Debug` is redacted; wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SigningSecrets(Vec<SigningSecret>);

#[derive(Zeroize, ZeroizeOnDrop)]
struct SigningSecret(Zeroizing<Vec<u8>>);

/// Why a text is not a list of secrets. Quotes no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedSecrets {
    /// The text has no secret.
    #[error(
        "it has no secret; write each on a line of its own, as `whsec_` and {min} to {max} random bytes in base64",
        min = SigningSecrets::MIN_BYTES,
        max = SigningSecrets::MAX_BYTES
    )]
    None,
    /// The text has too many secrets.
    #[error(
        "it has {0} secrets, but at most {max} are allowed; keep the old and the new one",
        max = SigningSecrets::MAX
    )]
    TooMany(usize),
    /// A line is not a secret.
    #[error(
        "line {0} is not a secret: it must be `whsec_` and {min} to {max} random bytes in base64, padded with =",
        min = SigningSecrets::MIN_BYTES,
        max = SigningSecrets::MAX_BYTES
    )]
    Line(usize),
}

impl SigningSecrets {
    /// The most secrets.
    pub const MAX: usize = 2;
    /// The fewest bytes of a secret.
    pub const MIN_BYTES: usize = 24;
    /// The most bytes of a secret.
    pub const MAX_BYTES: usize = 64;

    /// Parses secrets in the specification's form, one on each line. Empty lines and surrounding white space are
    /// ignored.
    ///
    /// # Errors
    /// [`MalformedSecrets`].
    pub fn from_text(text: &str) -> Result<Self, MalformedSecrets> {
        let lines = text
            .lines()
            .zip(1..)
            .map(|(line, number)| (line.trim(), number))
            .filter(|(line, _)| !line.is_empty());
        let read = |(line, number)| SigningSecret::from_text(line).ok_or(MalformedSecrets::Line(number));
        let secrets = lines.map(read).collect::<Result<Vec<_>, _>>()?;
        match secrets.len() {
            0 => Err(MalformedSecrets::None),
            1..=Self::MAX => Ok(Self(secrets)),
            count => Err(MalformedSecrets::TooMany(count)),
        }
    }

    /// Returns the value of the header `webhook-signature` for a message that is sent at `time`: a signature with each
    /// secret.
    #[must_use]
    pub fn sign(&self, id: &MessageId, time: Timestamp, payload: &str) -> String {
        let (seconds, _) = time.unix_seconds();
        let signed = format!("{id}.{seconds}.{payload}");
        let signatures: Vec<_> = self
            .0
            .iter()
            .map(|secret| format!("v1,{}", secret.sign(signed.as_bytes())))
            .collect();
        signatures.join(" ")
    }
}

impl SigningSecret {
    fn from_text(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?);
        (SigningSecrets::MIN_BYTES..=SigningSecrets::MAX_BYTES)
            .contains(&bytes.len())
            .then_some(Self(bytes))
    }

    /// HMAC-SHA256 (RFC 2104), in base64.
    fn sign(&self, signed: &[u8]) -> String {
        // HMAC accepts keys of every length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            return String::new();
        };
        mac.update(signed);
        BASE64_STANDARD.encode(mac.finalize().into_bytes())
    }
}

impl fmt::Debug for SigningSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningSecrets({}, redacted)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's libraries, and its signature.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn sign(secrets: &str) -> String {
        let secrets = SigningSecrets::from_text(secrets).expect("well-formed");
        let time = Timestamp::from_unix_seconds(1_614_265_330, 999_999_000).expect("in range");
        secrets.sign(
            &"msg_p5jXN8AQM9LWM0D4loKWxJek".parse().expect("an id"),
            time,
            "{\"test\": 2432232314}",
        )
    }

    #[test]
    fn signatures_are_those_of_the_specification() {
        assert_eq!(sign(SECRET), SIGNATURE);
    }

    #[test]
    fn while_secrets_change_a_message_is_signed_with_both() {
        let other = format!("whsec_{}", BASE64_STANDARD.encode([7; 24]));
        let both = sign(&format!("\n  {SECRET}  \r\n\n{other}\n"));
        assert_eq!(both, format!("{SIGNATURE} {}", sign(&other)));
        assert_eq!(
            SigningSecrets::from_text(&format!("{SECRET}\n").repeat(3)).err(),
            Some(MalformedSecrets::TooMany(3))
        );
    }

    #[test]
    fn what_is_no_secret_is_refused_with_its_line() {
        let of = |length: usize| format!("whsec_{}", BASE64_STANDARD.encode(vec![1; length]));
        assert_eq!(SigningSecrets::from_text(" \n\n").err(), Some(MalformedSecrets::None));
        for good in [24, 64] {
            assert!(SigningSecrets::from_text(&of(good)).is_ok(), "{good}");
        }
        let unpadded = format!("whsec_{}", BASE64_STANDARD.encode([1; 25]).trim_end_matches('='));
        for bad in [
            of(23).as_str(),
            &of(65),
            SECRET.trim_start_matches("whsec_"),
            "whsec_",
            "whsec_!",
            "whpk_AAAA",
            &unpadded,
        ] {
            let refused = SigningSecrets::from_text(&format!("{SECRET}\n\n{bad}")).expect_err(bad);
            assert_eq!(refused, MalformedSecrets::Line(3), "{bad}");
            assert!(!refused.to_string().contains("AAAA"));
        }
    }

    #[test]
    fn debug_is_redacted() {
        assert_eq!(
            format!("{:?}", SigningSecrets::from_text(SECRET).expect("well-formed")),
            "SigningSecrets(1, redacted)"
        );
    }

    /// Fails to compile if a secret is no longer wiped on drop.
    #[test]
    fn secrets_are_wiped_on_drop() {
        const fn wiped_on_drop<T: ZeroizeOnDrop>() {}
        wiped_on_drop::<SigningSecrets>();
        wiped_on_drop::<SigningSecret>();
    }
}
