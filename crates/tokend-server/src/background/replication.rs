//! Warns when a failover could lose acknowledged changes: PostgreSQL has standbys, and COMMIT waits for none of them.
//!
//! The administrator of the database can change this at any time, so the job keeps looking.

use std::time::Duration;

use metrics::Gauge;
use tokend_store::{Replication, Store};
use tokio_util::sync::CancellationToken;

use super::supervisor::{BackgroundJob, JobError, Phase};
use crate::observability::metrics::Telemetry;

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(2);
/// The number of looks in a row that must find standbys without synchronous replication. Patroni first connects a
/// standby, which it does not promote, and makes it synchronous at its next look, which is 10 s later by default.
const LOOKS_UNTIL_WARNING: u32 = 6;

const GAUGE: &str = "tokend_asynchronous_standbys";

/// Looks at the replication of the database.
pub(crate) struct ReplicationJob {
    store: Store,
    asynchronous_standbys: Gauge,
    /// The number of looks in a row that found standbys without synchronous replication.
    looks: u32,
    /// Whether the last line in the log was the warning.
    has_warned: bool,
}

impl ReplicationJob {
    pub(crate) fn new(store: &Store, telemetry: &Telemetry) -> Self {
        Self {
            // Requests don't hold it up.
            store: store.reserved(),
            asynchronous_standbys: telemetry.gauge(
                GAUGE,
                "Standbys of PostgreSQL if COMMIT waits for none of them: a failover can lose acknowledged changes",
            ),
            looks: 0,
            has_warned: false,
        }
    }

    /// Looks once. Each change of the state is logged once.
    async fn look(&mut self) {
        // Readiness reports that the database does not answer.
        let Ok(replication) = self.store.replication().await else {
            return;
        };
        tracing::debug!(?replication, "looked at the replication of the database");
        let Replication::Asynchronous { standbys } = replication else {
            self.asynchronous_standbys.set(0);
            self.looks = 0;
            if self.has_warned {
                tracing::info!("no standby can be promoted any more that lacks acknowledged changes");
                self.has_warned = false;
            }
            return;
        };
        self.asynchronous_standbys.set(standbys);
        self.looks = self.looks.saturating_add(1);
        if self.looks >= LOOKS_UNTIL_WARNING && !self.has_warned {
            tracing::warn!(
                standbys,
                "asynchronous replication: PostgreSQL has standbys, and COMMIT waits for none of them, since \
                 synchronous_standby_names is empty or synchronous_commit is local. A failover loses every change that \
                 the promoted standby has not received, although it was acknowledged: tokens that were revoked work \
                 again, new ones are unknown. See docs/failover.md"
            );
            self.has_warned = true;
        }
    }
}

impl BackgroundJob for ReplicationJob {
    fn name(&self) -> &'static str {
        "replication"
    }

    fn phase(&self) -> Phase {
        Phase::BeforeDraining
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), JobError> {
        let work = async {
            loop {
                self.look().await;
                tokio::time::sleep(INTERVAL).await;
            }
        };
        stop.run_until_cancelled(work).await;
        Ok(())
    }
}
