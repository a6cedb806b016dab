use std::time::Duration;

use tokend_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use super::supervisor::{BackgroundJob, JobError, Phase};

/// The time between runs.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Deletes records of the audit log that are older than the retention time.
pub(crate) struct AuditRetentionJob {
    store: Store,
    retention: Duration,
}

impl AuditRetentionJob {
    pub(crate) const fn new(store: Store, retention: Duration) -> Self {
        Self { store, retention }
    }

    async fn delete_old_records(&self) -> Result<u64, StoreError> {
        let micros = i64::try_from(self.retention.as_micros()).unwrap_or(i64::MAX);
        let keep_since = self.store.now().await?.saturating_add_micros(-micros);
        self.store.truncate_audit(keep_since).await
    }
}

impl BackgroundJob for AuditRetentionJob {
    fn name(&self) -> &'static str {
        "audit_retention"
    }

    fn phase(&self) -> Phase {
        Phase::WhileDraining
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), JobError> {
        let work = async {
            loop {
                match self.delete_old_records().await {
                    Ok(0) => {}
                    Ok(chains) => tracing::info!(chains, "old records of the audit log were deleted"),
                    Err(error) => tracing::error!(%error, "old records of the audit log could not be deleted"),
                }
                tokio::time::sleep(INTERVAL).await;
            }
        };
        stop.run_until_cancelled(work).await;
        Ok(())
    }
}
