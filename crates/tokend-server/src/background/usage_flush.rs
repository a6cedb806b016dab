//! Writes the uses of tokens and caller keys, which requests record in memory, to the database.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use tokend_core::{
    credential::CredentialId,
    time::{Clock, Timestamp},
    token::usage::Usage,
};
use tokend_store::StoreError;
use tokio_util::sync::CancellationToken;

use super::supervisor::{BackgroundJob, JobError, Phase};
use crate::{usage::MAX_TOKENS, usecases::Context};

/// The longest time that a use stays in memory.
const FLUSH_INTERVAL: Duration = Duration::from_secs(30);
/// The time between looks at the clock, which counts the time that the machine was suspended. The runtime's timers
/// don't.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// The number of tokens, or keys, in one transaction: few enough that other writes don't wait long.
const BATCH_SIZE: usize = 256;
/// The time for the last flush, at shutdown.
const LAST_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Flushes recorded uses every [`FLUSH_INTERVAL`], early if memory fills up, and once after the last request.
pub(crate) struct UsageFlushJob {
    context: Arc<Context>,
    clock: Clock,
    tokens: Pending<Usage>,
    keys: Pending<Timestamp>,
    /// Whether the last flush failed: an outage is logged once.
    is_failing: bool,
}

/// The uses that are not written yet. An outage leaves all of them here, up to [`MAX_TOKENS`].
struct Pending<V>(BTreeMap<CredentialId, V>);

impl UsageFlushJob {
    pub(crate) fn new(context: Arc<Context>, clock: Clock) -> Self {
        Self {
            context,
            clock,
            tokens: Pending(BTreeMap::new()),
            keys: Pending(BTreeMap::new()),
            is_failing: false,
        }
    }

    async fn keep_flushing(&mut self) {
        let context = Arc::clone(&self.context);
        let mut last = self.clock.schedule_time();
        loop {
            let is_early = tokio::select! {
                () = context.usage.fills_up() => true,
                () = tokio::time::sleep(LOOK_INTERVAL) => false,
            };
            let now = self.clock.schedule_time();
            if is_early || now.saturating_since(last) >= FLUSH_INTERVAL {
                last = now;
                self.flush().await;
            }
        }
    }

    /// Takes the recorded uses and writes as many as the database accepts. The rest stays pending.
    async fn flush(&mut self) {
        self.gather();
        match self.write().await {
            Ok(()) if self.is_failing => tracing::info!("uses of tokens are recorded again"),
            Err(error) if !self.is_failing => {
                tracing::warn!(%error, "uses of tokens can't be recorded; they are kept and retried")
            }
            Ok(()) | Err(_) => {}
        }
        self.is_failing = self.pending() > 0;
    }

    fn gather(&mut self) {
        let (recorder, catalog) = (&self.context.usage, &self.context.catalog);
        let mut dropped = 0;
        for (token, seen) in recorder.take_tokens().flatten() {
            let seen = seen.to_usage(catalog);
            dropped += self.tokens.add(token, seen, |pending, seen| pending.merge(&seen));
        }
        for (key, at) in recorder.take_keys().flatten() {
            dropped += self.keys.add(key, at, |pending, at| *pending = at.max(*pending));
        }
        recorder.count_dropped(dropped);
    }

    /// Writes as many uses as the database accepts. An outage ends the attempt.
    async fn write(&mut self) -> Result<(), StoreError> {
        let store = &self.context.store;
        let tokens = self.tokens.write(|batch| store.record_usage(batch)).await;
        if tokens.as_ref().is_err_and(is_outage) {
            return tokens;
        }
        tokens.and(self.keys.write(|batch| store.record_key_usage(batch)).await)
    }

    fn pending(&self) -> usize {
        self.tokens.0.len() + self.keys.0.len()
    }
}

impl<V: Clone> Pending<V> {
    /// Adds a use. Returns how many were dropped for lack of room: 0 or 1.
    fn add(&mut self, id: CredentialId, seen: V, merge: impl FnOnce(&mut V, V)) -> usize {
        let is_full = self.0.len() >= MAX_TOKENS;
        match self.0.entry(id) {
            Entry::Occupied(mut pending) => merge(pending.get_mut(), seen),
            Entry::Vacant(_) if is_full => return 1,
            Entry::Vacant(place) => drop(place.insert(seen)),
        }
        0
    }

    /// Writes batch after batch, in the order of ids. A batch that the database rejects does not stop the others; an
    /// outage does.
    async fn write<F: Future<Output = Result<(), StoreError>>>(
        &mut self,
        record: impl Fn(BTreeMap<CredentialId, V>) -> F,
    ) -> Result<(), StoreError> {
        let (mut after, mut outcome) = (Bound::Unbounded, Ok(()));
        loop {
            let batch = self.0.range((after, Bound::Unbounded)).take(BATCH_SIZE);
            let batch: BTreeMap<_, _> = batch.map(|(id, pending)| (*id, pending.clone())).collect();
            let Some(last) = batch.keys().next_back() else {
                return outcome;
            };
            after = Bound::Excluded(*last);
            let ids: Vec<_> = batch.keys().copied().collect();
            match record(batch).await {
                Ok(()) => ids.iter().for_each(|id| drop(self.0.remove(id))),
                Err(outage) if is_outage(&outage) => return Err(outage),
                Err(error) => outcome = Err(error),
            }
        }
    }
}

impl BackgroundJob for UsageFlushJob {
    fn name(&self) -> &'static str {
        "usage"
    }

    fn phase(&self) -> Phase {
        Phase::AfterDraining
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), JobError> {
        // A batch that is interrupted here is written again by the last flush.
        stop.run_until_cancelled(self.keep_flushing()).await;
        Ok(())
    }

    async fn finish(&mut self) {
        if tokio::time::timeout(LAST_FLUSH_TIMEOUT, self.flush()).await.is_err() || self.pending() > 0 {
            tracing::error!(
                credentials = self.pending(),
                "the last uses of tokens and keys could not be recorded in time and are lost"
            );
        }
    }
}

const fn is_outage(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable { .. } | StoreError::Overloaded)
}
