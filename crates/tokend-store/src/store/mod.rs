//! The store itself: its lanes, closing, the hop onto its runtimes, and database time.

mod opening;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use sea_orm::{
    ConnectionTrait, DbBackend, QueryResult, Statement,
    sea_query::{Expr, ExprTrait, Query, SelectStatement},
};
use tokend_core::{clock::Clock, keyring::KeyRing, time::Timestamp};
use tokio::sync::RwLockReadGuard;

use crate::{
    entity::feed,
    error::StoreError,
    keys::Keys,
    lane::{Lane, Turn, Turns},
    pool::Pool,
    row::{Judge, RefusedRows},
    settings::{KeysLock, Settings},
    write::WriteTx,
    write_ahead_log::WriteAheadLog,
};

/// The columns that [`Shared::select_now`] adds.
const NOW: &str = "now";
/// PostgreSQL: whether the server is a standby or accepts no writes.
const NO_WRITES: &str = "no_writes";

/// How many times as long as for a connection an answer waits for the floor under time: it waits for an answer that is read, too.
const TIME_FLOOR_WAITS: u32 = 2;

/// Everything that tokend keeps. Cheap to clone: all clones are the same store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    way: Way,
}

/// Which lane the calls on a [`Store`] take.
#[derive(Clone, Copy)]
enum Way {
    Ordinary,
    Reserved,
    Lists,
}

struct Inner {
    ordinary: Lane,
    reserved: Lane,
    lists: Lane,
}

/// What the work on a lane's runtime shares. Holds no [`Home`], so that work under way does not keep the runtime from ending.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) connection: Pool,
    pub(crate) keys: Arc<Keys>,
    refused: Arc<RefusedRows>,
    /// The database, for people: a path, or server and name. No password.
    pub(crate) database: String,
    settings: Settings,
    clock: Clock,
    /// SQLite: the highest time known to be stored, in microseconds.
    time_floor: Arc<AtomicI64>,
    /// Writes take turns: one at a time on SQLite, where they could not run side by side and would keep connections from reads by
    /// waiting in the driver; on PostgreSQL so many that a connection is left for reads.
    turns: Turns,
    /// SQLite, in the lane of lists: keeps them from growing the write-ahead log.
    log: Option<Arc<WriteAheadLog>>,
}

impl Store {
    /// The same store by its reserved lane: connections, a thread and room of their own, for what must not stand in line with all
    /// else. Not for what anybody may ask for at any rate.
    #[must_use]
    pub fn reserved(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), way: Way::Reserved }
    }

    /// The same store by the lane of lists: few connections, a thread and room of their own, for reads that may look at many rows.
    /// The methods that list take it in any case.
    #[must_use]
    pub fn lists(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), way: Way::Lists }
    }

    /// Closes the store for all its clones: waits for the work under way, closes the connections, and ends the store's runtime.
    /// Dropping the last clone does the same without waiting for it.
    pub async fn close(self) {
        let Inner { ordinary, reserved, lists } = &*self.inner;
        if self.shared().is_sqlite() {
            // One after the other: only a connection that is closed while no other is open empties the write-ahead log.
            for lane in [lists, reserved, ordinary] {
                lane.end();
                lane.ended().await;
            }
            return;
        }
        self.inner.end();
        for lane in [lists, reserved, ordinary] {
            lane.ended().await;
        }
    }

    /// Database time: PostgreSQL's clock; on SQLite the machine's, but never below the last time stored.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn now(&self) -> Result<Timestamp, StoreError> {
        self.run(|shared| async move { shared.now(&shared.connection).await }).await
    }

    /// SQLite: makes sure that time never falls below `floor` again, not even after a restart with the clock set back. To be called
    /// before an answer says EXPIRED, with the expiry that has come: one write for each expiry, none when it is called again. On
    /// PostgreSQL, whose clock is one for all, it does nothing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; then the answer must not be given.
    pub async fn raise_time_floor(&self, floor: Timestamp) -> Result<(), StoreError> {
        let shared = self.lane().shared();
        if !shared.is_sqlite() || shared.time_floor.load(Ordering::Acquire) >= floor.unix_micros() {
            return Ok(());
        }
        self.run(move |shared| async move {
            let patience = TIME_FLOOR_WAITS * shared.settings.pool_wait;
            let tx = WriteTx::begin(shared, KeysLock::Shared, patience).await?;
            tx.raise_time_floor(floor);
            tx.store_time_and_commit().await
        })
        .await
    }

    /// How many rows were refused since the start because they are not what tokend wrote, by table.
    pub fn refused_rows(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.shared().refused.counts()
    }

    pub(crate) fn shared(&self) -> &Shared {
        self.lane().shared()
    }

    /// Runs `work` on the lane's runtime, to its end even if the caller is dropped.
    pub(crate) async fn run<T, E, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.lane().run(work).await
    }

    /// Runs a read on the lane's runtime, as long as somebody waits for it.
    pub(crate) async fn read<T, E, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.lane().read(work).await
    }

    /// Runs a list on the lane of lists, as long as somebody waits for it.
    pub(crate) async fn list<T, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
        T: Send + 'static,
    {
        self.inner.lists.read(work).await
    }

    fn lane(&self) -> &Lane {
        match self.way {
            Way::Ordinary => &self.inner.ordinary,
            Way::Reserved => &self.inner.reserved,
            Way::Lists => &self.inner.lists,
        }
    }
}

