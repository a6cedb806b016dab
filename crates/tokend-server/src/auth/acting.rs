//! Callers change something in transactions that first check whether the caller is still served.
//!
//! A call is authenticated when it arrives, and may then wait: for its message, for room, for the database. So each
//! change checks its caller again inside its transaction, and holds the caller until it is committed: nothing that a
//! revoked key asked for is committed after the revocation has returned. A use case can't forget the check: only the
//! transactions begun here record a caller with their changes. Several calls may share a transaction ([`SharedTx`]).

mod shared;

pub(crate) use shared::{Locking, NotServed, SharedTx};

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use tokend_core::{
    caller::Caller,
    feed::Revision,
    name::CallerId,
    rule::{self, Rule},
};
use tokend_store::{CallerHold, Committed, Locked, Store, StoreError, Work, WriteTx};

use super::{CallContext, Invalidated};
use crate::{error::ServiceError, limits::room::RoomOfCall, usecases::Context, verifier::Verifier};

/// A transaction whose caller was checked and is still served.
pub(crate) struct Acting<'tx> {
    tx: &'tx WriteTx,
    call: &'tx CallContext,
    admins: Vec<Locked<Caller>>,
}

/// Whether the answer about a change that ends verdicts waits until no server and no client gives an older verdict.
#[derive(Clone, Debug)]
pub(crate) enum Wait {
    /// It waits.
    ForServers(Verifier),
    /// It does not, because the client asked for that or a later change of the same call waits.
    No,
}

impl Wait {
    /// Returns what a client asks for that may set `no_wait`.
    pub(crate) fn unless(no_wait: bool, context: &Context) -> Self {
        if no_wait {
            Self::No
        } else {
            Self::ForServers(context.verifier.clone())
        }
    }

    /// Waits after a change. The transaction has ended, its connection was given back, and its turn to write; the room that
    /// the call took is given back first, so that waiting calls hold up nobody (C3).
    pub(crate) async fn after(&self, committed: &Committed, room: &RoomOfCall) {
        if let Self::ForServers(verifier) = self {
            room.release();
            verifier.wait_for_servers(committed).await;
        }
    }

    /// Returns the wait of one of several writes: only the last one waits, which covers those before it.
    pub(crate) fn only_if(&self, is_last: bool) -> Self {
        if is_last { self.clone() } else { Self::No }
    }
}

/// The caller that the transaction locks.
#[derive(Clone, Debug)]
enum CallerLock {
    /// The caller that makes the change. Others may make changes for it at the same time.
    Acting,
    /// This caller alone, because it loses a key or is deleted.
    Affected(CallerId),
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
        &self.call.caller
    }

    /// Returns every ADMIN, locked, in a change that takes something away from a caller, and nothing in any other.
    pub(crate) fn admins(&self) -> &[Locked<Caller>] {
        &self.admins
    }
}

impl CallContext {
    /// Makes a change as [`Store::write`] does, if the caller is still served.
    pub(crate) fn write<T, E, F>(self, store: &Store, work: F) -> impl Future<Output = Result<T, E>> + Send
    where
        F: for<'tx> Work<'tx, Acting<'tx>, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + From<ServiceError> + Send + 'static,
    {
        let (store, checked) = self.begin(store, CallerLock::Acting);
        async move {
            let invalidated = Arc::clone(&checked.invalidated);
            let written = store
                .write(async move |tx: &WriteTx| checked.perform(tx, work).await)
                .await;
            outcome(&store, &invalidated, written).await
        }
    }

    /// Tries a change as [`Store::preview`] does, if the caller is still served. Nothing is stored.
    pub(crate) fn preview<T, E, F>(self, store: &Store, work: F) -> impl Future<Output = Result<T, E>> + Send
    where
        F: for<'tx> Work<'tx, Acting<'tx>, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + From<ServiceError> + Send + 'static,
    {
        let (store, checked) = self.begin(store, CallerLock::Acting);
        async move {
            let invalidated = Arc::clone(&checked.invalidated);
            let tried = store
                .preview(async move |tx: &WriteTx| checked.perform(tx, work).await)
                .await;
            outcome(&store, &invalidated, tried).await
        }
    }

    /// Makes a change as [`Store::write_advancing`] does, if the caller is still served, and then waits if the caller
    /// asks for that.
    pub(crate) fn write_advancing<T, E, F>(
        self,
        store: &Store,
        wait: Wait,
        work: F,
    ) -> impl Future<Output = Result<(T, Revision), E>> + Send
    where
        F: for<'tx> Work<'tx, Acting<'tx>, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + From<ServiceError> + Send + 'static,
    {
        self.advance(store, CallerLock::Acting, wait, work)
    }

