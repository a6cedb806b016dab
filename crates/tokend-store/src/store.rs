//! The store handle: its work pools, running work on them, closing, and database time.

use std::sync::{Arc, Weak};

use tokend_core::{change::Initiator, time::Timestamp};

use crate::{error::StoreError, shared::Shared, transaction::CommitObserver, work_pool::WorkPool};

/// The database of one installation. Cheap to clone: all clones are the same store.
#[derive(Clone)]
pub struct Store {
    pools: Arc<Pools>,
    pool: PoolKind,
    /// Who makes the changes of this handle's writes.
    initiator: Initiator,
}

/// The work pool that the calls on a [`Store`] use.
#[derive(Clone, Copy)]
enum PoolKind {
    Ordinary,
    Reserved,
    Lists,
    Feed,
}

/// The work pools of a store.
pub(crate) struct Pools {
    pub(crate) ordinary: WorkPool,
    pub(crate) reserved: WorkPool,
    pub(crate) lists: WorkPool,
    pub(crate) feed: WorkPool,
}

impl Store {
    pub(crate) fn new(pools: Pools) -> Self {
        Self {
            pools: Arc::new(pools),
            pool: PoolKind::Ordinary,
            initiator: Initiator::System,
        }
    }

    /// Returns the same store on its reserved pool, which has its own connections, thread and limit of calls. Use it
    /// for what must not wait behind other calls, and not for what anybody may request at any rate.
    #[must_use]
    pub fn reserved(&self) -> Self {
        Self {
            pool: PoolKind::Reserved,
            ..self.clone()
        }
    }

    /// Returns the same store on its pool for lists, which has few connections, its own thread and its own limit of
    /// calls. Use it for reads that may look at many rows. The methods that list use it in any case.
    #[must_use]
    pub fn lists(&self) -> Self {
        Self {
            pool: PoolKind::Lists,
            ..self.clone()
        }
    }

    /// Returns the same store on its pool for the feed, which has one connection and its own thread: a poll waits for no
    /// other work (L1).
    #[must_use]
    pub fn feed(&self) -> Self {
        Self {
            pool: PoolKind::Feed,
            ..self.clone()
        }
    }

    /// SQLite: sets who learns of every change that is made through this store, for as long as the observer exists. Only
    /// the first call has an effect.
    pub fn observe_commits(&self, observer: Weak<dyn CommitObserver>) {
        let _ = self.shared().commit_observer.set(observer);
    }

    /// Returns whether the database is SQLite, which no other process writes to while this store is open alone.
    #[must_use]
    pub fn is_sqlite(&self) -> bool {
        self.shared().is_sqlite()
    }

    /// SQLite: returns database time without a statement: the machine's clock, but never less than the last time stored.
    #[must_use]
    pub fn embedded_time(&self) -> Timestamp {
        let shared = self.shared();
        shared.clock().wall_time().max(shared.time_floor())
    }

    /// Returns the same store, whose writes record `initiator` with their changes. The default is
    /// [`Initiator::System`].
    #[must_use]
    pub fn acting_as(&self, initiator: Initiator) -> Self {
        Self {
            initiator,
            ..self.clone()
        }
    }

    pub(crate) const fn initiator(&self) -> &Initiator {
        &self.initiator
    }

    /// Closes the store for all its clones: waits for the work in progress, closes the connections, and stops the
    /// store's threads. Dropping the last clone does the same without waiting.
    pub async fn close(self) {
        let Pools {
            ordinary,
            reserved,
            lists,
            feed,
        } = &*self.pools;
        if self.shared().is_sqlite() {
            // One after the other: the write-ahead log is emptied only when the last connection is closed alone.
            for pool in [feed, lists, reserved, ordinary] {
                pool.stop();
                pool.stopped().await;
            }
            return;
        }
        self.pools.stop();
        for pool in [feed, lists, reserved, ordinary] {
            pool.stopped().await;
        }
    }

    /// Returns database time: PostgreSQL's clock, or on SQLite the machine's clock, but never less than the last time
    /// stored.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn now(&self) -> Result<Timestamp, StoreError> {
        self.run(|shared| async move { shared.now(&shared.connection).await })
            .await
    }

    /// Returns the number of rows that failed verification since the start, by table.
    pub fn refused_rows(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.shared().refused.counts()
    }

    /// Runs `work` in a task on the runtime of this store's pool, to its end. It takes no room in the pool: use it for
    /// work that itself calls the store, a bounded number of times at once. If the store is closed, `work` is dropped.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.pool().spawn(work);
    }

    pub(crate) fn shared(&self) -> &Shared {
        self.pool().shared()
    }

    /// Runs `work` on this store's work pool. The work runs to its end even if the caller is dropped.
    pub(crate) async fn run<T, E, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.pool().run(work).await
    }

    /// Runs a read on this store's work pool. Dropping the caller ends the read.
    pub(crate) async fn read<T, E, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.pool().read(work).await
    }

    /// Runs a list on the pool for lists. Dropping the caller ends the list.
    pub(crate) async fn list<T, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
        T: Send + 'static,
    {
        self.pools.lists.read(work).await
    }

    fn pool(&self) -> &WorkPool {
        match self.pool {
            PoolKind::Ordinary => &self.pools.ordinary,
            PoolKind::Reserved => &self.pools.reserved,
            PoolKind::Lists => &self.pools.lists,
            PoolKind::Feed => &self.pools.feed,
        }
    }
}

impl Pools {
    fn stop(&self) {
        self.ordinary.stop();
        self.reserved.stop();
        self.lists.stop();
        self.feed.stop();
    }
}

impl Drop for Pools {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.shared().database)
    }
}
