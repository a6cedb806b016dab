//! When a failed call is repeated, and after which pause.

use std::{error::Error, time::Duration};

use http::{HeaderMap, HeaderValue};
use tonic::{Code, ConnectError, Status, TimeoutExpired};
use tonic_types::StatusExt;

/// How calls are repeated that failed with UNAVAILABLE or whose connection failed. Only calls that are safe to repeat
/// are: reads, verifications, revocations, and calls with a `request_id`. A call that never reached a server is always
/// repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    attempts: u32,
    first_pause: Duration,
    longest_pause: Duration,
}

/// Four attempts, with pauses of about 50, 100 and 200 milliseconds.
impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 4,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(2),
        }
    }
}

impl Retry {
    /// Makes each call once, unless it never reached a server.
    #[must_use]
    pub fn never() -> Self {
        Self::default().attempts(1)
    }

    /// Makes at most this many attempts; at least one.
    #[must_use]
    pub fn attempts(self, attempts: u32) -> Self {
        Self {
            attempts: attempts.max(1),
            ..self
        }
    }

    /// Pauses for `first` after the first failed attempt, and twice as long after each further one, up to `longest`.
    /// Up to half of a pause is left out at random. If the service asks for a longer pause, that one is made.
    #[must_use]
    pub fn pauses(self, first: Duration, longest: Duration) -> Self {
        Self {
            first_pause: first,
            longest_pause: longest.max(first),
            ..self
        }
    }

    /// Returns the pause after `failed` attempts, or nothing if that was the last one. `fraction` is a random number
    /// from 0 to 1, `wanted` the pause that the service asks for.
    pub(crate) fn pause_after(self, failed: u32, wanted: Option<Duration>, fraction: f64) -> Option<Duration> {
        if failed >= self.attempts {
            return None;
        }
        let doublings = failed.saturating_sub(1).min(16);
        let pause = self
            .first_pause
            .saturating_mul(1 << doublings)
            .min(self.longest_pause)
            .mul_f64(0.5 + fraction / 2.0);
        Some(wanted.map_or(pause, |wanted| {
            // Callers that are asked for the same pause must not come back all at once.
            wanted.saturating_add(pause.min(wanted / 4))
        }))
    }
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection could be opened, so no server has seen the call.
    NeverSent,
    /// The service is unavailable, or the connection failed. The call may have been made or not.
    Unavailable {
        /// The pause that the service asks for.
        retry_after: Option<Duration>,
    },
    /// The deadline has passed.
    TimedOut,
    /// Repeating the call would not help.
    Final,
}

impl Failure {
    /// Returns how an attempt failed that has no response.
    pub(crate) fn of_error(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if error.is::<ConnectError>() {
                return Self::NeverSent;
            }
            if error.is::<TimeoutExpired>() {
                return Self::TimedOut;
            }
            cause = error.source();
        }
        Self::Unavailable { retry_after: None }
    }

    /// Returns how the call failed whose status is in `headers` or trailers; `None` if there is no status, or OK.
    pub(crate) fn of_status(headers: &HeaderMap) -> Option<Self> {
        /// UNAVAILABLE, as the header has it.
        const UNAVAILABLE: HeaderValue = HeaderValue::from_static("14");
        let code = headers.get(Status::GRPC_STATUS)?;
        if code == UNAVAILABLE {
            let retry_after = Status::from_header_map(headers)
                .and_then(|status| status.get_details_retry_info())
                .and_then(|retry| retry.retry_delay);
            return Some(Self::Unavailable { retry_after });
        }
        (Code::from_bytes(code.as_bytes()) != Code::Ok).then_some(Self::Final)
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn pauses_double_up_to_the_longest_and_end() {
        let retry = Retry::default().attempts(6).pauses(50 * MILLI, 300 * MILLI);
        let longest: Vec<_> = (1..=6).map(|failed| retry.pause_after(failed, None, 1.0)).collect();
        assert_eq!(
            longest,
            [
                Some(50 * MILLI),
                Some(100 * MILLI),
                Some(200 * MILLI),
                Some(300 * MILLI),
                Some(300 * MILLI),
                None
            ]
        );
        assert_eq!(
            retry.pause_after(2, None, 0.0),
            Some(50 * MILLI),
            "half of it is left out"
        );
        assert_eq!(Retry::never().pause_after(1, None, 0.0), None);
    }

    #[test]
    fn the_services_pause_is_never_cut_short() {
        let retry = Retry::default();
        for fraction in [0.0, 0.5, 1.0] {
            let pause = retry.pause_after(1, Some(1_000 * MILLI), fraction).expect("a pause");
            assert!((1_000 * MILLI..=1_250 * MILLI).contains(&pause), "{pause:?}");
        }
    }

    #[test]
    fn only_unavailable_is_repeated() {
        let headers = |status: Status| {
            let mut headers = HeaderMap::new();
            status.add_header(&mut headers).expect("headers");
            headers
        };
        let mut details = ErrorDetails::new();
        details.set_retry_info(Some(250 * MILLI));
        let status = Status::with_error_details(Code::Unavailable, "", details);
        assert_eq!(
            Failure::of_status(&headers(status)),
            Some(Failure::Unavailable {
                retry_after: Some(250 * MILLI)
            })
        );
        for code in [
            Code::Internal,
            Code::DeadlineExceeded,
            Code::ResourceExhausted,
            Code::Aborted,
        ] {
            let failure = Failure::of_status(&headers(Status::new(code, "")));
            assert_eq!(failure, Some(Failure::Final), "{code}");
        }
        assert_eq!(Failure::of_status(&HeaderMap::new()), None);
        assert_eq!(Failure::of_status(&headers(Status::ok(""))), None);
    }

    #[test]
    fn a_connection_that_was_never_opened_has_sent_nothing() {
        let refused = ConnectError("refused".into());
        assert_eq!(Failure::of_error(&refused), Failure::NeverSent);
        let broken = std::io::Error::other("reset");
        assert_eq!(Failure::of_error(&broken), Failure::Unavailable { retry_after: None });
    }
}
