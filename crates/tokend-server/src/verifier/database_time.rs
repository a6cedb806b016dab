//! Database time without a statement: what a poll reported, and the boot time since the poll was sent.

use std::sync::atomic::{AtomicI64, Ordering};

use tokend_core::time::{BootTime, Clock, Timestamp};

/// A difference that is taken over at once, in microseconds: somebody has set the database's clock.
const STEP: i64 = 1_000_000;

/// How much slower than boot time this clock runs while it is ahead: a tenth.
const SLEW: i64 = 10;

/// The database's clock, as far as this process knows it.
///
/// It lags by at most the drift of this machine's clock since the last poll. It leads by at most the time that a poll
/// took: one that was slow leaves it ahead, and it then runs a tenth slower until the lead is gone, so that it never goes
/// back.
#[derive(Debug, Default)]
pub(super) struct DatabaseTime {
    /// Microseconds from boot time to the database's time; 0 before the first poll.
    ahead: AtomicI64,
    /// When the last poll was sent.
    adjusted: AtomicI64,
    /// The latest expiry that was reported as passed: time never falls below it again.
    floor: AtomicI64,
}

impl DatabaseTime {
    /// Takes the time that the answer to a poll reported, which was sent at `asked`. Polls come one at a time.
    pub(super) fn adjust(&self, asked: BootTime, reported: Timestamp) {
        let asked = micros(asked);
        let found = reported.unix_micros().saturating_sub(asked);
        let known = self.ahead.load(Ordering::Acquire);
        let elapsed = asked.saturating_sub(self.adjusted.swap(asked, Ordering::AcqRel)).max(0);
        let lead = known.saturating_sub(found);
        let ahead = if (0..STEP).contains(&lead) {
            known - lead.min(elapsed / SLEW)
        } else {
            found
        };
        self.ahead.store(ahead, Ordering::Release);
    }

    /// Keeps time from falling below `reached`, because a verdict said so.
    pub(super) fn reach(&self, reached: Timestamp) {
        self.floor.fetch_max(reached.unix_micros(), Ordering::AcqRel);
    }

    /// Returns the time at `now`.
    pub(super) fn at(&self, clock: &Clock, now: BootTime) -> Timestamp {
        let micros = self.ahead.load(Ordering::Acquire).saturating_add(micros(now));
        let reported = Timestamp::from_unix_micros(micros).unwrap_or(Timestamp::MAX);
        let floor = Timestamp::from_unix_micros(self.floor.load(Ordering::Acquire)).unwrap_or(Timestamp::UNIX_EPOCH);
        clock.database_time(reported).max(floor)
    }
}

fn micros(time: BootTime) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const POLL: Duration = Duration::from_millis(100);

    fn at(millis: u64) -> Timestamp {
        let start = Timestamp::from_unix_seconds(1_000, 0).expect("a time");
        start.plus(Duration::from_millis(millis)).expect("a time")
    }

    #[test]
    fn time_goes_on_from_what_the_database_reported() {
        let (clock, time) = (Clock::system(), DatabaseTime::default());
        let asked = clock.boot_time();
        time.adjust(asked, at(0));
        assert_eq!(time.at(&clock, asked.saturating_add(2 * POLL)), at(200));
        time.reach(at(900));
        assert_eq!(
            time.at(&clock, asked.saturating_add(2 * POLL)),
            at(900),
            "an expiry that has passed stays passed"
        );
    }

    #[test]
    fn a_lead_is_made_up_for_without_going_back() {
        let (clock, time) = (Clock::system(), DatabaseTime::default());
        let mut asked = clock.boot_time();
        // The answer to the first poll came 40 ms late.
        time.adjust(asked, at(40));
        let mut last = time.at(&clock, asked);
        for poll in 1..=10 {
            asked = asked.saturating_add(POLL);
            time.adjust(asked, at(poll * 100));
            let now = time.at(&clock, asked);
            assert!(now > last, "{now} comes after {last}");
            last = now;
        }
        assert_eq!(last, at(1_000));
        // Somebody has set the database's clock back.
        time.adjust(asked.saturating_add(POLL), at(0));
        assert_eq!(time.at(&clock, asked.saturating_add(POLL)), at(0));
    }
}
