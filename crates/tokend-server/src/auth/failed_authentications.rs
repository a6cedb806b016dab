//! Sources that keep presenting invalid credentials are asked to wait, for longer each time.
//!
//! Nobody is locked out. Every credential is checked whatever its source did before, and a valid one passes: many
//! callers may share a proxy, and none of them must suffer from another. Tokens that a verifier asks about are not its
//! credentials and are not counted. So the limit only changes the answer to an invalid credential. Guessing is hopeless
//! anyway, against 192 random bits and a 64-bit tag.
//!
//! Failures are forgiven at a steady rate (a leaky bucket for each source). A source whose bucket is full has to wait:
//! [`FIRST_WAIT`] at first, and twice as long each time that it fills the bucket again, up to [`LONGEST_WAIT`]. The
//! waits start over once its bucket is empty and it has stayed away for twice its last wait.
//!
//! `governor` is no alternative: its keyed limiter keeps every key while it counts, so that an attacker with many
//! addresses decides how much memory it takes, and its waits do not grow.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokend_core::time::{Clock, ScheduleTime};

use crate::{limits::Limits, transport::Source};

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The most sources that are remembered, at about 100 bytes each.
const MOST_SOURCES: usize = 16_384;

/// Counts failures by source.
#[derive(Debug)]
pub(crate) struct FailedAuthentications {
    clock: Clock,
    /// The failures that a bucket holds.
    room: f64,
    /// The failures that leak out of a bucket in a second.
    leak: f64,
    sources: Mutex<HashMap<Source, Bucket>>,
}

/// The failures of one source.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: f64,
    seen: ScheduleTime,
    /// How often the source was asked to wait since its failures were last forgiven.
    waits: u32,
    /// How long the source was asked to wait, from `since` on.
    wait: Duration,
    since: ScheduleTime,
}

impl FailedAuthentications {
    pub(crate) fn new(limits: &Limits, clock: Clock) -> Self {
        let room = f64::from(limits.failed_authentications);
        let leak = f64::from(limits.failed_authentications_forgiven_per_minute) / 60.0;
        Self {
            clock,
            room,
            leak,
            sources: Mutex::default(),
        }
    }

    /// Counts a failure. Returns how long the source should wait if it had too many.
    pub(crate) fn count(&self, source: Source) -> Option<Duration> {
        let now = self.clock.schedule_time();
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.len() >= MOST_SOURCES && !sources.contains_key(&source) {
            self.make_room(&mut sources, now);
        }
        let bucket = sources.entry(source).or_insert(Bucket {
            level: 0.0,
            seen: now,
            waits: 0,
            wait: Duration::ZERO,
            since: now,
        });
        bucket.level = self.level(bucket, now);
        if bucket.level == 0.0 && now.saturating_since(bucket.seen) > bucket.wait * 2 {
            bucket.waits = 0;
        }
        bucket.seen = now;
        if bucket.level + 1.0 <= self.room {
            bucket.level += 1.0;
            return None;
        }
        let left = bucket.wait.saturating_sub(now.saturating_since(bucket.since));
        if left.is_zero() {
            bucket.wait = FIRST_WAIT
                .saturating_mul(1_u32.checked_shl(bucket.waits).unwrap_or(u32::MAX))
                .min(LONGEST_WAIT);
            bucket.since = now;
            bucket.waits += 1;
            return Some(bucket.wait);
        }
        Some(left)
    }

    /// Removes the sources whose failures are forgiven, or all if there are none. Then an attacker with that many
    /// addresses is not asked to wait for a while, but takes no more memory.
    fn make_room(&self, sources: &mut HashMap<Source, Bucket>, now: ScheduleTime) {
        sources.retain(|_, bucket| self.level(bucket, now) > 0.0);
        if sources.len() >= MOST_SOURCES {
            sources.clear();
        }
    }

    fn level(&self, bucket: &Bucket, now: ScheduleTime) -> f64 {
        let leaked = now.saturating_since(bucket.seen).as_secs_f64() * self.leak;
        (bucket.level - leaked).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        sync::{
            Arc,
            atomic::{AtomicI64, Ordering},
        },
    };

    use super::*;

    struct World {
        failures: FailedAuthentications,
        micros: Arc<AtomicI64>,
    }

    /// Three failures at once, one forgiven each second.
    fn world() -> World {
        let micros = Arc::new(AtomicI64::new(0));
        let clock = Clock::with_offset({
            let micros = Arc::clone(&micros);
            move || micros.load(Ordering::Relaxed)
        });
        let limits = Limits {
            failed_authentications: 3,
            failed_authentications_forgiven_per_minute: 60,
            ..Limits::default()
        };
        World {
            failures: FailedAuthentications::new(&limits, clock),
            micros,
        }
    }

    impl World {
        fn pass(&self, seconds: i64) {
            self.micros.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
        }

        /// The wait in whole seconds; the real clock runs along.
        fn count(&self, source: Source) -> Option<u64> {
            self.failures
                .count(source)
                .map(|wait| wait.as_secs_f64().round() as u64)
        }
    }

    fn source(number: u32) -> Source {
        IpAddr::from(Ipv4Addr::from_bits(number)).into()
    }

    #[test]
    fn the_wait_grows_until_the_source_is_forgiven() {
        let world = world();
        for _ in 0..3 {
            assert_eq!(world.count(source(1)), None);
        }
        assert_eq!(world.count(source(1)), Some(1));
        assert_eq!(world.count(source(2)), None, "another source has done nothing");
        let mut waits = Vec::new();
        for _ in 0..10 {
            // As soon as one is forgiven, it fails again.
            let wait = world.failures.count(source(1)).expect("too many");
            waits.push(wait.as_secs_f64().round() as u64);
            world.pass(i64::try_from(wait.as_secs() + 1).expect("short"));
            while world.count(source(1)).is_none() {}
        }
        assert!(waits.is_sorted() && waits[9] == 300, "{waits:?}");
        world.pass(3_600);
        for _ in 0..3 {
            assert_eq!(world.count(source(1)), None);
        }
        assert_eq!(world.count(source(1)), Some(1), "it starts over");
    }

    #[test]
    fn whoever_fails_while_waiting_waits_no_longer() {
        let world = world();
        while world.count(source(1)).is_none() {}
        for _ in 0..100 {
            assert_eq!(world.count(source(1)), Some(1));
        }
    }

    #[test]
    fn many_sources_take_no_more_memory() {
        let world = world();
        for number in 0..(3 * MOST_SOURCES as u32) {
            world.count(source(number));
            assert!(world.failures.sources.lock().expect("lock").len() <= MOST_SOURCES);
        }
    }
}
