//! Tells of tokens' ends while the server runs: before they come, and that they have come.
//!
//! ```text
//! tokens that are due, by an index -> a write for some of one workspace -> core says what is due -> note and events
//! ```
//!
//! When there is something to tell of a token is noted with it. A policy that is applied moves that for any number of tokens at once: it
//! puts their workspaces on a list, and what is on it is gone through first.
//!
//! What is noted and the events are one transaction, and the note is a conditional change: each notice goes on record once, whichever
//! servers run, and however they end. That only one of them is at it spares work. However many tokens end at once, a write tells of a few
//! and then leaves the workspace to others.

use std::time::Duration;

use metrics::{Counter, Gauge};
use tokend_core::{
    audit::{Chain, Event, EventType, Origin, Outcome, RowAfter},
    clock::Clock,
    credential::CredentialId,
    expiry_notice::ExpiryNotice,
    name::{TokenName, WorkspaceId},
    time::Timestamp,
    token::{Circumstances, Expiry, Token},
    webhook::Message,
};
use tokend_store::{Duty, Noted, Store, StoreError, WriteTx};
use tokio_util::sync::CancellationToken;

use crate::{
    caller_key_expiry::CallerKeyExpiry,
    layers::telemetry::Telemetry,
    pace::Pace,
    sweep::{AT_ONCE, IN_A_WRITE, Swept, sweep},
};

/// Time between looks for what is due: a notice is late by so much, and the time that the telling takes.
const INTERVAL: Duration = Duration::from_secs(60);
/// When a token that can't be judged is looked at again.
const LATER: Duration = Duration::from_secs(60 * 60);

const NOTICES: &str = "tokend_expiry_notices_total";
const BACKLOG: &str = "tokend_expiry_backlog_seconds";

/// Tells of tokens' ends.
pub(crate) struct ExpiryKeeper {
    store: Store,
    clock: Clock,
    warnings: Counter,
    ends: Counter,
    backlog: Gauge,
    /// Whether the webhook is told, too.
    has_webhook: bool,
    caller_keys: CallerKeyExpiry,
}

impl ExpiryKeeper {
    pub(crate) fn new(store: Store, clock: Clock, telemetry: &Telemetry, has_webhook: bool) -> Self {
        telemetry.describe(NOTICES, "Notices of tokens' ends that were put on record, by kind.");
        let of = |kind| telemetry.counter(NOTICES, Some(("kind", kind)));
        let backlog = telemetry.gauge(BACKLOG, "For how long the notice of a token's end that waits longest has been due.");
        let caller_keys = CallerKeyExpiry::new(store.clone(), telemetry, has_webhook);
        Self { store, clock, warnings: of("warning"), ends: of("end"), backlog, has_webhook, caller_keys }
    }

    /// Works until `stop`.
    pub(crate) async fn keep(self, stop: CancellationToken) {
        let mut pace = Pace::new(self.clock.clone(), INTERVAL);
        let work = async {
            loop {
                pace.next().await;
                if let Err(error) = self.tell_all().await {
                    tracing::error!(%error, "tokens' ends could not be told of: it is tried again in a minute");
                }
                if let Err(error) = self.caller_keys.give_notices().await {
                    tracing::error!(%error, "notices of caller keys' expiry could not be given; the next attempt is in a minute");
                }
                // Where it can't be read, the last one stays.
                let _ = self.caller_keys.measure().await;
                if let Ok(backlog) = self.backlog().await {
                    self.backlog.set(backlog.as_secs_f64());
                }
            }
        };
        stop.run_until_cancelled(work).await;
    }

    /// Tells of everything that is due, unless another server is at it.
    async fn tell_all(&self) -> Result<Swept, StoreError> {
        if self.plan_all().await? == Swept::Elsewhere {
            return Ok(Swept::Elsewhere);
        }
        sweep(|after| self.store.due_notices(after, AT_ONCE), |workspace, tokens| self.tell(workspace, tokens)).await
    }

    /// Finds out when there is something to tell of tokens whose ends a policy moved.
    async fn plan_all(&self) -> Result<Swept, StoreError> {
        let mut after = None;
        loop {
            let workspaces = self.store.workspaces_to_plan(after, AT_ONCE).await?;
            let Some(last) = workspaces.last().cloned() else { return Ok(Swept::Through) };
            for workspace in workspaces {
                match self.plan(&workspace).await {
                    Ok(Swept::Through) => {}
                    Ok(Swept::Elsewhere) => return Ok(Swept::Elsewhere),
                    Err(error @ StoreError::Unavailable { .. }) => return Err(error),
                    Err(error) => {
                        tracing::error!(%workspace, %error, "what there is to tell of its tokens is not found out for now")
                    }
                }
            }
            after = Some(last);
        }
    }

    /// Does that for a workspace, a write for some of its tokens after the other.
    async fn plan(&self, workspace: &WorkspaceId) -> Result<Swept, StoreError> {
        loop {
            let workspace = workspace.clone();
            let work = async move |tx: &WriteTx| {
                if !tx.takes(Duty::Notices).await? {
                    return Ok(None);
                }
                match tx.lock_workspace_and_policy(&workspace).await? {
                    Some(workspace) => tx.plan_some(&workspace, IN_A_WRITE as u64).await.map(Some),
                    None => Ok(Some(false)),
                }
            };
            match self.store.write::<_, StoreError, _>(move |tx| Box::pin(async move { work(tx).await })).await? {
                None => return Ok(Swept::Elsewhere),
                Some(true) => {}
                Some(false) => return Ok(Swept::Through),
            }
        }
    }

