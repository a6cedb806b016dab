//! Keeps memory up to date: polls the feed of a PostgreSQL database, and learns of this process's own changes to a SQLite
//! database.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokend_core::{
    feed::FeedEntry,
    log_limit::LogLimit,
    rule::{self, Rule},
};
use tokend_store::CommitObserver;
use tokio_util::sync::CancellationToken;

use super::{Shared, Verifier, memory::Applied};
use crate::background::supervisor::{BackgroundJob, JobError, Phase};

/// A revision that no entry comes after, for a poll that reads only the head.
pub(super) const HEAD_ONLY: u64 = i64::MAX.unsigned_abs();

/// The number of polls during a lease (L1).
const POLLS_PER_LEASE: u32 = 10;

/// The time between polls before the first one has told how long a lease is.
const FIRST_INTERVAL: Duration = Duration::from_millis(50);

/// How long a poll may take at least before it is given up. Its answer is never applied (L1).
const MIN_PATIENCE: Duration = Duration::from_millis(500);

/// Polls the feed for as long as the server serves.
pub(crate) struct FollowFeedJob {
    shared: Arc<Shared>,
    interval: Duration,
    patience: Duration,
    has_polled: bool,
    failures: LogLimit,
}

impl FollowFeedJob {
    /// Creates the job, if memory is kept up to date by polling.
    pub(crate) fn new(verifier: &Verifier) -> Option<Self> {
        let shared = Arc::clone(&verifier.shared);
        (!shared.store.is_sqlite()).then(|| Self {
            failures: LogLimit::new(shared.clock.clone()),
            shared,
            interval: FIRST_INTERVAL,
            patience: MIN_PATIENCE,
            has_polled: false,
        })
    }

    /// Polls once, and returns how long to pause before the next poll.
    async fn poll(&mut self) -> Duration {
        let asked = self.shared.clock.boot_time();
        let known = self.shared.memory.head();
        let after = if self.has_polled { known.number } else { HEAD_ONLY };
        let store = self.shared.store.feed();
        let page = match tokio::time::timeout(self.patience, store.poll_feed(after)).await {
            Ok(Ok(page)) => page,
            Ok(Err(error)) => return self.failed(&error),
            Err(_) => return self.failed(&format_args!("no answer within {:?}", self.patience)),
        };
        self.has_polled = true;
        self.shared.time.adjust(asked, page.reported_time);
        self.interval = page.terms.grant / POLLS_PER_LEASE;
        self.patience = page.terms.grant.max(MIN_PATIENCE);
        let asked = if rule::is_kept(Rule::LeaseFromPollStart) {
            asked
        } else {
            self.shared.clock.boot_time()
        };
        match self.shared.memory.apply(asked, &page) {
            Applied::More => Duration::ZERO,
            Applied::UpToDate => {
                let took = self.shared.clock.boot_time().saturating_since(asked);
                self.interval.saturating_sub(took)
            }
            Applied::Emptied => {
                tracing::info!(
                    epoch = page.head.epoch,
                    revision = page.head.number,
                    "memory is empty and begins to fill: the database's epoch is new to this server, or it was too far behind"
                );
                self.interval
            }
            Applied::WentBack => {
                self.shared.is_stopped.store(true, Ordering::Release);
                tracing::error!(
                    known = known.number,
                    found = page.head.number,
                    "the database has gone back to an older state in the same epoch; this server gives no more verdicts. \
                     If a backup was put back, run `tokend restore`, then restart the server"
                );
                self.interval
            }
        }
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> Duration {
        if let Some(more) = self.failures.permit() {
            tracing::warn!(%error, more, "the feed could not be read; when the lease ends, every verdict reads the database");
        }
        self.interval
    }
}

impl BackgroundJob for FollowFeedJob {
    fn name(&self) -> &'static str {
        "follow_feed"
    }

    fn phase(&self) -> Phase {
        Phase::AfterDraining
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), JobError> {
        let work = async {
            while !self.shared.is_stopped.load(Ordering::Acquire) {
                let pause = self.poll().await;
                tokio::time::sleep(pause).await;
            }
            // No lease is renewed any more.
            stop.cancelled().await;
        };
        stop.run_until_cancelled(work).await;
        Ok(())
    }
}

impl CommitObserver for Shared {
    fn committed(&self, entry: &FeedEntry, is_acknowledged: bool) {
        self.memory.apply_own(entry, is_acknowledged);
    }
}
