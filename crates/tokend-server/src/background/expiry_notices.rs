//! Records notices that tokens expire soon, and that they have expired.
//!
//! ```text
//! due tokens, by an index -> a write for a few of one workspace -> the core decides what is due -> state, changes
//! ```
//!
//! Each token stores when its next notice is due. A policy that is applied to existing tokens moves that time for any
//! number of them: it puts their workspaces on a list, and this job plans these workspaces first.
//!
//! A notice and the token's new notice state are stored in one transaction, by a conditional update. So each notice is
//! recorded once, whichever servers run and however they stop. One server at a time does this work, which only saves
//! effort. However many tokens expire at once, each write handles a few, and other writes to the workspace come in
//! between.

use std::time::Duration;

use metrics::{Counter, Gauge};
use tokend_core::{
    change::Change,
    credential::CredentialId,
    name::{TokenName, WorkspaceId},
    time::{Clock, Timestamp},
    token::expiry_notice::ExpiryNotice,
    token::{Token, TokenContext},
};
use tokend_store::{Job, NoticeState, Store, StoreError, WriteTx};
use tokio_util::sync::CancellationToken;

use crate::{
    background::batch_runner::{BATCH_SIZE, PAGE_SIZE, Progress, run_batches},
    background::caller_key_expiry::CallerKeyExpiry,
    background::interval::Interval,
    background::supervisor::{BackgroundJob, JobError, Phase},
    observability::metrics::Telemetry,
};

/// The time between two runs. A notice is late by so much, and by the time that a run takes.
const INTERVAL: Duration = Duration::from_secs(60);
/// The time after which a token that can't be verified is looked at again.
const RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

const NOTICES: &str = "tokend_expiry_notices_total";
const BACKLOG: &str = "tokend_expiry_backlog_seconds";

/// Records notices of expiry.
pub(crate) struct ExpiryNoticeJob {
    store: Store,
    clock: Clock,
    warnings: Counter,
    ends: Counter,
    backlog: Gauge,
    caller_keys: CallerKeyExpiry,
}

impl ExpiryNoticeJob {
    pub(crate) fn new(store: Store, clock: Clock, telemetry: &Telemetry) -> Self {
        telemetry.describe(NOTICES, "Notices of tokens' expiry that were recorded, by kind.");
        let of = |kind| telemetry.counter(NOTICES, Some(("kind", kind)));
        let backlog = telemetry.gauge(
            BACKLOG,
            "Time for which the oldest due notice of a token's expiry has waited, in seconds.",
        );
        let caller_keys = CallerKeyExpiry::new(store.clone(), telemetry);
        Self {
            store,
            clock,
            warnings: of("warning"),
            ends: of("end"),
            backlog,
            caller_keys,
        }
    }

    /// Records all due notices, unless another server does.
    async fn record_due(&self) -> Result<Progress, StoreError> {
        if self.plan_all().await? == Progress::OtherServer {
            return Ok(Progress::OtherServer);
        }
        run_batches(
            |after| self.store.due_notices(after, PAGE_SIZE),
            |workspace, tokens| self.record_batch(workspace, tokens),
        )
        .await
    }

    /// Plans the notices of tokens whose expiry a policy has moved.
    async fn plan_all(&self) -> Result<Progress, StoreError> {
        let mut after = None;
        loop {
            let workspaces = self.store.workspaces_to_plan(after, PAGE_SIZE).await?;
            let Some(last) = workspaces.last().cloned() else {
                return Ok(Progress::Done);
            };
            for workspace in workspaces {
                match self.plan(&workspace).await {
                    Ok(Progress::Done) => {}
                    Ok(Progress::OtherServer) => return Ok(Progress::OtherServer),
                    Err(error @ StoreError::Unavailable { .. }) => return Err(error),
                    Err(error) => {
                        tracing::error!(%workspace, %error, "a workspace's notices could not be planned yet")
                    }
                }
            }
            after = Some(last);
        }
    }

    /// Plans the notices of a workspace's tokens, a few in each write.
    async fn plan(&self, workspace: &WorkspaceId) -> Result<Progress, StoreError> {
        loop {
            let workspace = workspace.clone();
            let work = async move |tx: &WriteTx| {
                if !tx.try_lock_job(Job::Notices).await? {
                    return Ok(None);
                }
                match tx.lock_workspace_and_policy(&workspace).await? {
                    Some(workspace) => tx.plan_some(&workspace, BATCH_SIZE as u64).await.map(Some),
                    None => Ok(Some(false)),
                }
            };
            match self.store.write::<_, StoreError, _>(work).await? {
                None => return Ok(Progress::OtherServer),
                Some(true) => {}
                Some(false) => return Ok(Progress::Done),
            }
        }
    }

