//! Those who ask, create and revoke while the database restarts.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokend_client::Client;
use tokend_core::time::{BootTime, Clock};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::super::{
    Bench,
    calls::{Times, Token, create_token, revoke},
    endpoint::{Endpoint, Verdict, Wrong},
};

/// The pause between the questions to an endpoint, and between the changes of a writer.
const PAUSE: Duration = Duration::from_millis(4);
const WRITE_PAUSE: Duration = Duration::from_millis(50);

/// The most revoked tokens to ask about. The oldest ones are left out.
const MOST_REVOKED: usize = 400;

/// Failures that are described.
const DESCRIBED: usize = 3;

/// What was asked and answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) verdicts: u64,
    pub(super) unavailable: u64,
    /// Neither a verdict nor UNAVAILABLE.
    pub(super) failed: u64,
    pub(super) failures: Vec<String>,
    pub(super) revocations: u64,
    pub(super) longest_outage: Duration,
    /// By how much an outage was longer than the database's.
    pub(super) longest_excess: Duration,
}

/// The clients, which share this.
pub(super) struct Clients {
    clock: Clock,
    endpoints: Vec<Endpoint>,
    living: Vec<Token>,
    wrong: Wrong,
    state: Mutex<State>,
}

struct State {
    revoked: Vec<Token>,
    asked: Asked,
    each: Vec<Health>,
}

/// How an endpoint does.
#[derive(Clone, Copy, Debug, Default)]
struct Health {
    last_verdict: Option<BootTime>,
    /// When the last answer without a verdict arrived.
    last_failure: Option<BootTime>,
    /// When the first question without a verdict of this restart was sent, and when the last such answer arrived.
    outage: Option<(BootTime, BootTime)>,
}

impl Clients {
    pub(super) fn new(
        bench: &Bench,
        endpoints: Vec<Endpoint>,
        living: Vec<Token>,
        revoked: Vec<Token>,
        wrong: &Wrong,
    ) -> Self {
        let each = vec![Health::default(); endpoints.len()];
        Self {
            clock: bench.clock.clone(),
            endpoints,
            living,
            wrong: wrong.clone(),
            state: Mutex::new(State {
                revoked,
                asked: Asked::default(),
                each,
            }),
        }
    }

    pub(super) const fn endpoints(&self) -> usize {
        self.endpoints.len()
    }

    pub(super) fn asked(&self) -> Asked {
        self.state().asked.clone()
    }

    /// Asks an endpoint about a living and a revoked token in turn, until it is stopped.
    pub(super) async fn ask(self: Arc<Self>, index: usize, stop: CancellationToken) {
        let mut number = index;
        while !stop.is_cancelled() {
            number += 1;
            let living = &self.living[number % self.living.len()];
            self.judge(index, living, true).await;
            let revoked = {
                let state = self.state();
                state.revoked[number % state.revoked.len()].clone()
            };
            self.judge(index, &revoked, false).await;
            sleep(PAUSE).await;
        }
    }

    /// Creates tokens and revokes them, until it is stopped. What fails is tried again: only an answer is a promise.
    pub(super) async fn write(self: Arc<Self>, client: Client, stop: CancellationToken) {
        while !stop.is_cancelled() {
            sleep(WRITE_PAUSE).await;
            let Ok(token) = create_token(&client).await else {
                continue;
            };
            for index in 0..self.endpoints.len() {
                self.judge(index, &token, true).await;
            }
            while !stop.is_cancelled() {
                if revoke(&client, &self.clock, &token, false).await.is_err() {
                    sleep(WRITE_PAUSE).await;
                    continue;
                }
                for index in 0..self.endpoints.len() {
                    self.judge(index, &token, false).await;
                }
                let mut state = self.state();
                state.asked.revocations += 1;
                state.revoked.push(token);
                if state.revoked.len() > MOST_REVOKED {
                    state.revoked.remove(0);
                }
                break;
            }
        }
    }

    /// Asks once, and records the answer.
    async fn judge(&self, index: usize, token: &Token, is_living: bool) {
        let endpoint = &self.endpoints[index];
        let (verdict, times) = endpoint.ask(&self.clock, token).await;
        match (&verdict, is_living) {
            (Verdict::Allow, false) => self.wrong.allowed(endpoint, token, times.sent),
            (Verdict::Deny(reason), true) => self.wrong.denied(endpoint, token, *reason),
            _ => {}
        }
        self.state().record(index, verdict, times);
    }

    /// Begins to look for the outages of one restart.
    pub(super) fn begin_restart(&self) {
        for health in &mut self.state().each {
            health.outage = None;
        }
    }

    /// Records the outages of a restart during which the database did not answer for `down`.
    pub(super) fn end_restart(&self, down: Duration) {
        let State { asked, each, .. } = &mut *self.state();
        for (first, last) in each.iter().filter_map(|health| health.outage) {
            let outage = last.saturating_since(first);
            asked.longest_outage = asked.longest_outage.max(outage);
            asked.longest_excess = asked.longest_excess.max(outage.saturating_sub(down));
        }
    }

    /// Returns whether every endpoint has given a verdict, and no other answer, for this span and since `begin`.
    pub(super) fn is_quiet(&self, begin: BootTime, span: Duration) -> bool {
        let now = self.clock.boot_time();
        let is_long_ago = |time: BootTime| now.saturating_since(time) > span;
        is_long_ago(begin)
            && self.state().each.iter().all(|health| {
                health.last_verdict.is_some_and(|verdict| verdict > begin)
                    && health.last_failure.is_none_or(is_long_ago)
            })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn record(&mut self, index: usize, verdict: Verdict, times: Times) {
        let (asked, health) = (&mut self.asked, &mut self.each[index]);
        match verdict {
            Verdict::Allow | Verdict::Deny(_) => {
                asked.verdicts += 1;
                health.last_verdict = Some(times.answered);
                return;
            }
            Verdict::Unavailable => asked.unavailable += 1,
            Verdict::Failed(failure) => {
                asked.failed += 1;
                if asked.failures.len() < DESCRIBED {
                    asked.failures.push(failure);
                }
            }
        }
        health.last_failure = Some(times.answered);
        let (first, _) = health.outage.unwrap_or((times.sent, times.sent));
        health.outage = Some((first, times.answered));
    }
}
