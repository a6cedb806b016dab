//! The one clock of a run.

use std::{fmt, time::Duration};

use tokend_core::time::{BootTime, Clock};

/// A point in time: nanoseconds of boot time since the run started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    /// The start of the run.
    pub(crate) const START: Self = Self(0);
    /// Later than every other moment.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) fn plus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// Returns the moment `span` before this one, or the start of the run.
    pub(crate) fn minus(self, span: Duration) -> Self {
        Self::START.plus(self.since(Self::START).saturating_sub(span))
    }

    /// Returns the time from `earlier` until this moment; zero if `earlier` is later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Shows milliseconds since the start of the run.
impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            return f.write_str("never");
        }
        write!(f, "{}.{:03} ms", self.0 / 1_000_000, self.0 / 1_000 % 1_000)
    }
}

/// Reads boot time (`CLOCK_BOOTTIME`), the clock that leases run on.
#[derive(Clone, Debug)]
pub(crate) struct Stopwatch {
    clock: Clock,
    start: BootTime,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        let clock = Clock::system();
        let start = clock.boot_time();
        Self { clock, start }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment::START.plus(self.clock.boot_time().saturating_since(self.start))
    }
}
