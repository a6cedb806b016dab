//! Takes tokens away that ended long enough ago, while the server runs.
//!
//! ```text
//! tokens whose end is on record, by an index -> a write for some of one workspace -> core says which may go -> event
//! ```
//!
//! What a look finds is a hint. Whether a token goes is decided under its workspace's lock, by the row as it was read there, whose MAC is
//! right: what can't be believed stays, and so does what works, whatever is noted of it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use metrics::Counter;
use tokend_core::{
    audit::{Chain, Event, EventType, Origin, Outcome, RowAfter},
    clock::Clock,
    credential::CredentialId,
    name::{TokenName, WorkspaceId},
    retention::Ended,
    time::Timestamp,
};
use tokend_store::{Duty, EndedBy, Governed, Store, StoreError, WriteTx};
use tokio_util::sync::CancellationToken;

use crate::{
    layers::telemetry::Telemetry,
    pace::Pace,
    sweep::{AT_ONCE, Swept, sweep},
};

/// How long tokens are kept after they have ended, unless told otherwise: 90 days.
pub const DEFAULT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Time between looks for what has ended long enough ago.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

const PURGED: &str = "tokend_purged_tokens_total";

/// Purges tokens again and again.
pub(crate) struct RetentionKeeper {
    store: Store,
    clock: Clock,
    retention: Duration,
    purged: Counter,
}

impl RetentionKeeper {
    pub(crate) fn new(store: Store, clock: Clock, retention: Duration, telemetry: &Telemetry) -> Self {
        telemetry.describe(PURGED, "Tokens that were purged, because they ended long enough ago.");
        Self { store, clock, retention, purged: telemetry.counter(PURGED, None) }
    }

    /// Works until `stop`.
    pub(crate) async fn keep(self, stop: CancellationToken) {
        let mut pace = Pace::new(self.clock.clone(), INTERVAL);
        let work = async {
            loop {
                pace.next().await;
                match purge(&self.store, self.retention).await {
                    Ok(0) => {}
                    Ok(tokens) => {
                        self.purged.increment(tokens);
                        tracing::info!(tokens, "tokens that ended long enough ago were purged");
                    }
                    Err(error) => tracing::error!(%error, "tokens could not be purged: it is tried again in an hour"),
                }
            }
        };
        stop.run_until_cancelled(work).await;
    }
}

/// Purges the tokens whose end has been on record for `retention`, unless another server is at it. Returns how many.
///
/// # Errors
/// [`StoreError`]; what was purged by then is gone.
pub async fn purge(store: &Store, retention: Duration) -> Result<u64, StoreError> {
    let purge = Purge { store, retention, purged: AtomicU64::new(0) };
    // Where another server is at it, that one goes on.
    let (Swept::Through | Swept::Elsewhere) = purge.all().await?;
    Ok(purge.purged.into_inner())
}

/// A purge under way.
struct Purge<'a> {
    store: &'a Store,
    retention: Duration,
    purged: AtomicU64,
}

impl Purge<'_> {
    async fn all(&self) -> Result<Swept, StoreError> {
        let micros = i64::try_from(self.retention.as_micros()).unwrap_or(i64::MAX);
        let until = self.store.now().await?.saturating_add_micros(-micros);
        for by in [EndedBy::Revocation, EndedBy::Expiry] {
            if self.ended(by, until).await? == Swept::Elsewhere {
                return Ok(Swept::Elsewhere);
            }
        }
        let mut after = None;
        loop {
            let deleted = self.store.deleted_workspaces(until, after, AT_ONCE).await?;
            let Some(last) = deleted.last().cloned() else { return Ok(Swept::Through) };
            for workspace in deleted {
                if self.ended(EndedBy::DeletionOf(workspace), until).await? == Swept::Elsewhere {
                    return Ok(Swept::Elsewhere);
                }
            }
            after = Some(last);
        }
    }

    async fn ended(&self, by: EndedBy, until: Timestamp) -> Result<Swept, StoreError> {
        let page = |after| self.store.ended_tokens(by.clone(), until, after, AT_ONCE);
        sweep(page, |workspace, tokens| self.some(workspace, tokens)).await
    }

    /// Purges those of some tokens of a workspace that may go, in a write of their own.
    async fn some(&self, workspace: WorkspaceId, tokens: Vec<CredentialId>) -> Result<Swept, StoreError> {
        let retention = self.retention;
        let work = async move |tx: &WriteTx| {
            if !tx.takes(Duty::Retention).await? {
                return Ok(None);
            }
            let Some(workspace) = tx.lock_workspace(&workspace).await? else { return Ok(Some(0)) };
            let mut purged = 0;
            for id in tokens {
                match purge_one(tx, &workspace, id, retention).await {
                    Ok(was_purged) => purged += u64::from(was_purged),
                    Err(NotPurged::Unbelievable(error)) => tracing::error!(%error, "a token that is to be purged is kept"),
                    Err(NotPurged::Failed(error)) => return Err(error),
                }
            }
            Ok(Some(purged))
        };
        let purged = self.store.write::<_, StoreError, _>(move |tx| Box::pin(async move { work(tx).await })).await?;
        let Some(purged) = purged else { return Ok(Swept::Elsewhere) };
        self.purged.fetch_add(purged, Ordering::Relaxed);
        Ok(Swept::Through)
    }
}

/// Why a token was not purged.
enum NotPurged {
    /// Its row, or what is noted of it, is not what tokend wrote.
    Unbelievable(StoreError),
    Failed(StoreError),
}

/// Purges a token if it may go; whether it did.
async fn purge_one(tx: &WriteTx, workspace: &Governed, id: CredentialId, retention: Duration) -> Result<bool, NotPurged> {
    let name = TokenName { workspace: workspace.id.clone(), id };
    let read = async { Ok((tx.token(&name).await?, tx.noted(id).await?.and_then(|noted| noted.end_time))) };
    let (Some(token), expiry_recorded) = read.await.map_err(NotPurged::of_a_row)? else { return Ok(false) };
    let ended = Ended { token: &token, circumstances: workspace.circumstances(), expiry_recorded };
    let Some(recorded) = ended.recorded() else { return Ok(false) };
    let now = tx.now().await.map_err(NotPurged::Failed)?;
    if !ended.may_be_purged(retention, now) || !tx.purge_token(&token).await.map_err(NotPurged::Failed)? {
        return Ok(false);
    }
    tx.audit(event(name, recorded)).await.map_err(NotPurged::Failed)?;
    Ok(true)
}

impl NotPurged {
    fn of_a_row(error: StoreError) -> Self {
        match error {
            StoreError::Tampered { .. } | StoreError::Corrupt { .. } => Self::Unbelievable(error),
            error => Self::Failed(error),
        }
    }
}

fn event(name: TokenName, recorded: Timestamp) -> Event {
    Event {
        chain: Chain::Workspace(name.workspace.clone()),
        kind: EventType::TokenPurged,
        // By nobody: tokend by itself.
        origin: Origin::default(),
        resource: name.to_string(),
        outcome: Outcome::Done,
        reason: String::new(),
        detail: format!("its end was on record since {recorded}"),
        row: RowAfter::Gone,
    }
}
