//! hyper's clock for one connection: it is read once each time the connection is polled.
//!
//! hyper asks for the time at every frame, several times in a call, so that it knows when a keepalive PING is due. All
//! frames that one poll reads have arrived when it begins.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};
use hyper_util::rt::TokioTimer;

/// The time when a connection was last polled, and tokio's timers. Clones are the same clock.
#[derive(Clone, Debug)]
pub(super) struct PollClock(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    start: Instant,
    nanos_since_start: AtomicU64,
    timer: TokioTimer,
}

impl PollClock {
    pub(super) fn new() -> Self {
        let timer = TokioTimer::new();
        Self(Arc::new(Shared {
            start: timer.now(),
            nanos_since_start: AtomicU64::new(0),
            timer,
        }))
    }

    /// Reads the time. Call it before the connection is polled.
    pub(super) fn read(&self) {
        let since_start = self.0.timer.now().saturating_duration_since(self.0.start);
        let nanos = u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX);
        self.0.nanos_since_start.store(nanos, Ordering::Relaxed);
    }
}

impl Timer for PollClock {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.0.timer.sleep(duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.0.timer.sleep_until(deadline)
    }

    fn now(&self) -> Instant {
        self.0.start + Duration::from_nanos(self.0.nanos_since_start.load(Ordering::Relaxed))
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, new_deadline: Instant) {
        self.0.timer.reset(sleep, new_deadline);
    }
}
