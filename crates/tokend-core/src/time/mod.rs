//! Timestamps as the database stores them, and clocks.

mod clock;

pub use clock::{BootTime, Clock, ScheduleTime};

use std::{fmt, str::FromStr, time::Duration};

use jiff::{
    SignedDuration,
    civil::{DateTime, date},
    fmt::temporal::Pieces,
};

/// The number of microseconds in a second.
const MICROS_PER_SECOND: i64 = 1_000_000;

const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// A point in time: microseconds since the Unix epoch, UTC, without leap seconds.
///
/// The range is that of RFC 3339 and `google.protobuf.Timestamp`, years 0001 to 9999. The precision is that of
/// PostgreSQL, so that a time is read back exactly as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The time is outside the years 0001 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time must lie in the years 0001 to 9999")]
pub struct TimeOutOfRange;

/// The text is not a time, or can't be represented exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be in RFC 3339 with its offset, in the years 0001 to 9999 and in whole microseconds, such as \
     2027-01-31T12:00:00Z"
)]
pub struct MalformedTime;

impl Timestamp {
    /// 0001-01-01T00:00:00Z.
    pub const MIN: Self = Self(-62_135_596_800 * MICROS_PER_SECOND);
    /// The last microsecond of the year 9999.
    pub const MAX: Self = Self(253_402_300_800 * MICROS_PER_SECOND - 1);
    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Self = Self(0);

    /// Returns the time `micros` microseconds after the Unix epoch.
    ///
    /// # Errors
    /// [`TimeOutOfRange`] outside the years 0001 to 9999.
    pub const fn from_unix_micros(micros: i64) -> Result<Self, TimeOutOfRange> {
        if micros < Self::MIN.0 || micros > Self::MAX.0 {
            return Err(TimeOutOfRange);
        }
        Ok(Self(micros))
    }

    /// Returns the time `seconds` and `nanos` after the Unix epoch. Nanoseconds are truncated to microseconds.
    ///
    /// # Errors
    /// [`TimeOutOfRange`] outside the years 0001 to 9999.
    pub const fn from_unix_seconds(seconds: i64, nanos: u32) -> Result<Self, TimeOutOfRange> {
        match seconds.checked_mul(MICROS_PER_SECOND) {
            Some(micros) => match micros.checked_add((nanos / 1_000) as i64) {
                Some(micros) => Self::from_unix_micros(micros),
                None => Err(TimeOutOfRange),
            },
            None => Err(TimeOutOfRange),
        }
    }

    /// Returns the microseconds since the Unix epoch, negative before it.
    #[must_use]
    pub const fn unix_micros(self) -> i64 {
        self.0
    }

    /// Returns the whole seconds since the Unix epoch, rounded down, and the remaining nanoseconds, 0 to 999,999,000.
    #[must_use]
    pub const fn unix_seconds(self) -> (i64, u32) {
        let seconds = self.0.div_euclid(MICROS_PER_SECOND);
        let micros = self.0.rem_euclid(MICROS_PER_SECOND);
        // rem_euclid of 10^6 fits in 20 bits.
        (seconds, micros as u32 * 1_000)
    }

    /// Returns this time plus `span`, which is truncated to microseconds.
    ///
    /// # Errors
    /// [`TimeOutOfRange`] past the year 9999.
    pub fn plus(self, span: Duration) -> Result<Self, TimeOutOfRange> {
        let micros = i64::try_from(span.as_micros()).map_err(|_| TimeOutOfRange)?;
        Self::from_unix_micros(self.0.checked_add(micros).ok_or(TimeOutOfRange)?)
    }

    /// Returns this time plus `micros` microseconds, limited to the years 0001 to 9999.
    #[must_use]
    pub fn saturating_add_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros).clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Returns the time from `earlier` until this time; zero if `earlier` is later.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }
}

/// Parses a time in RFC 3339 with an offset. Digits after the microseconds must be zeros.
impl FromStr for Timestamp {
    type Err = MalformedTime;

