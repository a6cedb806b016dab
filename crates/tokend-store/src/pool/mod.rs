//! Connections that are used again and again.
//!
//! Three rules make a pooled connection trustworthy:
//!
//! - **It is given back, or it is closed.** Whoever borrows a connection gives it back only once it is known to be outside of a
//!   transaction and to work. Everything else that may become of a [`Lease`] (an error, a panic, a dropped future) closes it.
//! - **It leads to a server that accepts writes.** A connection is checked when it is opened and after it was unused for a second.
//!   Once one connection turns out to lead elsewhere, every connection of every pool that was opened before is replaced.
//! - **It is opened in the background.** A call waits a short time for a connection, whoever opened it; opening one may take longer
//!   than that, and goes on when the call has given up.

mod connection;
mod lease;
mod transaction;
mod warnings;

pub(crate) use connection::{Connection, NotPrimary, check_primary, is_not_primary};
pub(crate) use transaction::{Begin, Transaction};

use lease::{Lease, Pooled};

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement, entity::prelude::async_trait::async_trait,
};
use tokend_core::clock::Clock;
use tokio::{
    sync::{Notify, Semaphore},
    time::{sleep, timeout},
};

use crate::{
    database::{self, Target},
    error::closes_connection,
    settings::Settings,
};

/// The pauses between attempts to open a connection: from the first to the longest, each twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// Connections that are kept open although nobody needs them.
const WARM: u32 = 1;

/// Connections to one database. Cheap to clone: all clones are the same pool.
#[derive(Clone)]
pub(crate) struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    target: Arc<Target>,
    clock: Clock,
    /// The most connections, those that are being opened included.
    size: u32,
    /// How long a call waits for a connection.
    wait: Duration,
    state: Mutex<State>,
    /// A permit for each connection in [`State::unused`]; closed with the pool.
    available: Semaphore,
    /// Notified when a lease or an attempt to open a connection ends.
    ended: Notify,
}

#[derive(Default)]
struct State {
    /// The one used last is at the end, and used first.
    unused: Vec<Pooled>,
    leased: u32,
    opening: u32,
    /// Calls that wait for a connection.
    waiting: u32,
    is_closed: bool,
    /// Why the last attempt to open a connection failed, if no later one succeeded.
    problem: Option<String>,
}

/// No connection became available in time.
#[derive(Debug, thiserror::Error)]
#[error("no connection became available within {wait:?}{}", .problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default())]
struct NoConnection {
    wait: Duration,
    problem: Option<String>,
}

impl Pool {
    /// A pool of connections to `target`, all of which belong to the runtime that calls this. Opens the first in the background.
    pub(crate) fn open(target: Arc<Target>, settings: &Settings, clock: Clock) -> Self {
        let inner = Inner {
            target,
            clock,
            size: database::connections(settings),
            wait: settings.pool_wait,
            state: Mutex::default(),
            available: Semaphore::new(0),
            ended: Notify::new(),
        };
        let pool = Self { inner: Arc::new(inner) };
        pool.open_if_needed();
        pool
    }

    /// Waits for the first connection, at most `wait`.
    pub(crate) async fn warm_up(&self, wait: Duration) {
        if let Ok(lease) = self.lease_within(wait).await {
            lease.give_back().await;
        }
    }

    async fn lease_within(&self, wait: Duration) -> Result<Lease, DbErr> {
        match timeout(wait, self.next()).await {
            Ok(lease) => lease,
            Err(_) => {
                let problem = self.state().problem.clone();
                Err(driver_error(sqlx::Error::Io(std::io::Error::other(NoConnection { wait, problem }))))
            }
        }
    }

    /// Waits for a connection as long as a call does.
    async fn lease(&self) -> Result<Lease, DbErr> {
        self.lease_within(self.inner.wait).await
    }

    /// Begins a transaction.
    pub(crate) async fn begin(&self, begin: Begin) -> Result<Transaction, DbErr> {
        Transaction::begin(self.lease().await?, begin).await
    }

    /// Says that the server that was just read from accepts no writes: replaces the connections of all pools of this database.
    pub(crate) fn server_takes_no_writes(&self) -> DbErr {
        self.inner.target.end_generation(self.inner.target.generation());
        driver_error(sqlx::Error::Configuration(NotPrimary::NoWrites.into()))
    }

    /// Whether connections go over TCP.
    pub(crate) fn uses_tcp(&self) -> bool {
        self.inner.target.uses_tcp()
    }

    /// Whether the database has to accept writes.
    pub(crate) fn is_for_writing(&self) -> bool {
        self.inner.target.is_for_writing()
    }

    /// Closes the connections, and waits for those that are in use. Who waits for one is told that there is none.
    pub(crate) async fn close(&self) {
        let unused = {
            let mut state = self.state();
            state.is_closed = true;
            std::mem::take(&mut state.unused)
        };
        self.inner.available.close();
        for pooled in unused {
            pooled.connection.close().await;
        }
        while self.state().is_busy(self.inner.target.is_sqlite()) {
            self.inner.ended.notified().await;
        }
    }