    /// Tells of some tokens of a workspace in a write of their own.
    async fn tell(&self, workspace: WorkspaceId, tokens: Vec<CredentialId>) -> Result<Swept, StoreError> {
        let has_webhook = self.has_webhook;
        let work = async move |tx: &WriteTx| {
            if tx.takes(Duty::Notices).await? { tell_some(tx, workspace, tokens, has_webhook).await.map(Some) } else { Ok(None) }
        };
        let told = self.store.write::<_, StoreError, _>(move |tx| Box::pin(async move { work(tx).await })).await?;
        let Some(told) = told else { return Ok(Swept::Elsewhere) };
        for notice in told {
            let counter = if notice == ExpiryNotice::End { &self.ends } else { &self.warnings };
            counter.increment(1);
        }
        Ok(Swept::Through)
    }

    async fn backlog(&self) -> Result<Duration, StoreError> {
        let oldest = self.store.oldest_due_notice().await?;
        Ok(match oldest {
            None => Duration::ZERO,
            Some(oldest) => self.store.now().await?.saturating_since(oldest),
        })
    }
}

async fn tell_some(
    tx: &WriteTx,
    workspace: WorkspaceId,
    tokens: Vec<CredentialId>,
    has_webhook: bool,
) -> Result<Vec<ExpiryNotice>, StoreError> {
    // With the policies: a deadline that has not come by the time that is read next may still be lifted, and one that has come never is.
    let Some(workspace) = tx.lock_workspace_and_policy(&workspace).await? else { return Ok(Vec::new()) };
    let now = tx.now().await?;
    let mut told = Vec::new();
    for id in tokens {
        let name = TokenName { workspace: workspace.id.clone(), id };
        let read = async { Ok((tx.token(&name).await?, tx.noted(id).await?)) };
        match read.await {
            Ok((Some(token), Some(read))) => {
                let circumstances = workspace.circumstances();
                let due = tell_one(tx, circumstances, &token, read, now).await?;
                if let (true, Expiry::At(end)) = (has_webhook, token.expiry(circumstances)) {
                    enqueue(tx, &token, end, &due, now).await?;
                }
                told.extend(due);
            }
            // Gone meanwhile.
            Ok(_) => {}
            Err(StoreError::Tampered { .. } | StoreError::Corrupt { .. }) => tx.look_later(id, LATER).await?,
            Err(error) => return Err(error),
        }
    }
    Ok(told)
}

/// Tells what is due of a token, if anything is, and when to look at it again.
async fn tell_one(
    tx: &WriteTx,
    circumstances: &Circumstances,
    token: &Token,
    read: Noted,
    now: Timestamp,
) -> Result<Vec<ExpiryNotice>, StoreError> {
    let end = token.expiry(circumstances);
    let plan = token.notice_plan(circumstances.state, end);
    let due: Vec<_> = plan.due(read.told, now).collect();
    let told = due.iter().fold(read.told, |told, notice| told.with(*notice));
    let end_time = if due.contains(&ExpiryNotice::End) { Some(now) } else { read.end_time };
    let noted = Noted { told, look_time: plan.next(told), end_time };
    if !tx.note(token.name.id, Some(read), noted).await? {
        return Ok(Vec::new());
    }
    for notice in &due {
        tx.audit(event(token, *notice, end)).await?;
    }
    Ok(due)
}

/// Puts notices into the webhook's outbox.
async fn enqueue(tx: &WriteTx, token: &Token, end: Timestamp, notices: &[ExpiryNotice], now: Timestamp) -> Result<(), StoreError> {
    for notice in notices {
        let message = Message::of_notice(*notice, token, end, tx.ring().await?.prefix(), now);
        // One that is there already is the same.
        let _ = tx.enqueue(&message).await?;
    }
    Ok(())
}

/// What goes on record of a notice.
fn event(token: &Token, notice: ExpiryNotice, end: Expiry) -> Event {
    let end = end.time().map(|end| end.to_string()).unwrap_or_default();
    let (kind, detail) = match notice {
        ExpiryNotice::SixtyDays | ExpiryNotice::ThirtyDays | ExpiryNotice::SevenDays => {
            (EventType::TokenExpiring, format!("{} days before its end at {end}", notice.days()))
        }
        ExpiryNotice::OneDay => (EventType::TokenExpiring, format!("1 day before its end at {end}")),
        ExpiryNotice::End => (EventType::TokenExpired, format!("ended at {end}")),
    };
    Event {
        chain: Chain::Workspace(token.name.workspace.clone()),
        kind,
        // By nobody: tokend by itself.
        origin: Origin::default(),
        resource: token.name.to_string(),
        outcome: Outcome::Done,
        reason: String::new(),
        detail,
        // The row did not change. To tell of it would let an older one, put in its place, pass for the last change.
        row: RowAfter::None,
    }
}
