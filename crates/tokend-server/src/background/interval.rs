use std::time::Duration;

use tokend_core::time::{Clock, ScheduleTime};

/// The time between looks at the clock. The runtime's timers stand still while a machine is suspended; boot time does
/// not.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A period in schedule time, measured from the start of one piece of work to the start of the next.
pub(crate) struct Interval {
    clock: Clock,
    period: Duration,
    last: Option<ScheduleTime>,
}

impl Interval {
    pub(crate) const fn new(clock: Clock, period: Duration) -> Self {
        Self {
            clock,
            period,
            last: None,
        }
    }

    /// Waits until the next piece of work is due. The first is due at once.
    pub(crate) async fn tick(&mut self) {
        while !self.is_due() {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        self.last = Some(self.clock.schedule_time());
    }

    fn is_due(&self) -> bool {
        let now = self.clock.schedule_time();
        // `now < last`: a test has set the clock back.
        self.last
            .is_none_or(|last| now < last || now.saturating_since(last) >= self.period)
    }
}
