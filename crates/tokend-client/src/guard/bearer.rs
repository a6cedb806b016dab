//! The token in a request's headers.

use http::{HeaderMap, header::AUTHORIZATION};

use super::Denied;

/// The most bytes of a token. tokend's have far fewer.
pub(super) const MAX_TOKEN: usize = 4_096;

/// Returns the bearer token (RFC 6750 section 2.1). Only the `authorization` header counts: never the body or the
/// query, which end up in logs.
///
/// # Errors
/// There is no such header, or not exactly one with exactly one bearer token.
pub(super) fn token(headers: &HeaderMap) -> Result<&str, Denied> {
    const SCHEME: &str = "bearer";
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Denied::MissingToken)?;
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    let token = text.and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim_matches(' '))
    });
    token
        .filter(|token| (1..=MAX_TOKEN).contains(&token.len()) && token.bytes().all(is_of_token))
        .ok_or(Denied::MalformedAuthorization)
}

/// Returns whether a token may have this character. A comma would separate it from another credential.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(values: &[&'static str]) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        token(&headers)
            .map(ToOwned::to_owned)
            .map_err(|denied| denied.kind().as_str())
    }

    #[test]
    fn one_bearer_token() {
        for value in ["Bearer tkdw_1", "bearer tkdw_1", "BEARER  tkdw_1 "] {
            assert_eq!(of(&[value]).as_deref(), Ok("tkdw_1"), "{value:?}");
        }
        assert_eq!(of(&[]), Err("missing_token"));
        for values in [
            &["Bearer a", "Bearer b"][..],
            &["Bearer"],
            &["Bearer "],
            &["Bearer a,b"],
            &["Bearer a, Bearer b"],
            &["Bearer a b"],
            &["Basic YTpi"],
            &["tkdw_1"],
            &["Bearer\ttkdw_1"],
            &["Bearer \"a\""],
        ] {
            assert_eq!(of(values), Err("malformed_authorization"), "{values:?}");
        }
    }
}