    /// Makes a change that takes a key away from the caller `from`, or deletes it, if the acting caller is still
    /// served. It waits for the changes in progress of `from`, and of two such changes at once the second sees what the
    /// first one did.
    pub(crate) fn take_away<T, E, F>(
        self,
        store: &Store,
        from: CallerId,
        wait: Wait,
        work: F,
    ) -> impl Future<Output = Result<(T, Revision), E>> + Send
    where
        F: for<'tx> Work<'tx, Acting<'tx>, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + From<ServiceError> + Send + 'static,
    {
        self.advance(store, CallerLock::Affected(from), wait, work)
    }

    /// Takes the next revision for a repeated call, which changes nothing, if the caller is still served.
    pub(crate) async fn advance_only(self, store: &Store, wait: Wait) -> Result<Revision, ServiceError> {
        let wait = wait.only_if(rule::is_kept(Rule::RepeatWaits));
        let nothing = async |_: &Acting<'_>| Ok::<_, ServiceError>(());
        let ((), revision) = self.write_advancing(store, wait, nothing).await?;
        Ok(revision)
    }

    /// Makes a change as [`write_advancing`](Self::write_advancing) does, and does not wait. The use case decides about the
    /// wait when it knows what the change has done.
    pub(crate) fn write_committed<T, E, F>(
        self,
        store: &Store,
        work: F,
    ) -> impl Future<Output = Result<(T, Committed), E>> + Send
    where
        F: for<'tx> Work<'tx, Acting<'tx>, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + From<ServiceError> + Send + 'static,
    {
        self.commit(store, CallerLock::Acting, work)
    }

    fn advance<T, E, F>(
        self,
        store: &Store,
        lock: CallerLock,
        wait: Wait,
        work: F,
    ) -> impl Future<Output = Result<(T, Revision), E>> + Send
    where
        F: for<'tx> Work<'tx, Acting<'tx>, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + From<ServiceError> + Send + 'static,
    {
        let room = self.room.clone();
        let committed = self.commit(store, lock, work);
        async move {
            let (value, committed) = committed.await?;
            wait.after(&committed, &room).await;
            Ok((value, committed.revision))
        }
    }

    fn commit<T, E, F>(
        self,
        store: &Store,
        lock: CallerLock,
        work: F,
    ) -> impl Future<Output = Result<(T, Committed), E>> + Send
    where
        F: for<'tx> Work<'tx, Acting<'tx>, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + From<ServiceError> + Send + 'static,
    {
        let (store, checked) = self.begin(store, lock);
        async move {
            let invalidated = Arc::clone(&checked.invalidated);
            let written = store
                .write_advancing(async move |tx: &WriteTx| checked.perform(tx, work).await)
                .await;
            outcome(&store, &invalidated, written).await
        }
    }

    /// Returns the store that records the changes of this call, and the check that comes before them.
    fn begin(self, store: &Store, lock: CallerLock) -> (Store, Checked) {
        (store.acting_as(self.initiator()), Checked::new(self, lock))
    }
}

/// Returns the result of the transaction. The error for a caller that is no longer served may write to the database, so
/// it is created after the rollback.
async fn outcome<T, E: From<ServiceError>>(
    store: &Store,
    invalidated: &OnceLock<Invalidated>,
    written: Result<T, E>,
) -> Result<T, E> {
    match invalidated.get() {
        Some(invalidated) => Err(invalidated.into_error(store).await.into()),
        None => written,
    }
}

/// The check that comes before the work of a transaction.
struct Checked {
    call: CallContext,
    lock: CallerLock,
    /// Set if the caller is no longer served.
    invalidated: Arc<OnceLock<Invalidated>>,
}

impl Checked {
    fn new(call: CallContext, lock: CallerLock) -> Self {
        Self {
            call,
            lock,
            invalidated: Arc::default(),
        }
    }

    async fn perform<T, E, F>(self, tx: &WriteTx, work: F) -> Result<T, E>
    where
        F: for<'tx> Work<'tx, Acting<'tx>, T, E>,
        E: From<StoreError> + From<ServiceError>,
    {
        let Self {
            call,
            lock,
            invalidated,
        } = self;
        let admins = match &lock {
            CallerLock::Acting => {
                tx.hold_caller(&call.caller.id, CallerHold::Shared).await?;
                Vec::new()
            }
            // The acting caller is not locked: two ADMINs that revoke each other would deadlock. The lock on all ADMINs
            // lets only one such change proceed, and the next one reads what that did.
            CallerLock::Affected(id) => {
                tx.hold_caller(id, CallerHold::Exclusive).await?;
                tx.lock_admins().await?
            }
        };
        let authenticated = call.authenticated();
        if let Err(why) = authenticated.check(&tx.current_caller(&authenticated.reference()).await?) {
            let _ = invalidated.set(why);
            return Err(ServiceError::InvalidCredential.into());
        }
        work(&Acting {
            tx,
            call: &call,
            admins,
        })
        .await
    }
}
