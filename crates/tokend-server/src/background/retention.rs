//! Purges tokens that ended long enough ago.
//!
//! ```text
//! tokens whose end is recorded, by an index -> a write for a few of one workspace -> the core decides -> purge, change
//! ```
//!
//! The index only yields candidates. The write reads the token's row again under its workspace's lock and verifies its
//! MAC. A row that fails verification stays, and so does a token that works, whatever the index says.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use metrics::Counter;
use tokend_core::{
    credential::CredentialId,
    name::{TokenName, WorkspaceId},
    time::{Clock, Timestamp},
    token::retention::Ended,
};
use tokend_store::{EndCause, Job, Store, StoreError, WorkspaceWithPolicy, WriteTx};
use tokio_util::sync::CancellationToken;

use crate::{
    background::batch_runner::{PAGE_SIZE, Progress, run_batches},
    background::interval::Interval,
    background::supervisor::{BackgroundJob, JobError, Phase},
    observability::metrics::Telemetry,
};

/// The default time for which tokens are kept after they have ended: 90 days.
pub const DEFAULT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The time between two runs.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

const PURGED: &str = "tokend_purged_tokens_total";

/// Purges tokens every hour.
pub(crate) struct RetentionJob {
    store: Store,
    clock: Clock,
    retention: Duration,
    purged: Counter,
}

impl RetentionJob {
    pub(crate) fn new(store: Store, clock: Clock, retention: Duration, telemetry: &Telemetry) -> Self {
        telemetry.describe(PURGED, "Tokens that were purged because their retention time was over.");
        Self {
            store,
            clock,
            retention,
            purged: telemetry.counter(PURGED, None),
        }
    }
}

impl BackgroundJob for RetentionJob {
    fn name(&self) -> &'static str {
        "token_retention"
    }

    fn phase(&self) -> Phase {
        Phase::WhileDraining
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), JobError> {
        let mut interval = Interval::new(self.clock.clone(), INTERVAL);
        let work = async {
            loop {
                interval.tick().await;
                match purge(&self.store, self.retention).await {
                    Ok(0) => {}
                    Ok(tokens) => {
                        self.purged.increment(tokens);
                        tracing::info!(tokens, "tokens were purged after their retention time");
                    }
                    Err(error) => tracing::error!(%error, "tokens could not be purged; the next attempt is in an hour"),
                }
            }
        };
        stop.run_until_cancelled(work).await;
        Ok(())
    }
}

/// Purges the tokens whose end was recorded at least `retention` ago, unless another server does. Returns their number.
///
/// # Errors
/// [`StoreError`]. Tokens that were purged before it stay purged.
pub async fn purge(store: &Store, retention: Duration) -> Result<u64, StoreError> {
    let purge = Purge {
        store,
        retention,
        purged: AtomicU64::new(0),
    };
    // If another server holds the job's lock, that one purges the rest.
    let (Progress::Done | Progress::OtherServer) = purge.all().await?;
    Ok(purge.purged.into_inner())
}

/// A purge under way.
struct Purge<'a> {
    store: &'a Store,
    retention: Duration,
    purged: AtomicU64,
}

impl Purge<'_> {
    async fn all(&self) -> Result<Progress, StoreError> {
        let micros = i64::try_from(self.retention.as_micros()).unwrap_or(i64::MAX);
        let until = self.store.now().await?.saturating_add_micros(-micros);
        for by in [EndCause::Revocation, EndCause::Expiry] {
            if self.purge_ended(by, until).await? == Progress::OtherServer {
                return Ok(Progress::OtherServer);
            }
        }
        let mut after = None;
        loop {
            let deleted = self.store.deleted_workspaces(until, after, PAGE_SIZE).await?;
            let Some(last) = deleted.last().cloned() else {
                return Ok(Progress::Done);
            };
            for workspace in deleted {
                if self.purge_ended(EndCause::DeletionOf(workspace), until).await? == Progress::OtherServer {
                    return Ok(Progress::OtherServer);
                }
            }
            after = Some(last);
        }
    }

    async fn purge_ended(&self, by: EndCause, until: Timestamp) -> Result<Progress, StoreError> {
        let page = |after| self.store.ended_tokens(by.clone(), until, after, PAGE_SIZE);
        run_batches(page, |workspace, tokens| self.purge_batch(workspace, tokens)).await
    }

    /// Purges those of a few tokens of a workspace that may be purged, in one write.
    async fn purge_batch(&self, workspace: WorkspaceId, tokens: Vec<CredentialId>) -> Result<Progress, StoreError> {
        let retention = self.retention;
        let work = async move |tx: &WriteTx| {
            if !tx.try_lock_job(Job::Retention).await? {
                return Ok(None);
            }
            let Some(workspace) = tx.lock_workspace(&workspace).await? else {
                return Ok(Some(0));
            };
            let mut purged = 0;
            for id in tokens {
                match purge_one(tx, &workspace, id, retention).await {
                    Ok(was_purged) => purged += u64::from(was_purged),
                    Err(NotPurged::Unverified(error)) => {
                        tracing::error!(%error, "a token is not purged, because it can't be verified")
                    }
                    Err(NotPurged::Failed(error)) => return Err(error),
                }
            }
            Ok(Some(purged))
        };
        let purged = self.store.write::<_, StoreError, _>(work).await?;
        let Some(purged) = purged else {
            return Ok(Progress::OtherServer);
        };
        self.purged.fetch_add(purged, Ordering::Relaxed);
        Ok(Progress::Done)
    }
}

/// Why a token was not purged.
enum NotPurged {
    /// Its row or its notice state fails verification.
    Unverified(StoreError),
    Failed(StoreError),
}

/// Purges a token if it may be purged. Returns whether it did.
async fn purge_one(
    tx: &WriteTx,
    workspace: &WorkspaceWithPolicy,
    id: CredentialId,
    retention: Duration,
) -> Result<bool, NotPurged> {
    let name = TokenName {
        workspace: workspace.id.clone(),
        id,
    };
    let read = async {
        Ok((
            tx.token(&name).await?,
            tx.notice_state(id).await?.and_then(|noted| noted.end_time),
        ))
    };
    let (Some(token), expiry_recorded) = read.await.map_err(NotPurged::of_a_row)? else {
        return Ok(false);
    };
    let ended = Ended {
        token: &token,
        token_context: workspace.token_context(),
        expiry_recorded,
    };
    let Some(recorded) = ended.recorded() else {
        return Ok(false);
    };
    let now = tx.now().await.map_err(NotPurged::Failed)?;
    if !ended.may_be_purged(retention, now) || !tx.purge_token(&token, recorded).await.map_err(NotPurged::Failed)? {
        return Ok(false);
    }
    Ok(true)
}

impl NotPurged {
    fn of_a_row(error: StoreError) -> Self {
        match error {
            StoreError::Tampered { .. } | StoreError::Corrupt { .. } => Self::Unverified(error),
            error => Self::Failed(error),
        }
    }
}
