use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use tokend_core::{clock::Clock, credential::CredentialId, time::Timestamp, usage::Usage};
use tokend_store::StoreError;
use tokio_util::sync::CancellationToken;

use super::MAX_TOKENS;
use crate::usecases::Context;

/// How long a use stays in memory, at most.
pub(super) const FLUSH_INTERVAL: Duration = Duration::from_secs(30);
/// Time between looks at the clock, which counts the time that the machine was suspended; the runtime's timers do not.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Tokens, or keys, in one transaction: few enough to be in nobody's way.
const IN_A_WRITE: usize = 256;
/// How long the last flush, at shutdown, may take.
const LAST_FLUSH: Duration = Duration::from_secs(2);

/// Writes down what the recorder noted.
pub(crate) struct Keeper {
    context: Arc<Context>,
    clock: Clock,
    tokens: Due<Usage>,
    keys: Due<Timestamp>,
    /// Whether the last flush failed: an outage is told once.
    is_failing: bool,
}

/// What is yet to be written: of an outage all of it, up to [`MAX_TOKENS`].
struct Due<V>(BTreeMap<CredentialId, V>);

impl Keeper {
    pub(crate) fn new(context: Arc<Context>, clock: Clock) -> Self {
        Self { context, clock, tokens: Due(BTreeMap::new()), keys: Due(BTreeMap::new()), is_failing: false }
    }

    /// Flushes until the last call has been answered, and then once more.
    pub(crate) async fn keep(mut self, drained: CancellationToken) {
        // What is cut off is written again: a batch may be written twice.
        drained.run_until_cancelled(self.keep_flushing()).await;
        if tokio::time::timeout(LAST_FLUSH, self.flush()).await.is_err() || self.due() > 0 {
            tracing::error!(
                credentials = self.due(),
                "the last uses of tokens and keys were not recorded before the end: they are lost"
            );
        }
    }

    async fn keep_flushing(&mut self) {
        let context = Arc::clone(&self.context);
        let mut last = self.clock.boot_time();
        loop {
            let is_early = tokio::select! {
                () = context.usage.fills_up() => true,
                () = tokio::time::sleep(LOOK_INTERVAL) => false,
            };
            let now = self.clock.boot_time();
            if is_early || now.saturating_since(last) >= FLUSH_INTERVAL {
                last = now;
                self.flush().await;
            }
        }
    }

    /// Takes what was noted, and writes down as much as the database takes. The rest stays due.
    async fn flush(&mut self) {
        self.gather();
        match self.write().await {
            Ok(()) if self.is_failing => tracing::info!("uses of tokens are recorded again"),
            Err(error) if !self.is_failing => {
                tracing::warn!(%error, "uses of tokens can't be recorded; they are kept, and tried again")
            }
            Ok(()) | Err(_) => {}
        }
        self.is_failing = self.due() > 0;
    }

    fn gather(&mut self) {
        let (recorder, catalog) = (&self.context.usage, &self.context.catalog);
        let mut dropped = 0;
        for (token, seen) in recorder.take_tokens().flatten() {
            let seen = seen.to_usage(catalog);
            dropped += self.tokens.add(token, seen, |due, seen| due.merge(&seen));
        }
        for (key, at) in recorder.take_keys().flatten() {
            dropped += self.keys.add(key, at, |due, at| *due = at.max(*due));
        }
        recorder.left_out(dropped);
    }

    /// Writes as much as the database takes. An outage ends the attempt.
    async fn write(&mut self) -> Result<(), StoreError> {
        let store = &self.context.store;
        let tokens = self.tokens.write(|batch| store.record_usage(batch)).await;
        if tokens.as_ref().is_err_and(is_outage) {
            return tokens;
        }
        tokens.and(self.keys.write(|batch| store.record_key_usage(batch)).await)
    }

    fn due(&self) -> usize {
        self.tokens.0.len() + self.keys.0.len()
    }
}

impl<V: Clone> Due<V> {
    /// Adds what was seen; how many were left out for lack of room.
    fn add(&mut self, id: CredentialId, seen: V, merge: impl FnOnce(&mut V, V)) -> usize {
        let is_full = self.0.len() >= MAX_TOKENS;
        match self.0.entry(id) {
            Entry::Occupied(mut due) => merge(due.get_mut(), seen),
            Entry::Vacant(_) if is_full => return 1,
            Entry::Vacant(place) => drop(place.insert(seen)),
        }
        0
    }

    /// Writes batch after batch, in the order of ids. One that the database refuses is in no other's way, but an outage is.
    async fn write<F: Future<Output = Result<(), StoreError>>>(
        &mut self,
        record: impl Fn(BTreeMap<CredentialId, V>) -> F,
    ) -> Result<(), StoreError> {
        let (mut after, mut outcome) = (Bound::Unbounded, Ok(()));
        loop {
            let batch = self.0.range((after, Bound::Unbounded)).take(IN_A_WRITE);
            let batch: BTreeMap<_, _> = batch.map(|(id, due)| (*id, due.clone())).collect();
            let Some(last) = batch.keys().next_back() else { return outcome };
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

const fn is_outage(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable { .. } | StoreError::Overloaded)
}
