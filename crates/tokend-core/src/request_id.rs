//! Request ids: they make a call safe to retry (AIP-155).

use std::{fmt, str::FromStr};

use crate::credential::{ContainsSecret, refuse_secrets};

/// A client's id for a request, the same for every retry: 1 to 36 printable ASCII characters, for instance a UUID.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(String);

/// Why a text is not a request id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedRequestId {
    /// It is too long, or has other characters.
    #[error("must be at most {max} printable ASCII characters", max = RequestId::MAX_LEN)]
    Shape,
    /// It contains a large part of a credential.
    #[error(transparent)]
    Secret(#[from] ContainsSecret),
}

/// A hash of a request's encoding without its id. Equal digests mean that two requests ask for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyDigest(blake3::Hash);

/// A request that the client may send again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retryable {
    /// The client's id for the request.
    pub id: RequestId,
    /// The digest of what the request asks for.
    pub body: BodyDigest,
}

impl RequestId {
    /// The most characters.
    pub const MAX_LEN: usize = 36;

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RequestId {
    type Err = MalformedRequestId;

    fn from_str(text: &str) -> Result<Self, MalformedRequestId> {
        let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if !printable || !(1..=Self::MAX_LEN).contains(&text.len()) {
            return Err(MalformedRequestId::Shape);
        }
        refuse_secrets(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl BodyDigest {
    /// The size in the database, in bytes.
    pub const BYTES: usize = blake3::OUT_LEN;

    /// Computes the digest of a request's encoding without its id.
    #[must_use]
    pub fn of(encoded: &[u8]) -> Self {
        Self(blake3::hash(encoded))
    }

    /// Wraps a stored digest.
    #[must_use]
    pub const fn from_stored(bytes: [u8; Self::BYTES]) -> Self {
        Self(blake3::Hash::from_bytes(bytes))
    }

    /// Returns the bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_36_printable_characters() {
        assert!("~".repeat(36).parse::<RequestId>().is_ok());
        for bad in [
            String::new(),
            "a".repeat(37),
            "ä".to_owned(),
            "a\n".to_owned(),
            "\u{7f}".to_owned(),
        ] {
            assert_eq!(bad.parse::<RequestId>(), Err(MalformedRequestId::Shape), "{bad:?}");
        }
        let secret = format!("tkdw_{}_{}", "0".repeat(18), "s".repeat(12));
        assert_eq!(
            secret.parse::<RequestId>(),
            Err(MalformedRequestId::Secret(ContainsSecret))
        );
    }
}
