//! What operators see of memory and of those who watch.

use std::{sync::Arc, time::Duration};

use metrics::{Counter, Gauge};
use tokend_core::log_limit::LogLimit;
use tokio_util::sync::CancellationToken;

use super::{Shared, Verifier};
use crate::{
    background::supervisor::{BackgroundJob, JobError, Phase},
    observability::{metrics::Telemetry, striped::BusyCounter},
};

const LOOK_UPS: &str = "tokend_token_look_ups_total";

/// The time between two measurements.
const INTERVAL: Duration = Duration::from_secs(1);

/// The number of measurements between two looks for old entries of the feed.
const PURGE_EVERY: u32 = 60;

/// Counts where verdicts find their tokens.
#[derive(Clone)]
pub(crate) struct LookUpCounters {
    pub(super) memory: BusyCounter,
    pub(super) database: Counter,
}

impl LookUpCounters {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        telemetry.describe(
            LOOK_UPS,
            "Look-ups of tokens for verdicts, by where the token was found.",
        );
        Self {
            memory: telemetry.busy_counter(LOOK_UPS, Some(("source", "memory"))),
            database: telemetry.counter(LOOK_UPS, Some(("source", "database"))),
        }
    }
}

impl std::fmt::Debug for LookUpCounters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LookUpCounters")
    }
}

/// Measures memory, and purges old entries of the feed.
pub(crate) struct UpkeepJob {
    shared: Arc<Shared>,
    tokens: Gauge,
    bytes: Gauge,
    lease: Gauge,
    revision: Gauge,
    watchers: Gauge,
    failures: LogLimit,
}

impl UpkeepJob {
    pub(crate) fn new(verifier: &Verifier, telemetry: &Telemetry) -> Self {
        let gauge = |name, help| telemetry.gauge(name, help);
        Self {
            tokens: gauge("tokend_cached_tokens", "Tokens in memory."),
            bytes: gauge(
                "tokend_cached_token_bytes",
                "Bytes that the tokens in memory take, about.",
            ),
            lease: gauge(
                "tokend_lease_remaining_seconds",
                "How long verdicts may still come from memory without another answer from the database.",
            ),
            revision: gauge(
                "tokend_applied_revision",
                "The revision up to which changes are known here.",
            ),
            watchers: gauge("tokend_watchers", "Open Watch streams."),
            failures: LogLimit::new(verifier.shared.clock.clone()),
            shared: Arc::clone(&verifier.shared),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
    fn measure(&self) {
        let memory = &self.shared.memory;
        let (tokens, bytes) = memory.size();
        self.tokens.set(tokens as f64);
        self.bytes.set(bytes as f64);
        self.revision.set(memory.head().number as f64);
        self.watchers.set(memory.watchers.count() as f64);
        // In a process that keeps its memory up to date itself the lease does not end.
        let lease = memory.reading(None).map_or(Duration::ZERO, |reading| reading.lease);
        self.lease.set(lease.min(tokend_core::lease::Terms::MAX).as_secs_f64());
    }

    async fn purge(&self) {
        loop {
            match self.shared.store.purge_feed().await {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    if let Some(more) = self.failures.permit() {
                        tracing::warn!(%error, more, "old entries of the feed could not be purged; this is tried again");
                    }
                    return;
                }
            }
        }
    }
}

impl BackgroundJob for UpkeepJob {
    fn name(&self) -> &'static str {
        "memory_upkeep"
    }

    fn phase(&self) -> Phase {
        Phase::WhileDraining
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), JobError> {
        let work = async {
            loop {
                for _ in 0..PURGE_EVERY {
                    self.measure();
                    tokio::time::sleep(INTERVAL).await;
                }
                self.purge().await;
            }
        };
        stop.run_until_cancelled(work).await;
        Ok(())
    }
}
