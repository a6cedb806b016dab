use std::time::Duration;

use tokend_core::clock::{BootTime, Clock};

/// Time between looks at the clock: boot time counts while a machine is suspended, and the runtime's timers don't.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Something that is done again and again, with this much time from one beginning to the next.
pub(crate) struct Pace {
    clock: Clock,
    interval: Duration,
    last: Option<BootTime>,
}

impl Pace {
    pub(crate) const fn new(clock: Clock, interval: Duration) -> Self {
        Self { clock, interval, last: None }
    }

    /// Waits until it is time: at first it is at once.
    pub(crate) async fn next(&mut self) {
        while !self.is_due() {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        self.last = Some(self.clock.boot_time());
    }

    fn is_due(&self) -> bool {
        let now = self.clock.boot_time();
        // A clock that tests set back has moved, too.
        self.last.is_none_or(|last| now < last || now.saturating_since(last) >= self.interval)
    }
}
