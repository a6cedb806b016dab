//! Records notices of caller keys' expiry: 30, 7 and 1 days before, and when they have expired. Without them a backend
//! would stop working without warning.
//!
//! Each notice is an event in the installation's chain of the audit log, a line in the log, and a message to the
//! webhook. It is stored in one transaction with the key's notice state, by a conditional update, so that it is
//! recorded once, whichever servers run. The [job for tokens' notices](crate::background::expiry_notices) runs this,
//! too.

use std::time::Duration;

use metrics::Gauge;
use tokend_core::{
    caller::CallerKey, change::Change, name::CallerKeyName, time::Timestamp, token::expiry_notice::ExpiryNotice,
};
use tokend_store::{DueKeys, Job, Store, StoreError, WriteTx};

use crate::{
    background::batch_runner::{BATCH_SIZE, PAGE_SIZE},
    observability::metrics::Telemetry,
};

/// The time after which a key that can't be verified is looked at again.
const RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

const NEXT_EXPIRY: &str = "tokend_caller_key_expire_time_seconds";

/// Records notices of caller keys' expiry.
pub(crate) struct CallerKeyExpiry {
    store: Store,
    next: Gauge,
}

impl CallerKeyExpiry {
    pub(crate) fn new(store: Store, telemetry: &Telemetry) -> Self {
        let what = "When the next caller key expires, in seconds since 1970; 0 if no key works.";
        Self {
            store,
            next: telemetry.gauge(NEXT_EXPIRY, what),
        }
    }

    /// Records the due notices, unless another server does.
    pub(crate) async fn record_due(&self) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let DueKeys { keys, next } = self.store.due_key_notices(after, PAGE_SIZE).await?;
            let keys: Vec<_> = keys
                .into_iter()
                .filter_map(|key| key.inspect_err(unreadable).ok())
                .collect();
            for batch in keys.chunks(BATCH_SIZE) {
                let batch = batch.to_vec();
                let work = async move |tx: &WriteTx| {
                    if tx.try_lock_job(Job::Notices).await? {
                        record_some(tx, batch).await.map(Some)
                    } else {
                        Ok(None)
                    }
                };
                let recorded = self.store.write::<_, StoreError, _>(work).await?;
                let Some(recorded) = recorded else { return Ok(()) };
                for (notice, key) in recorded {
                    log(notice, &key);
                }
            }
            match next {
                None => return Ok(()),
                next => after = next,
            }
        }
    }

    /// Updates the metric.
    pub(crate) async fn measure(&self) -> Result<(), StoreError> {
        let next = self.store.next_key_expiry().await?;
        self.next.set(next.map_or(0.0, |next| next.unix_seconds().0 as f64));
        Ok(())
    }
}

/// Records the due notices of a few keys, and returns them.
async fn record_some(tx: &WriteTx, keys: Vec<CallerKeyName>) -> Result<Vec<(ExpiryNotice, CallerKey)>, StoreError> {
    let mut recorded = Vec::new();
    for name in keys {
        match tx.caller_key(&name).await {
            Ok(Some(key)) => {
                let now = tx.now().await?;
                for notice in record_one(tx, &key, now).await? {
                    recorded.push((notice, (*key).clone()));
                }
            }
            // Its caller was deleted in the meantime.
            Ok(None) => {}
            Err(error @ (StoreError::Tampered { .. } | StoreError::Corrupt { .. })) => {
                unreadable(&error);
                tx.postpone_key_notices(name.id, RETRY_AFTER).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(recorded)
}

async fn record_one(tx: &WriteTx, key: &CallerKey, now: Timestamp) -> Result<Vec<ExpiryNotice>, StoreError> {
    let Some(read) = tx.key_notices(key.name.id).await? else {
        return Ok(Vec::new());
    };
    let plan = key.notice_plan();
    let due: Vec<_> = plan.due(read, now).collect();
    let given = due.iter().fold(read, |given, notice| given.with(*notice));
    if !tx.set_key_notices(key.name.id, read, given, plan.next(given)).await? {
        return Ok(Vec::new());
    }
    for notice in &due {
        tx.record(Change::CallerKeyExpiryNotice {
            key: key.clone(),
            notice: *notice,
            at: now,
        });
    }
    Ok(due)
}

fn log(notice: ExpiryNotice, key: &CallerKey) {
    let (key, expire_time) = (&key.name, key.expire_time);
    if notice == ExpiryNotice::End {
        tracing::warn!(
            %key, %expire_time,
            "a caller key has expired; if its caller still needs one, create it with CreateCallerKey"
        );
    } else {
        tracing::warn!(%key, %expire_time, "a caller key expires soon; create its replacement with CreateCallerKey");
    }
}

fn unreadable(error: &StoreError) {
    tracing::error!(%error, "the notices of a caller key are skipped for now");
}
