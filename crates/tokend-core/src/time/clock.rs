//! The only source of time.
//!
//! Expiry is decided on database time, leases on boot time. Both come from here, so that nothing else reads a clock
//! (`clippy.toml` forbids it) and tests can move time without sleeping.

use std::{fmt, sync::Arc, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use crate::time::Timestamp;

/// Returns wall time, boot time and schedule time, and shifts times read from a database.
///
/// Cheap to clone. In production the offset is always zero. In tests it moves every time but boot time: leases run on
/// boot time, and a clock that is set back would make them longer than the wait that ends them.
#[derive(Clone, Default)]
pub struct Clock {
    offset_micros: Option<Arc<dyn Fn() -> i64 + Send + Sync>>,
}

/// Time since the machine booted, including suspended time (`CLOCK_BOOTTIME`), which `std::time::Instant` leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(Duration);

/// Boot time as a test moves it. Intervals of background jobs and limits of calls are measured in it, so that a test
/// need not wait for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScheduleTime(Duration);

#[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clocks")]
impl Clock {
    /// Returns the real clock.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// Returns a clock that runs `offset_micros()` microseconds ahead of the real one, or behind if negative. For
    /// tests.
    #[must_use]
    pub fn with_offset(offset_micros: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self {
            offset_micros: Some(Arc::new(offset_micros)),
        }
    }

    /// Returns this machine's wall time. Only for what is not decided on database time, and for SQLite, whose database
    /// time it is.
    #[must_use]
    pub fn wall_time(&self) -> Timestamp {
        let now = clock_gettime(ClockId::Realtime);
        let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
        self.database_time(Timestamp::from_unix_seconds(now.tv_sec, nanos).unwrap_or(Timestamp::MAX))
    }

    /// Applies the offset to a time that a database reported. Every time read from a database passes through here.
    #[must_use]
    pub fn database_time(&self, reported: Timestamp) -> Timestamp {
        match &self.offset_micros {
            None => reported,
            Some(offset) => reported.saturating_add_micros(offset()),
        }
    }

    /// Returns the time since boot. No offset moves it.
    #[must_use]
    pub fn boot_time(&self) -> BootTime {
        let now = clock_gettime(ClockId::Boottime);
        let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
        BootTime(Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), nanos))
    }

    /// Returns the time since boot, moved by the offset.
    #[must_use]
    pub fn schedule_time(&self) -> ScheduleTime {
        let BootTime(since_boot) = self.boot_time();
        let offset = self.offset_micros.as_ref().map_or(0, |offset| offset());
        ScheduleTime(match u64::try_from(offset) {
            Ok(ahead) => since_boot.saturating_add(Duration::from_micros(ahead)),
            Err(_) => since_boot.saturating_sub(Duration::from_micros(offset.unsigned_abs())),
        })
    }
}

impl BootTime {
    /// Returns the time from `earlier` until this time; zero if `earlier` is later.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Returns this time, moved by `span` into the future.
    #[must_use]
    pub const fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// Returns the microseconds since boot, rounded down.
    #[must_use]
    pub fn as_micros(self) -> u64 {
        u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX)
    }
}

impl ScheduleTime {
    /// Returns the time from `earlier` until this time; zero if `earlier` is later.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.offset_micros.is_some() {
            "Clock(with offset)"
        } else {
            "Clock(system)"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_moves_every_time_but_boot_time() {
        let hour = 3_600_000_000;
        let (real, ahead) = (Clock::system(), Clock::with_offset(move || hour));
        let reported = Timestamp::UNIX_EPOCH;
        assert_eq!(real.database_time(reported), reported);
        assert_eq!(ahead.database_time(reported).unix_micros(), hour);
        assert!(ahead.wall_time().unix_micros() - real.wall_time().unix_micros() > hour - 60_000_000);
        assert!(ahead.schedule_time().saturating_since(real.schedule_time()) > Duration::from_secs(3_540));
        assert!(ahead.boot_time().saturating_since(real.boot_time()) < Duration::from_secs(60));
    }

    #[test]
    fn boot_time_does_not_go_back() {
        let clock = Clock::system();
        let earlier = clock.boot_time();
        assert!(clock.boot_time() >= earlier);
    }
}