    fn from_str(text: &str) -> Result<Self, MalformedTime> {
        // jiff's own timestamp type ends a day before the year 9999 does.
        let pieces = Pieces::parse(text).map_err(|_| MalformedTime)?;
        let (time, offset) = pieces.time().zip(pieces.to_numeric_offset()).ok_or(MalformedTime)?;
        // The name of a time zone could contradict the offset.
        if pieces.time_zone_annotation().is_some() || time.subsec_nanosecond() % 1_000 != 0 {
            return Err(MalformedTime);
        }
        let since =
            pieces.date().to_datetime(time).duration_since(EPOCH) - SignedDuration::from_secs(offset.seconds().into());
        let micros = i64::try_from(since.as_micros()).map_err(|_| MalformedTime)?;
        Self::from_unix_micros(micros).map_err(|_| MalformedTime)
    }
}

/// Writes RFC 3339 in UTC, with as many fractional digits as needed.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never saturates: jiff's range includes every timestamp.
        write!(f, "{}Z", EPOCH.saturating_add(SignedDuration::from_micros(self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_both_ways() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59.5Z", -500_000),
            ("2027-01-31T12:00:00.000001Z", 1_801_396_800_000_001),
            ("0001-01-01T00:00:00Z", Timestamp::MIN.0),
            ("9999-12-31T23:59:59.999999Z", Timestamp::MAX.0),
        ] {
            assert_eq!(text.parse(), Ok(Timestamp(micros)), "{text}");
            assert_eq!(Timestamp(micros).to_string(), text);
        }
        for (text, same) in [
            ("2027-01-31T14:30:00+02:30", "2027-01-31T12:00:00Z"),
            ("2027-01-31T00:00:00-12:00", "2027-01-31T12:00:00Z"),
            ("2027-01-31t12:00:00.123456000z", "2027-01-31T12:00:00.123456Z"),
        ] {
            assert_eq!(
                text.parse().map(|time: Timestamp| time.to_string()).as_deref(),
                Ok(same),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_time_or_would_be_cut_is_refused() {
        for bad in [
            "",
            "2027-01-31",
            "2027-01-31T12:00:00",
            "2027-02-30T12:00:00Z",
            "2027-01-31T25:00:00Z",
            "2027-01-31T12:00:00.0000001Z",
            "2027-01-31T12:00:00Z[UTC]",
            "2027-01-31T12:00:00+01:00[Europe/Berlin]",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "10000-01-01T00:00:00Z",
            "1801396800",
            "tomorrow",
        ] {
            assert_eq!(bad.parse::<Timestamp>(), Err(MalformedTime), "{bad}");
        }
    }

    #[test]
    fn bounds_are_inclusive_and_nothing_wraps() {
        assert_eq!(
            Timestamp::from_unix_seconds(253_402_300_799, 999_999_999),
            Ok(Timestamp::MAX)
        );
        assert_eq!(Timestamp::from_unix_seconds(253_402_300_800, 0), Err(TimeOutOfRange));
        assert_eq!(Timestamp::from_unix_seconds(i64::MAX, 0), Err(TimeOutOfRange));
        assert_eq!(Timestamp::from_unix_seconds(-62_135_596_800, 0), Ok(Timestamp::MIN));
        assert_eq!(Timestamp::MAX.plus(Duration::from_micros(1)), Err(TimeOutOfRange));
        assert_eq!(Timestamp::UNIX_EPOCH.plus(Duration::MAX), Err(TimeOutOfRange));
    }

    #[test]
    fn times_before_the_epoch_split_downwards() {
        let half_a_second_before = Timestamp::from_unix_micros(-500_000).expect("in range");
        assert_eq!(half_a_second_before.unix_seconds(), (-1, 500_000_000));
        assert_eq!(Timestamp::from_unix_seconds(-1, 500_000_000), Ok(half_a_second_before));
    }

    #[test]
    fn since_is_never_negative() {
        let later = Timestamp::UNIX_EPOCH.plus(Duration::from_secs(2)).expect("in range");
        assert_eq!(later.saturating_since(Timestamp::UNIX_EPOCH), Duration::from_secs(2));
        assert_eq!(Timestamp::UNIX_EPOCH.saturating_since(later), Duration::ZERO);
    }
}
