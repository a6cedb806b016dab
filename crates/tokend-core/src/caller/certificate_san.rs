//! Subject alternative names in client certificates by which callers are identified (RFC 5280 section 4.2.1.6).
//!
//! Names are compared as a whole, never by a pattern. Each kind has one spelling, so that a comparison of text is
//! enough: a DNS name in lower case, a URI exactly as in the certificate. No text is both, since a URI has a colon and
//! a DNS name has none.

use std::{fmt, str::FromStr};

/// A DNS name or a URI of a client certificate.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateSan(String);

/// A text that is neither a DNS name nor a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be the exact URI or DNS name in the certificate, without wildcards, of 1 to {max} characters",
    max = CertificateSan::MAX_LEN
)]
pub struct MalformedCertificateSan;

impl CertificateSan {
    /// The longest name in bytes. A DNS name has at most 253.
    pub const MAX_LEN: usize = 255;

    /// Parses a `dNSName`: labels of 1 to 63 letters, digits, hyphens and underscores, separated by dots, at most 253
    /// bytes.
    ///
    /// # Errors
    /// [`MalformedCertificateSan`], also for a wildcard.
    pub fn from_dns_name(name: &str) -> Result<Self, MalformedCertificateSan> {
        const MAX_NAME: usize = 253;
        const MAX_LABEL: usize = 63;
        let label = |label: &str| {
            (1..=MAX_LABEL).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() > MAX_NAME || !name.split('.').all(label) {
            return Err(MalformedCertificateSan);
        }
        Ok(Self(name.to_ascii_lowercase()))
    }

    /// Parses a `uniformResourceIdentifier`: a scheme, a colon, and characters that RFC 3986 allows, at most
    /// [`MAX_LEN`](Self::MAX_LEN) bytes.
    ///
    /// # Errors
    /// [`MalformedCertificateSan`].
    pub fn from_uri(uri: &str) -> Result<Self, MalformedCertificateSan> {
        let (scheme, rest) = uri.split_once(':').ok_or(MalformedCertificateSan)?;
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        if uri.len() > Self::MAX_LEN || !is_scheme || rest.is_empty() || !rest.bytes().all(is_of_a_uri) {
            return Err(MalformedCertificateSan);
        }
        Ok(Self(uri.to_owned()))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CertificateSan {
    type Err = MalformedCertificateSan;

    fn from_str(text: &str) -> Result<Self, MalformedCertificateSan> {
        if text.contains(':') {
            Self::from_uri(text)
        } else {
            Self::from_dns_name(text)
        }
    }
}

/// Returns whether RFC 3986 section 2 allows the character in a URI.
const fn is_of_a_uri(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%')
        || matches!(byte, b':' | b'/' | b'?' | b'#' | b'[' | b']' | b'@')
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        )
}

impl fmt::Display for CertificateSan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CertificateSan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        text.parse::<CertificateSan>().ok().map(|san| san.to_string())
    }

    #[test]
    fn dns_names_have_one_spelling() {
        assert_eq!(parsed("Gateway.Example.COM").as_deref(), Some("gateway.example.com"));
        let longest = format!("{}.{}", ["a"; 95].join("."), "b".repeat(63));
        assert_eq!(longest.len(), 253);
        for good in [
            "a",
            "_x.a-b.example",
            "1.2.3.4",
            "xn--bcher-kva.example",
            &"a".repeat(63),
            &longest,
        ] {
            assert_eq!(parsed(good).as_deref(), Some(good));
        }
        let (long_label, long_name) = ("a".repeat(64), format!("{longest}c"));
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a",
            "a-",
            "*",
            "*.example",
            "a b",
            "\u{e4}",
            "a/b",
            "a\0",
            &long_label,
            &long_name,
        ] {
            assert_eq!(parsed(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn uris_stay_as_they_are() {
        let longest = format!("urn:{}", "a".repeat(251));
        for good in [
            "spiffe://Example.org/ns/CI",
            "urn:uuid:1",
            "https://[::1]/?a=b#c%20",
            &longest,
        ] {
            assert_eq!(parsed(good).as_deref(), Some(good));
        }
        let long = format!("{longest}a");
        for bad in [
            ":", "a:", ":a", "1a:b", "a b:c", "a:b c", "a:\u{e4}", "a:\"", "a:\n", &long,
        ] {
            assert_eq!(parsed(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_name_of_one_kind_is_none_of_the_other() {
        assert!(CertificateSan::from_uri("gateway.example").is_err());
        assert!(CertificateSan::from_dns_name("spiffe://example.org/a").is_err());
    }
}
