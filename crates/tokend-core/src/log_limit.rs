//! Limits how often the log gets a line of one kind, and counts the lines that it does not get.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::time::{Clock, ScheduleTime};

/// The least time between two lines of one kind.
const INTERVAL: Duration = Duration::from_secs(5);

/// Permits the first line at once, and then one line every five seconds. All threads share it without a lock.
#[derive(Debug)]
pub struct LogLimit {
    clock: Clock,
    start: ScheduleTime,
    /// Microseconds after `start` from which the next line is permitted.
    next: AtomicU64,
    withheld: AtomicU64,
}

impl LogLimit {
    /// Creates a limit for lines of one kind.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            start: clock.schedule_time(),
            clock,
            next: AtomicU64::new(0),
            withheld: AtomicU64::new(0),
        }
    }

    /// Returns the number of lines that were withheld since the last one, if this one may be logged.
    pub fn permit(&self) -> Option<u64> {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let now = micros(self.clock.schedule_time().saturating_since(self.start));
        let next = self.next.load(Ordering::Relaxed);
        let later = now.saturating_add(micros(INTERVAL));
        // Of several lines at once, one is permitted.
        if now < next
            || self
                .next
                .compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            self.withheld.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.withheld.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicI64};

    use super::*;

    #[test]
    fn the_log_gets_one_line_per_interval() {
        let ahead = Arc::new(AtomicI64::new(0));
        let clock = Clock::with_offset({
            let ahead = Arc::clone(&ahead);
            move || ahead.load(Ordering::Relaxed)
        });
        let limit = LogLimit::new(clock);
        assert_eq!([limit.permit(), limit.permit(), limit.permit()], [Some(0), None, None]);
        ahead.store(60_000_000, Ordering::Relaxed);
        assert_eq!([limit.permit(), limit.permit()], [Some(2), None]);
    }
}
