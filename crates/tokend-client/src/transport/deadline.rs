//! The header `grpc-timeout`: how long a call may take.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header::HeaderName};

const HEADER: HeaderName = HeaderName::from_static("grpc-timeout");
/// The most digits that the header may have.
const MAX_DIGITS: usize = 8;

/// Returns how long the call may take, if its headers say so.
pub(crate) fn requested(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(HEADER)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > MAX_DIGITS {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// Puts the time that is left for an attempt into its headers.
pub(crate) fn set(headers: &mut HeaderMap, left: Duration) {
    // Eight digits of milliseconds are a day.
    let text = match left.as_micros() {
        micros if micros < 10_u128.pow(MAX_DIGITS as u32) => format!("{micros}u"),
        _ => format!("{}m", left.as_millis().min(10_u128.pow(MAX_DIGITS as u32) - 1)),
    };
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(HEADER, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read_back() {
        for left in [
            Duration::from_micros(1),
            Duration::from_micros(99_999_999),
            Duration::from_secs(30),
            Duration::from_secs(3_600),
        ] {
            let mut headers = HeaderMap::new();
            set(&mut headers, left);
            assert_eq!(requested(&headers), Some(left));
        }
        let mut headers = HeaderMap::new();
        set(&mut headers, Duration::MAX);
        assert_eq!(requested(&headers), Some(Duration::from_millis(99_999_999)));
    }

    #[test]
    fn ill_formed_timeouts_are_ignored() {
        for bad in ["", "1", "S", "123456789S", "-1S", "1x", "1.5S"] {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_static(bad));
            assert_eq!(requested(&headers), None, "{bad:?}");
        }
    }
}
