//! Refused calls are recorded in the audit log, at a bounded rate for each caller.
//!
//! ```text
//! refused call --the caller had few events lately--> a separate event, stored before the call is answered
//!              --the caller had many events--------> a sum, stored as one event a minute for each caller
//! ```
//!
//! A caller that is refused repeatedly neither fills the audit log nor delays revocations: events are written in small
//! batches, one batch after the other, and other writes run in between.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokend_core::{
    audit::{Event, Origin},
    name::CallerId,
    time::{Clock, ScheduleTime},
};
use tokend_store::{Store, StoreError, WriteTx};
use tokio_util::sync::CancellationToken;

use crate::observability::counters::RefusedCalls;

/// The number of refused calls of one caller that get separate events in a burst.
const BURST: f64 = 100.0;
/// The number of further refused calls of one caller per second that get separate events.
const PER_SECOND: f64 = 1.0 / 6.0;
/// The time between two sums of the same caller.
const SUM_INTERVAL: Duration = Duration::from_secs(60);
/// The maximum number of events in one write, for which other writes wait.
const IN_A_WRITE: usize = 16;
/// The maximum number of events that wait to be written. Further calls are added to sums.
const MAX_WAITING: usize = 256;
/// The maximum number of kinds of refusals that a sum counts separately.
const MAX_KINDS: usize = 16;

/// Records refused calls.
pub(crate) struct Recorder {
    store: Store,
    tally: RefusedCalls,
    clock: Clock,
    state: Mutex<State>,
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Event>,
    callers: HashMap<CallerId, OfCaller>,
}

/// The recent events of a caller.
struct OfCaller {
    /// The level of a leaky bucket that counts them.
    level: f64,
    seen: ScheduleTime,
    sum: Option<Sum>,
}

/// The refused calls of one caller without separate events.
struct Sum {
    /// The event of the last of these calls.
    last: Event,
    calls: u64,
    /// The number of calls by method and reason.
    kinds: BTreeMap<(String, String), u64>,
}

