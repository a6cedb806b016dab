use std::{collections::BTreeMap, ops::Bound, sync::Arc, time::Duration};

use tokend_core::{clock::Clock, credential::CredentialId, usage::Usage};
use tokend_store::StoreError;
use tokio_util::sync::CancellationToken;

use super::MAX_TOKENS;
use crate::usecases::Context;

/// How long a use stays in memory, at most.
pub(super) const FLUSH_INTERVAL: Duration = Duration::from_secs(30);
/// Time between looks at the clock, which counts the time that the machine was suspended; the runtime's timers do not.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Tokens in one transaction: few enough to be in nobody's way.
const IN_A_WRITE: usize = 256;
/// How long the last flush, at shutdown, may take.
const LAST_FLUSH: Duration = Duration::from_secs(2);

/// Writes down what the recorder noted.
pub(crate) struct Keeper {
    context: Arc<Context>,
    clock: Clock,
    /// What is yet to be written: of an outage all of it, up to [`MAX_TOKENS`].
    due: BTreeMap<CredentialId, Usage>,
    /// Whether the last flush failed: an outage is told once.
    is_failing: bool,
}

impl Keeper {
    pub(crate) fn new(context: Arc<Context>, clock: Clock) -> Self {
        Self { context, clock, due: BTreeMap::new(), is_failing: false }
    }

    /// Flushes until the last call has been answered, and then once more.
    pub(crate) async fn keep(mut self, drained: CancellationToken) {
        // What is cut off is written again: a batch may be written twice.
        drained.run_until_cancelled(self.keep_flushing()).await;
        if tokio::time::timeout(LAST_FLUSH, self.flush()).await.is_err() || !self.due.is_empty() {
            tracing::error!(tokens = self.due.len(), "the last uses of tokens were not recorded before the end: they are lost");
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
        self.is_failing = !self.due.is_empty();
    }

    fn gather(&mut self) {
        let mut dropped = 0;
        for (token, seen) in self.context.usage.take().flatten() {
            let is_full = self.due.len() >= MAX_TOKENS;
            match self.due.get_mut(&token) {
                Some(due) => due.merge(&seen.to_usage(&self.context.catalog)),
                None if is_full => dropped += 1,
                None => {
                    self.due.insert(token, seen.to_usage(&self.context.catalog));
                }
            }
        }
        self.context.usage.drop(dropped);
    }

    /// Writes batch after batch, in the order of ids. One that the database refuses is in no other's way; an outage ends the attempt.
    async fn write(&mut self) -> Result<(), StoreError> {
        let (mut after, mut outcome) = (Bound::Unbounded, Ok(()));
        loop {
            let batch: BTreeMap<_, _> = self.due.range((after, Bound::Unbounded)).take(IN_A_WRITE).map(owned).collect();
            let Some(last) = batch.keys().next_back() else { return outcome };
            after = Bound::Excluded(*last);
            match self.context.store.record_usage(batch.clone()).await {
                Ok(()) => batch.keys().for_each(|token| drop(self.due.remove(token))),
                Err(error @ (StoreError::Unavailable { .. } | StoreError::Overloaded)) => return Err(error),
                Err(error) => outcome = Err(error),
            }
        }
    }
}

fn owned((token, usage): (&CredentialId, &Usage)) -> (CredentialId, Usage) {
    (*token, usage.clone())
}
