//! Callers change something in transactions that first check whether the caller is still served.
//!
//! A call is authenticated when it arrives, and may then wait: for its message, for room, for the database. So each change checks its caller
//! again inside its transaction, and holds the caller until it is committed: nothing that a revoked key asked for is committed after the
//! revocation has returned. A use case can't forget the check, because only [`Acting`] creates the event that each change must store.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use tokend_core::{
    audit::{Chain, Event, EventType, RowAfter},
    caller::Caller,
    name::CallerId,
    revision::Revision,
};
use tokend_store::{CallerHold, Locked, Store, StoreError, Work, WriteTx};

use super::{Act, Ended};
use crate::refusal::Refusal;

/// A transaction whose caller was checked and is still served.
pub(crate) struct Acting<'tx> {
    tx: &'tx WriteTx,
    act: &'tx Act,
    admins: Vec<Locked<Caller>>,
}

/// The caller that a change takes something away from.
#[derive(Clone, Debug)]
enum Loser {
    /// No caller.
    Nobody,
    /// This caller loses a key, or is deleted.
    Caller(CallerId),
}

impl Deref for Acting<'_> {
    type Target = WriteTx;

    fn deref(&self) -> &WriteTx {
        self.tx
    }
}

impl Acting<'_> {
    /// Returns the caller that makes the change.
    pub(crate) fn acting_caller(&self) -> &Caller {
        &self.act.caller
    }

    /// Returns every ADMIN, locked, in a change that takes something away from a caller, and nothing in any other.
    pub(crate) fn admins(&self) -> &[Locked<Caller>] {
        &self.admins
    }

    /// Creates the event of a change to `resource`, for its chain.
    pub(crate) fn event(&self, chain: Chain, kind: EventType, resource: String, row: RowAfter) -> Event {
        self.act.event(chain, kind, resource, row)
    }
}

impl Act {
    /// Makes a change as [`Store::write`] does, if the caller is still served.
    pub(crate) async fn write<T, E, F>(self, store: &Store, work: F) -> Result<T, E>
    where
        F: for<'tx> FnOnce(&'tx Acting<'tx>) -> Work<'tx, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + From<Refusal> + Send + 'static,
    {
        let checked = Checked::new(self, Loser::Nobody);
        let ended = Arc::clone(&checked.ended);
        let written = store.write(move |tx| Box::pin(checked.perform(tx, work))).await;
        outcome(store, &ended, written).await
    }

    /// Makes a change as [`Store::write_advancing`] does, if the caller is still served.
    pub(crate) async fn write_advancing<T, E, F>(self, store: &Store, work: F) -> Result<(T, Revision), E>
    where
        F: for<'tx> FnOnce(&'tx Acting<'tx>) -> Work<'tx, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + From<Refusal> + Send + 'static,
    {
        self.advance(store, Loser::Nobody, work).await
    }

    /// Makes a change that takes a key away from the caller `from`, or deletes it, likewise. It waits for the changes that this caller has
    /// under way, and of two such changes at once the second sees what the first one did.
    pub(crate) async fn take_away<T, E, F>(self, store: &Store, from: CallerId, work: F) -> Result<(T, Revision), E>
    where
        F: for<'tx> FnOnce(&'tx Acting<'tx>) -> Work<'tx, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + From<Refusal> + Send + 'static,
    {
        self.advance(store, Loser::Caller(from), work).await
    }

    /// Takes the next revision for a repeated call, which changes nothing, if the caller is still served.
    pub(crate) async fn advance_only(self, store: &Store) -> Result<Revision, Refusal> {
        Ok(self.write_advancing::<(), Refusal, _>(store, |_| Box::pin(async { Ok(()) })).await?.1)
    }

    async fn advance<T, E, F>(self, store: &Store, loser: Loser, work: F) -> Result<(T, Revision), E>
    where
        F: for<'tx> FnOnce(&'tx Acting<'tx>) -> Work<'tx, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + From<Refusal> + Send + 'static,
    {
        let checked = Checked::new(self, loser);
        let ended = Arc::clone(&checked.ended);
        let written = store.write_advancing(move |tx| Box::pin(checked.perform(tx, work))).await;
        outcome(store, &ended, written).await
    }
}

/// Returns what the transaction did. The refusal of a caller that has ended may have to write, so it comes after the rollback.
async fn outcome<T, E: From<Refusal>>(store: &Store, ended: &OnceLock<Ended>, written: Result<T, E>) -> Result<T, E> {
    match ended.get() {
        Some(ended) => Err(ended.refusal(store).await.into()),
        None => written,
    }
}

/// The check that comes before the work of a transaction.
struct Checked {
    act: Act,
    loser: Loser,
    /// Set if the caller is no longer served.
    ended: Arc<OnceLock<Ended>>,
}

impl Checked {
    fn new(act: Act, loser: Loser) -> Self {
        Self { act, loser, ended: Arc::default() }
    }

    async fn perform<T, E, F>(self, tx: &WriteTx, work: F) -> Result<T, E>
    where
        F: for<'tx> FnOnce(&'tx Acting<'tx>) -> Work<'tx, T, E> + Send + 'static,
        E: From<StoreError> + From<Refusal>,
    {
        let Self { act, loser, ended } = self;
        let admins = match &loser {
            Loser::Nobody => {
                tx.hold_caller(&act.caller.id, CallerHold::Shared).await?;
                Vec::new()
            }
            // It does not hold its own caller: two ADMINs that revoke each other would deadlock. The lock on all ADMINs lets only one such
            // change proceed, and the next one reads what that did.
            Loser::Caller(id) => {
                tx.hold_caller(id, CallerHold::Exclusive).await?;
                tx.lock_admins().await?
            }
        };
        let authenticated = act.authenticated();
        if let Err(why) = authenticated.check(&tx.known_caller(&authenticated.reference()).await?) {
            let _ = ended.set(why);
            return Err(Refusal::InvalidCredential.into());
        }
        work(&Acting { tx, act: &act, admins }).await
    }
}
