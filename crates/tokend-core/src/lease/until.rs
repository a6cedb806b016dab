use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::time::BootTime;

/// The time until which memory may be trusted, in boot time. All threads share it without a lock.
///
/// Raise the slots of everything that changed before renewing the lease (L2). Whoever sees the renewed lease then sees
/// the raised slots, too.
#[derive(Debug, Default)]
pub struct Lease {
    /// Microseconds since boot; 0 if there is no lease.
    until: AtomicU64,
}

impl Lease {
    /// Creates a lease that has ended.
    #[must_use]
    pub const fn ended() -> Self {
        Self {
            until: AtomicU64::new(0),
        }
    }

    /// Extends the lease to `grant` after `asked`, the time before which the question for changes was not sent. A lease
    /// never becomes shorter, because one that was shortened could have been used already.
    pub fn renew(&self, asked: BootTime, grant: Duration) {
        self.until
            .fetch_max(asked.saturating_add(grant).as_micros(), Ordering::Release);
    }

    /// Ends the lease now.
    pub fn end(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// Returns how much of the lease is left at `now`; zero if it has ended.
    #[must_use]
    pub fn remaining(&self, now: BootTime) -> Duration {
        Duration::from_micros(self.until.load(Ordering::Acquire).saturating_sub(now.as_micros()))
    }

    /// Returns whether the lease runs at `now`.
    #[must_use]
    pub fn runs_at(&self, now: BootTime) -> bool {
        !self.remaining(now).is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Clock;

    #[test]
    fn a_lease_lasts_from_the_question() {
        let asked = Clock::system().boot_time();
        let lease = Lease::ended();
        assert!(!lease.runs_at(asked));
        lease.renew(asked, Duration::from_secs(1));
        assert!(lease.runs_at(asked.saturating_add(Duration::from_millis(999))));
        assert!(!lease.runs_at(asked.saturating_add(Duration::from_secs(1))));
        lease.renew(asked, Duration::from_millis(10));
        assert_eq!(lease.remaining(asked), Duration::from_secs(1));
        lease.end();
        assert!(!lease.runs_at(asked));
    }
}
