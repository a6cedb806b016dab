//! Reads the time that a client allows for its call.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Returns the time in `grpc-timeout`: up to eight digits and a unit ("Timeout" in gRPC over HTTP/2). A malformed value
/// is ignored, because the server's own limit applies in any case.
pub(crate) fn given_by_client(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &[u8]) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(GRPC_TIMEOUT, http::HeaderValue::from_bytes(text).expect("a header"));
        given_by_client(&headers)
    }

    #[test]
    fn every_unit_is_understood() {
        for (text, expected) in [
            ("2H", Duration::from_secs(7_200)),
            ("3M", Duration::from_secs(180)),
            ("99999999S", Duration::from_secs(99_999_999)),
            ("250m", Duration::from_millis(250)),
            ("1u", Duration::from_micros(1)),
            ("0n", Duration::ZERO),
        ] {
            assert_eq!(given(text.as_bytes()), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_timeout_limits_nothing() {
        for text in ["", "1", "S", "100000000S", "-1S", "1s", "1 S", "+1S", "1.5S"] {
            assert_eq!(given(text.as_bytes()), None, "{text}");
        }
        assert_eq!(given(b"1\xff"), None);
        assert_eq!(given_by_client(&HeaderMap::new()), None);
    }
}