    /// Records the due notices of a few tokens of a workspace in one write.
    async fn record_batch(&self, workspace: WorkspaceId, tokens: Vec<CredentialId>) -> Result<Progress, StoreError> {
        let work = async move |tx: &WriteTx| {
            if tx.try_lock_job(Job::Notices).await? {
                record_some(tx, workspace, tokens).await.map(Some)
            } else {
                Ok(None)
            }
        };
        let recorded = self.store.write::<_, StoreError, _>(work).await?;
        let Some(recorded) = recorded else {
            return Ok(Progress::OtherServer);
        };
        for notice in recorded {
            let counter = if notice == ExpiryNotice::End {
                &self.ends
            } else {
                &self.warnings
            };
            counter.increment(1);
        }
        Ok(Progress::Done)
    }

    async fn backlog(&self) -> Result<Duration, StoreError> {
        let oldest = self.store.oldest_due_notice().await?;
        Ok(match oldest {
            None => Duration::ZERO,
            Some(oldest) => self.store.now().await?.saturating_since(oldest),
        })
    }
}

impl BackgroundJob for ExpiryNoticeJob {
    fn name(&self) -> &'static str {
        "expiry_notices"
    }

    fn phase(&self) -> Phase {
        Phase::WhileDraining
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), JobError> {
        let mut interval = Interval::new(self.clock.clone(), INTERVAL);
        let work = async {
            loop {
                interval.tick().await;
                if let Err(error) = self.record_due().await {
                    tracing::error!(%error, "notices of tokens' expiry are not recorded; retried in a minute");
                }
                if let Err(error) = self.caller_keys.record_due().await {
                    tracing::error!(%error, "notices of caller keys' expiry are not recorded; retried in a minute");
                }
                // If it can't be read, the gauge keeps its last value.
                let _ = self.caller_keys.measure().await;
                if let Ok(backlog) = self.backlog().await {
                    self.backlog.set(backlog.as_secs_f64());
                }
            }
        };
        stop.run_until_cancelled(work).await;
        Ok(())
    }
}

async fn record_some(
    tx: &WriteTx,
    workspace: WorkspaceId,
    tokens: Vec<CredentialId>,
) -> Result<Vec<ExpiryNotice>, StoreError> {
    // The policies are locked, too: one that is changed now could still lift a deadline that is ahead of `now`, but
    // never one that has passed.
    let Some(workspace) = tx.lock_workspace_and_policy(&workspace).await? else {
        return Ok(Vec::new());
    };
    let now = tx.now().await?;
    let mut recorded = Vec::new();
    for id in tokens {
        let name = TokenName {
            workspace: workspace.id.clone(),
            id,
        };
        let read = async { Ok((tx.token(&name).await?, tx.notice_state(id).await?)) };
        match read.await {
            Ok((Some(token), Some(read))) => {
                let token_context = workspace.token_context();
                let due = record_one(tx, token_context, &token, read, now).await?;
                recorded.extend(due);
            }
            // It was purged in the meantime.
            Ok(_) => {}
            Err(StoreError::Tampered { .. } | StoreError::Corrupt { .. }) => {
                tx.postpone_notices(id, RETRY_AFTER).await?
            }
            Err(error) => return Err(error),
        }
    }
    Ok(recorded)
}

/// Records the due notices of a token, and when its next one is due.
async fn record_one(
    tx: &WriteTx,
    token_context: &TokenContext,
    token: &Token,
    read: NoticeState,
    now: Timestamp,
) -> Result<Vec<ExpiryNotice>, StoreError> {
    let end = token.expiry(token_context);
    let plan = token.notice_plan(token_context.state, end);
    let due: Vec<_> = plan.due(read.told, now).collect();
    let told = due.iter().fold(read.told, |told, notice| told.with(*notice));
    let end_time = if due.contains(&ExpiryNotice::End) {
        Some(now)
    } else {
        read.end_time
    };
    let noted = NoticeState {
        told,
        look_time: plan.next(told),
        end_time,
    };
    if !tx.set_notice_state(token.name.id, Some(read), noted).await? {
        return Ok(Vec::new());
    }
    for notice in &due {
        tx.record(Change::TokenExpiryNotice {
            token: token.clone(),
            notice: *notice,
            expiry: end,
            at: now,
        });
    }
    Ok(due)
}