impl Inner {
    fn end(&self) {
        self.ordinary.end();
        self.reserved.end();
        self.lists.end();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.lane().shared().database)
    }
}

impl Shared {
    pub(crate) fn is_sqlite(&self) -> bool {
        self.connection.get_database_backend() == DbBackend::Sqlite
    }

    /// What rows are judged with outside a transaction.
    pub(crate) fn judge(&self) -> Judge {
        self.judge_with(self.keys.ring())
    }

    pub(crate) fn judge_with(&self, ring: Arc<KeyRing>) -> Judge {
        Judge::new(ring, Arc::clone(&self.refused))
    }

    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// PostgreSQL: whether connections are encrypted.
    async fn is_encrypted(&self) -> Result<bool, StoreError> {
        let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl) AS is_encrypted";
        let found = self.connection.query_one_raw(Statement::from_string(DbBackend::Postgres, query)).await?;
        Ok(found.map(|row| row.try_get("", "is_encrypted")).transpose()?.unwrap_or(false))
    }

    /// Waits for the turn to write.
    pub(crate) async fn turn(&self, patience: Duration) -> Result<Turn, StoreError> {
        self.turns.take(patience).await
    }

    pub(crate) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Waits until a statement may look at many rows, as long as what is returned is held. On SQLite the write-ahead log is written back
    /// before, if lists have kept that from being done for long.
    pub(crate) async fn read_much(&self) -> Option<RwLockReadGuard<'_, ()>> {
        match &self.log {
            Some(log) => Some(log.read(self).await),
            None => None,
        }
    }

    /// Reads database time in a statement of its own.
    pub(crate) async fn now(&self, connection: &impl ConnectionTrait) -> Result<Timestamp, StoreError> {
        let mut query = Query::select();
        self.select_now(&mut query);
        let row = connection.query_one(&query).await?;
        self.read_now(&row.ok_or_else(|| StoreError::corrupt("feed", "1".to_owned(), "time could not be read".to_owned()))?)
    }

    /// Makes a statement return, with whatever else it does, what [`Self::read_now`] needs: PostgreSQL's clock (not the start of the
    /// transaction) and whether the server accepts writes, or SQLite's stored floor.
    pub(crate) fn select_now(&self, query: &mut SelectStatement) {
        if self.is_sqlite() {
            let mut floor = Query::select();
            floor.expr(ExprTrait::max(Expr::col(feed::Column::TimeFloor))).from(feed::Entity);
            query.expr_as(Expr::cust_with_exprs("coalesce(?, 0)", [Expr::SubQuery(None, Box::new(floor.into()))]), NOW);
        } else {
            query.expr_as(Expr::cust("(extract(epoch from clock_timestamp()) * 1000000)::bigint"), NOW);
            let no_writes = "(pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean)";
            query.expr_as(Expr::cust(no_writes), NO_WRITES);
        }
    }

    /// Database time out of a row of a statement that [`Self::select_now`] was applied to. An error if the row comes from a server on
    /// which nothing can be revoked: what it says may be long out of date.
    pub(crate) fn read_now(&self, row: &QueryResult) -> Result<Timestamp, StoreError> {
        if !self.is_sqlite() && self.connection.is_for_writing() && row.try_get("", NO_WRITES)? {
            return Err(self.connection.server_takes_no_writes().into());
        }
        let micros: i64 = row.try_get("", NOW)?;
        let time = Timestamp::from_unix_micros(micros)
            .map_err(|error| StoreError::corrupt("feed", "1".to_owned(), format!("column time_floor {error}")))?;
        if self.is_sqlite() {
            self.note_stored_time(time);
            Ok(self.clock.wall_time().max(self.time_floor()))
        } else {
            Ok(self.clock.database_time(time))
        }
    }

    /// Remembers that `time` is stored.
    pub(crate) fn note_stored_time(&self, time: Timestamp) {
        self.time_floor.fetch_max(time.unix_micros(), Ordering::AcqRel);
    }

    fn time_floor(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.time_floor.load(Ordering::Acquire)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}
