//! Gives notice of caller keys' expiry while the server runs: 30, 7 and 1 days before, and once they have expired. Without it a backend
//! stops working in silence.
//!
//! Each notice is an event in the installation's chain of the audit log, a line in the log, and a message to the webhook. It is stored with
//! the event, by a conditional change, so that it is given once, whichever servers run. The [keeper of tokens' ends](crate::expiry_keeper)
//! runs this along with its own work.

use std::time::Duration;

use metrics::Gauge;
use tokend_core::{
    audit::{Chain, Event, EventType, Origin, Outcome, RowAfter},
    caller::CallerKey,
    expiry_notice::ExpiryNotice,
    name::CallerKeyName,
    time::Timestamp,
    webhook::Message,
};
use tokend_store::{DueKeys, Duty, Store, StoreError, WriteTx};

use crate::{
    layers::telemetry::Telemetry,
    sweep::{AT_ONCE, IN_A_WRITE},
};

/// When a key that can't be read is looked at again.
const LATER: Duration = Duration::from_secs(60 * 60);

const NEXT_EXPIRY: &str = "tokend_caller_key_expire_time_seconds";

/// Gives notice of caller keys' expiry.
pub(crate) struct CallerKeyExpiry {
    store: Store,
    next: Gauge,
    has_webhook: bool,
}

impl CallerKeyExpiry {
    pub(crate) fn new(store: Store, telemetry: &Telemetry, has_webhook: bool) -> Self {
        let what = "When the working caller key that expires next does so, in seconds since 1970; 0 if no key works.";
        Self { store, next: telemetry.gauge(NEXT_EXPIRY, what), has_webhook }
    }

    /// Gives the notices that are due, unless another server is at it.
    pub(crate) async fn give_notices(&self) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let DueKeys { keys, next } = self.store.due_key_notices(after, AT_ONCE).await?;
            let keys: Vec<_> = keys.into_iter().filter_map(|key| key.inspect_err(unreadable).ok()).collect();
            for some in keys.chunks(IN_A_WRITE) {
                let (some, has_webhook) = (some.to_vec(), self.has_webhook);
                let work = async move |tx: &WriteTx| {
                    if tx.takes(Duty::Notices).await? { give(tx, some, has_webhook).await.map(Some) } else { Ok(None) }
                };
                let given = self.store.write::<_, StoreError, _>(move |tx| Box::pin(async move { work(tx).await })).await?;
                let Some(given) = given else { return Ok(()) };
                for (notice, key) in given {
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

/// Gives what is due of some keys, and returns what was given.
async fn give(tx: &WriteTx, keys: Vec<CallerKeyName>, has_webhook: bool) -> Result<Vec<(ExpiryNotice, CallerKey)>, StoreError> {
    let mut given = Vec::new();
    for name in keys {
        match tx.caller_key(&name).await {
            Ok(Some(key)) => {
                let now = tx.now().await?;
                for notice in give_one(tx, &key, has_webhook, now).await? {
                    given.push((notice, (*key).clone()));
                }
            }
            // Its caller was deleted meanwhile.
            Ok(None) => {}
            Err(error @ (StoreError::Tampered { .. } | StoreError::Corrupt { .. })) => {
                unreadable(&error);
                tx.postpone_key_notices(name.id, LATER).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(given)
}

async fn give_one(tx: &WriteTx, key: &CallerKey, has_webhook: bool, now: Timestamp) -> Result<Vec<ExpiryNotice>, StoreError> {
    let Some(read) = tx.key_notices(key.name.id).await? else { return Ok(Vec::new()) };
    let plan = key.notice_plan();
    let due: Vec<_> = plan.due(read, now).collect();
    let given = due.iter().fold(read, |given, notice| given.with(*notice));
    if !tx.give_key_notices(key.name.id, read, given, plan.next(given)).await? {
        return Ok(Vec::new());
    }
    for notice in &due {
        tx.audit(event(*notice, key)).await?;
        if has_webhook {
            let message = Message::of_key_notice(*notice, key, tx.ring().await?.prefix(), now);
            // A message with the same id says the same.
            let _ = tx.enqueue(&message).await?;
        }
    }
    Ok(due)
}

fn event(notice: ExpiryNotice, key: &CallerKey) -> Event {
    let at = key.expire_time;
    let (kind, detail) = match notice {
        ExpiryNotice::End => (EventType::CallerKeyExpired, format!("expired at {at}")),
        ExpiryNotice::OneDay => (EventType::CallerKeyExpiring, format!("1 day before it expires at {at}")),
        ExpiryNotice::SixtyDays | ExpiryNotice::ThirtyDays | ExpiryNotice::SevenDays => {
            (EventType::CallerKeyExpiring, format!("{} days before it expires at {at}", notice.days()))
        }
    };
    Event {
        chain: Chain::Installation,
        kind,
        // Nobody did it.
        origin: Origin::default(),
        resource: key.name.to_string(),
        outcome: Outcome::Done,
        reason: String::new(),
        detail,
        // The row did not change.
        row: RowAfter::None,
    }
}

fn log(notice: ExpiryNotice, key: &CallerKey) {
    let (key, expire_time) = (&key.name, key.expire_time);
    if notice == ExpiryNotice::End {
        tracing::warn!(%key, %expire_time, "a caller key has expired; a caller that still needs one gets it by CreateCallerKey");
    } else {
        tracing::warn!(%key, %expire_time, "a caller key expires soon; replace it by CreateCallerKey");
    }
}

fn unreadable(error: &StoreError) {
    tracing::error!(%error, "a caller key is left out for now");
}