    async fn next(&self) -> Result<Lease, DbErr> {
        let _waiting = Waiting::begin(self);
        loop {
            let Ok(permit) = self.inner.available.acquire().await else { return Err(driver_error(sqlx::Error::PoolClosed)) };
            permit.forget();
            let pooled = {
                let mut state = self.state();
                let Some(pooled) = state.unused.pop() else { continue };
                state.leased += 1;
                pooled
            };
            let mut lease = Lease::new(pooled, self.clone());
            if lease.is_usable().await {
                return Ok(lease);
            }
            lease.close().await;
        }
    }

    /// Opens a connection in the background if more calls wait than there are connections to come, or too few are kept warm.
    fn open_if_needed(&self) {
        let mut state = self.state();
        while state.needs_connection(self.inner.size) {
            state.opening += 1;
            tokio::spawn(self.clone().open_one());
        }
    }

    /// Opens a connection: tries until there is one, or nobody needs one any more.
    async fn open_one(self) {
        let mut pause = PAUSES.0;
        loop {
            let generation = self.inner.target.generation();
            let opened = self.inner.target.connect().await;
            let problem = match opened {
                Ok(connection) => {
                    let now = self.inner.clock.boot_time();
                    if let Err(pooled) = self.keep(Pooled { connection, opened: now, used: now, generation }) {
                        pooled.connection.close().await;
                    }
                    break;
                }
                Err(error) => error.to_string(),
            };
            self.report(problem);
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
            if !self.state().needs_this_one(self.inner.size) {
                break;
            }
        }
        self.state().opening -= 1;
        self.inner.ended.notify_one();
    }

    /// Logs why a connection was not opened, once for each reason in a row, and tells it to those who wait in vain.
    fn report(&self, problem: String) {
        let mut state = self.state();
        if state.problem.as_ref() != Some(&problem) {
            tracing::warn!(%problem, "can't connect to the database; trying again");
        }
        state.problem = Some(problem);
    }

    /// Takes a connection in that works and is outside of a transaction. Hands it back if the pool is closed.
    fn keep(&self, pooled: Pooled) -> Result<(), Pooled> {
        let mut state = self.state();
        if state.is_closed {
            return Err(pooled);
        }
        state.problem = None;
        state.unused.push(pooled);
        drop(state);
        self.inner.available.add_permits(1);
        Ok(())
    }

    fn has_unused(&self) -> bool {
        !self.state().unused.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn backend(&self) -> DbBackend {
        if self.inner.target.is_sqlite() { DbBackend::Sqlite } else { DbBackend::Postgres }
    }
}

impl State {
    fn needs_connection(&self, size: u32) -> bool {
        let unused = u32::try_from(self.unused.len()).unwrap_or(u32::MAX);
        let open = self.leased.saturating_add(self.opening).saturating_add(unused);
        let is_wanted = self.waiting > unused.saturating_add(self.opening) || open < WARM;
        !self.is_closed && open < size && is_wanted
    }

    /// Whether a connection that is being opened is still needed.
    fn needs_this_one(&mut self, size: u32) -> bool {
        self.opening -= 1;
        let is_needed = self.needs_connection(size);
        self.opening += 1;
        is_needed
    }

    /// Whether a closed pool still has connections. On SQLite those count that are being opened: the last one that is closed empties
    /// the write-ahead log.
    fn is_busy(&self, is_sqlite: bool) -> bool {
        self.leased > 0 || (is_sqlite && self.opening > 0)
    }
}

/// Counts a call that waits.
struct Waiting<'a>(&'a Pool);

impl<'a> Waiting<'a> {
    fn begin(pool: &'a Pool) -> Self {
        pool.state().waiting += 1;
        pool.open_if_needed();
        Self(pool)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

/// Single statements, each on a connection of its own and without a transaction.
#[async_trait]
impl ConnectionTrait for Pool {
    fn get_database_backend(&self) -> DbBackend {
        self.backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.once(async |connection| connection.execute(statement).await).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.once(async |connection| connection.run(sqlx::AssertSqlSafe(sql)).await).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.once(async |connection| connection.query_one(statement).await).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.once(async |connection| connection.query_all(statement).await).await
    }
}

impl Pool {
    /// Runs `work` on one connection, outside of a transaction. A connection on which it failed is closed unless the error says that it
    /// still works.
    pub(crate) async fn once<T>(&self, work: impl AsyncFnOnce(&mut Connection) -> Result<T, DbErr>) -> Result<T, DbErr> {
        let mut lease = self.lease().await?;
        let done = lease.with(work).await;
        match &done {
            Err(error) if closes_connection(error) => lease.close().await,
            _ => lease.give_back().await,
        }
        done
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}

fn driver_error(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}
