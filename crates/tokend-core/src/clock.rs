//! The one source of time.
//!
//! Expiry is judged on database time, leases on boot time; both come from here, so that nothing else reads a clock
//! (`clippy.toml` bans it) and so that tests can move time without sleeping.

use std::{fmt, sync::Arc, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use crate::time::Timestamp;

/// Hands out wall time and boot time, and corrects times read from a database by the same offset.
///
/// Cheap to clone. In production the offset is always zero.
#[derive(Clone, Default)]
pub struct Clock {
    offset_micros: Option<Arc<dyn Fn() -> i64 + Send + Sync>>,
}

/// Time since the machine booted, suspended time included (`CLOCK_BOOTTIME`), which `std::time::Instant` leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(Duration);

#[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clocks")]
impl Clock {
    /// The real clock.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that runs `offset_micros()` microseconds ahead of the real one (behind, when negative). For tests.
    #[must_use]
    pub fn with_offset(offset_micros: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self { offset_micros: Some(Arc::new(offset_micros)) }
    }

    /// This machine's wall time. Only for what is not judged on database time, and for SQLite, whose time this is.
    #[must_use]
    pub fn wall_time(&self) -> Timestamp {
        let now = clock_gettime(ClockId::Realtime);
        let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
        self.database_time(Timestamp::from_unix_seconds(now.tv_sec, nanos).unwrap_or(Timestamp::MAX))
    }

    /// A time that a database reported, as this clock sees it. Every database time read passes through here.
    #[must_use]
    pub fn database_time(&self, reported: Timestamp) -> Timestamp {
        match &self.offset_micros {
            None => reported,
            Some(offset) => reported.saturating_add_micros(offset()),
        }
    }

    /// Time since boot.
    #[must_use]
    pub fn boot_time(&self) -> BootTime {
        let now = clock_gettime(ClockId::Boottime);
        let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
        let since_boot = Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), nanos);
        let offset = self.offset_micros.as_ref().map_or(0, |offset| offset());
        BootTime(match u64::try_from(offset) {
            Ok(ahead) => since_boot.saturating_add(Duration::from_micros(ahead)),
            Err(_) => since_boot.saturating_sub(Duration::from_micros(offset.unsigned_abs())),
        })
    }
}

impl BootTime {
    /// How long from `earlier` until this time; zero if `earlier` is not earlier.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.offset_micros.is_some() { "Clock(with offset)" } else { "Clock(system)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_moves_every_time_alike() {
        let hour = 3_600_000_000;
        let (real, ahead) = (Clock::system(), Clock::with_offset(move || hour));
        let reported = Timestamp::UNIX_EPOCH;
        assert_eq!(real.database_time(reported), reported);
        assert_eq!(ahead.database_time(reported).unix_micros(), hour);
        assert!(ahead.wall_time().unix_micros() - real.wall_time().unix_micros() > hour - 60_000_000);
        assert!(ahead.boot_time().saturating_since(real.boot_time()) > Duration::from_secs(3_540));
    }

    #[test]
    fn boot_time_does_not_go_back() {
        let clock = Clock::system();
        let earlier = clock.boot_time();
        assert!(clock.boot_time() >= earlier);
    }
}
