use std::time::Duration;

use crate::time::Timestamp;

/// A maximum or default lifetime of tokens: 1 microsecond to 36,500 days, in whole microseconds.
///
/// To set no limit, the rule is left out. Allowing longer spans would only lead to overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lifetime(u64);

/// A span outside the range of lifetimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a span of at least a microsecond and at most 36,500 days")]
pub struct LifetimeOutOfRange;

impl Lifetime {
    /// The longest lifetime: 36,500 days.
    pub const MAX: Self = Self(36_500 * 24 * 60 * 60 * 1_000_000);

    /// Creates a lifetime from a span, truncated to microseconds.
    ///
    /// # Errors
    /// [`LifetimeOutOfRange`].
    pub fn new(span: Duration) -> Result<Self, LifetimeOutOfRange> {
        u64::try_from(span.as_micros())
            .map_err(|_| LifetimeOutOfRange)
            .and_then(Self::from_micros)
    }

    /// Creates a lifetime from a number of microseconds.
    ///
    /// # Errors
    /// [`LifetimeOutOfRange`].
    pub const fn from_micros(micros: u64) -> Result<Self, LifetimeOutOfRange> {
        if micros == 0 || micros > Self::MAX.0 {
            Err(LifetimeOutOfRange)
        } else {
            Ok(Self(micros))
        }
    }

    /// Returns the lifetime in microseconds.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Returns the lifetime as a span.
    #[must_use]
    pub const fn span(self) -> Duration {
        Duration::from_micros(self.0)
    }

    /// Returns the end of the lifetime that starts at `begin`, at most the end of the year 9999.
    #[must_use]
    pub fn end(self, begin: Timestamp) -> Timestamp {
        begin.saturating_add_micros(self.0.cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_microsecond_to_36_500_days() {
        let day = Duration::from_secs(24 * 60 * 60);
        assert_eq!(Lifetime::new(Duration::from_micros(1)).map(Lifetime::micros), Ok(1));
        assert_eq!(Lifetime::new(day * 36_500), Ok(Lifetime::MAX));
        for bad in [
            Duration::ZERO,
            Duration::from_nanos(999),
            day * 36_500 + Duration::from_micros(1),
            Duration::MAX,
        ] {
            assert_eq!(Lifetime::new(bad), Err(LifetimeOutOfRange), "{bad:?}");
        }
    }

    #[test]
    fn an_end_is_held_within_the_years_that_there_are() {
        let second = Lifetime::new(Duration::from_millis(1_000)).expect("in range");
        assert_eq!(second.end(Timestamp::UNIX_EPOCH).unix_seconds(), (1, 0));
        assert_eq!(second.span(), Duration::from_secs(1));
        assert_eq!(Lifetime::MAX.end(Timestamp::MAX), Timestamp::MAX);
    }
}