impl Recorder {
    pub(crate) fn new(store: Store, tally: RefusedCalls, clock: Clock) -> Self {
        Self {
            store,
            tally,
            clock,
            state: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) const fn tally(&self) -> &RefusedCalls {
        &self.tally
    }

    /// Records a refused call. Returns when its event is stored, is added to a sum, or could not be stored.
    pub(crate) async fn record(self: Arc<Self>, event: Event) {
        if self.state().add(event, self.clock.schedule_time()) {
            // In a separate task, so that the call is recorded even if the client hangs up.
            let _ = tokio::spawn(async move { self.write_some().await }).await;
        }
    }

    /// Writes the sums every minute until `stop`.
    pub(crate) async fn keep(&self, stop: &CancellationToken) {
        while stop
            .run_until_cancelled(tokio::time::sleep(SUM_INTERVAL))
            .await
            .is_some()
        {
            self.write_sums().await;
        }
    }

    /// Writes the events that have waited longest. Each queued call calls this once, so that its event is stored when
    /// this returns.
    async fn write_some(&self) {
        let _turn = self.writing.lock().await;
        let events: Vec<_> = {
            let waiting = &mut self.state().waiting;
            let count = waiting.len().min(IN_A_WRITE);
            waiting.drain(..count).collect()
        };
        self.write(events).await;
    }

    pub(crate) async fn write_sums(&self) {
        let sums = self.state().take_sums(self.clock.schedule_time());
        for some in sums.chunks(IN_A_WRITE) {
            let _turn = self.writing.lock().await;
            self.write(some.to_vec()).await;
        }
    }

    async fn write(&self, events: Vec<Event>) {
        let count = events.len() as u64;
        if count == 0 {
            return;
        }
        let append = async move |tx: &WriteTx| {
            for event in events {
                tx.append_event(event);
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = self.store.write(append).await {
            self.tally.not_recorded(count, &error);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Queues an event, or adds it to its caller's sum. Returns whether it was queued.
    fn add(&mut self, event: Event, now: ScheduleTime) -> bool {
        // Calls without an authenticated caller are not recorded.
        let Some(caller) = event.origin.caller.clone() else {
            return false;
        };
        let of_caller = self.callers.entry(caller).or_insert(OfCaller {
            level: 0.0,
            seen: now,
            sum: None,
        });
        of_caller.leak(now);
        if of_caller.level + 1.0 > BURST || self.waiting.len() >= MAX_WAITING {
            of_caller.add(event);
            return false;
        }
        of_caller.level += 1.0;
        self.waiting.push(event);
        true
    }

    /// Returns an event for each caller that has a sum, and removes callers that were not refused lately.
    fn take_sums(&mut self, now: ScheduleTime) -> Vec<Event> {
        let sums = self
            .callers
            .values_mut()
            .filter_map(|of_caller| of_caller.sum.take())
            .map(Sum::into_event)
            .collect();
        self.callers.retain(|_, of_caller| {
            of_caller.leak(now);
            of_caller.level > 0.0
        });
        sums
    }
}

impl OfCaller {
    fn leak(&mut self, now: ScheduleTime) {
        self.level = (self.level - now.saturating_since(self.seen).as_secs_f64() * PER_SECOND).max(0.0);
        self.seen = now;
    }

    fn add(&mut self, event: Event) {
        let kind = (event.detail.clone(), event.reason.clone());
        let sum = self.sum.get_or_insert_with(|| Sum {
            last: event.clone(),
            calls: 0,
            kinds: BTreeMap::new(),
        });
        sum.calls += 1;
        sum.last = event;
        if sum.kinds.len() < MAX_KINDS || sum.kinds.contains_key(&kind) {
            *sum.kinds.entry(kind).or_default() += 1;
        }
    }
}

impl Sum {
    /// Returns the event. Its reason is the most frequent one, and its detail counts the calls by method and reason.
    fn into_event(self) -> Event {
        let Self { last, calls, kinds } = self;
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let told: u64 = kinds.iter().map(|(_, count)| count).sum();
        let counts: Vec<_> = kinds
            .iter()
            .map(|((method, reason), count)| format!("{count} {method} {reason}"))
            .collect();
        let others = if told < calls {
            format!(", {} others", calls - told)
        } else {
            String::new()
        };
        let reason = kinds
            .into_iter()
            .next()
            .map(|((_, reason), _)| reason)
            .unwrap_or_default();
        let origin = Origin {
            actor: None,
            ..last.origin
        };
        let detail = format!("{calls} more calls were refused: {}{others}", counts.join(", "));
        Event {
            origin,
            resource: String::new(),
            reason,
            detail,
            ..last
        }
    }
}

#[cfg(test)]
mod tests {
    use tokend_core::audit::{Chain, EventType, Outcome, RowAfter};

    use super::*;

    fn refused(caller: &str, method: &str) -> Event {
        Event {
            chain: Chain::Installation,
            kind: EventType::CallRefused,
            origin: Origin {
                caller: Some(caller.parse().expect("an id")),
                ..Default::default()
            },
            resource: "workspaces/acme".to_owned(),
            outcome: Outcome::Refused,
            reason: "TOKEN_NOT_FOUND".to_owned(),
            detail: method.to_owned(),
            row: RowAfter::None,
        }
    }

    #[test]
    fn calls_beyond_a_callers_rate_are_summed_up() {
        let now = Clock::system().schedule_time();
        let mut state = State::default();
        let mut events = 0;
        for _ in 0..1_000 {
            events += usize::from(state.add(refused("loud", "TokenAdmin/GetToken"), now));
            state.waiting.clear();
        }
        assert!(!state.add(refused("loud", "TokenAdmin/RevokeToken"), now));
        assert_eq!(events, 100);
        assert!(
            state.add(refused("quiet", "TokenAdmin/GetToken"), now),
            "another caller has a separate rate"
        );
        let sums = state.take_sums(now);
        let [sum] = sums.as_slice() else { panic!("{sums:?}") };
        assert_eq!((sum.reason.as_str(), sum.resource.as_str()), ("TOKEN_NOT_FOUND", ""));
        let expected = "901 more calls were refused: 900 TokenAdmin/GetToken TOKEN_NOT_FOUND, \
                        1 TokenAdmin/RevokeToken TOKEN_NOT_FOUND";
        assert_eq!(sum.detail, expected);
        assert!(state.take_sums(now).is_empty(), "the sums were taken");
    }

    #[test]
    fn calls_beyond_the_queue_are_summed_up() {
        let now = Clock::system().schedule_time();
        let mut state = State::default();
        for number in 0..2 * MAX_WAITING {
            state.add(refused(&format!("caller-{}", number % 50), "TokenAdmin/GetToken"), now);
        }
        assert_eq!(state.waiting.len(), MAX_WAITING);
        let summed: usize = state
            .take_sums(now)
            .iter()
            .filter_map(|sum| sum.detail.split(' ').next()?.parse::<usize>().ok())
            .sum();
        assert_eq!(summed, MAX_WAITING, "no call is lost");
    }

    #[test]
    fn a_sum_counts_a_limited_number_of_kinds() {
        let now = Clock::system().schedule_time();
        let mut state = State::default();
        for number in 0..1_000 {
            state.add(refused("loud", &format!("Method/{}", number % 40)), now);
            state.waiting.clear();
        }
        let sums = state.take_sums(now);
        assert!(
            sums[0].detail.starts_with("900 more") && sums[0].detail.ends_with(" others"),
            "{}",
            sums[0].detail
        );
        assert_eq!(sums[0].detail.matches("Method/").count(), MAX_KINDS);
    }
}
