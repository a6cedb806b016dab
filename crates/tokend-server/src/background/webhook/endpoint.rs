use std::fmt;

use http::{Uri, uri::Scheme};

/// The URL to which messages are sent. `Display` leaves out its path and query, which may be the receiver's secret.
#[derive(Clone)]
pub(super) struct Endpoint(Uri);

/// The URL can't be a webhook's. The message quotes nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// It is not a URL.
    #[error(
        "it is not a URL; it must be like https://receiver.example.com/tokend, with characters outside of ASCII \
         percent-encoded"
    )]
    Malformed,
    /// Its scheme is not `https`.
    #[error("it must begin with https://, so that nobody on the way can read or hold back messages")]
    NotHttps,
    /// It has a user or a password.
    #[error("it must not contain a user or a password; the receiver recognizes messages by their signature")]
    Userinfo,
    /// It has a fragment.
    #[error("it must not have a fragment (#): fragments are not sent")]
    Fragment,
}

impl Endpoint {
    /// Parses an absolute `https` URL without userinfo and fragment (RFC 3986).
    pub(super) fn new(url: &str) -> Result<Self, BadUrl> {
        // The parser would drop the fragment silently.
        if url.contains('#') {
            return Err(BadUrl::Fragment);
        }
        let uri: Uri = url.parse().map_err(|_| BadUrl::Malformed)?;
        let authority = uri.authority().ok_or(BadUrl::Malformed)?;
        if uri.scheme() != Some(&Scheme::HTTPS) {
            return Err(BadUrl::NotHttps);
        }
        if authority.as_str().contains('@') {
            return Err(BadUrl::Userinfo);
        }
        let has_right_port =
            authority.as_str() == authority.host() || authority.port_u16().is_some_and(|port| port > 0);
        if authority.host().is_empty() || !has_right_port {
            return Err(BadUrl::Malformed);
        }
        Ok(Self(uri))
    }

    pub(super) fn uri(&self) -> Uri {
        self.0.clone()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "https://{}",
            self.0.authority().map_or("", |authority| authority.as_str())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_is_named_without_what_may_be_its_secret() {
        for (url, shown) in [
            (
                "https://hooks.example.com/services/hush?key=hush",
                "https://hooks.example.com",
            ),
            ("HTTPS://127.0.0.1:8443", "https://127.0.0.1:8443"),
            ("https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443"),
        ] {
            assert_eq!(Endpoint::new(url).expect(url).to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_place_for_messages_is_refused() {
        for (url, problem) in [
            ("", BadUrl::Malformed),
            ("hooks.example.com", BadUrl::NotHttps),
            ("/hooks", BadUrl::Malformed),
            ("https://", BadUrl::Malformed),
            ("https://:8443/", BadUrl::Malformed),
            ("https://a.example:0/", BadUrl::Malformed),
            ("https://a.example:65536/", BadUrl::Malformed),
            ("https://a.example:/", BadUrl::Malformed),
            ("https://bücher.example/", BadUrl::Malformed),
            ("https://a.example/a b", BadUrl::Malformed),
            ("http://a.example/", BadUrl::NotHttps),
            ("ftp://a.example/", BadUrl::NotHttps),
            ("https://user:hush@a.example/", BadUrl::Userinfo),
            ("https://a.example/#hush", BadUrl::Fragment),
        ] {
            let refused = Endpoint::new(url).err();
            assert_eq!(refused, Some(problem), "{url}");
        }
    }
}
