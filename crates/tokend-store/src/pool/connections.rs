//! The connections of one pool: which are unused, how many are in use, and opening more of them in the background.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sea_orm::DbErr;
use tokend_core::time::{BootTime, Clock};
use tokio::{
    sync::{Notify, Semaphore},
    time::sleep,
};

use crate::{
    database::{self, Connection, Target},
    error::driver_error::connection_error,
    settings::StoreSettings,
};

/// The pauses between attempts to open a connection: the first and the longest. Each is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// The number of connections that are kept open although nobody needs them.
const WARM: u32 = 1;

/// A connection of a pool, with the facts that decide whether it can be reused.
pub(super) struct Pooled {
    pub(super) connection: Connection,
    pub(super) opened: BootTime,
    pub(super) used: BootTime,
    /// [`Target::generation`] when the connection was opened.
    pub(super) generation: u64,
}

/// The connections of one pool. Cheap to clone: all clones share the same connections.
#[derive(Clone)]
pub(super) struct Connections {
    inner: Arc<Inner>,
}

struct Inner {
    target: Arc<Target>,
    clock: Clock,
    /// The maximum number of connections, including those that are being opened.
    size: u32,
    state: Mutex<State>,
    /// One permit for each connection in [`State::unused`]. Closed with the pool.
    available: Semaphore,
    /// Notified when a lease ends or an attempt to open a connection ends.
    ended: Notify,
}

#[derive(Default)]
struct State {
    /// A stack: the connection that was used last is used first.
    unused: Vec<Pooled>,
    leased: u32,
    opening: u32,
    /// The number of calls that wait for a connection.
    waiting: u32,
    is_closed: bool,
    /// Why the last attempt to open a connection failed, if no later attempt succeeded.
    problem: Option<String>,
}

impl Connections {
    /// Opens the first connection in the background. All connections belong to the runtime that calls this.
    pub(super) fn open(target: Arc<Target>, settings: &StoreSettings, clock: Clock) -> Self {
        let connections = Self {
            inner: Arc::new(Inner {
                target,
                clock,
                size: database::connections(settings),
                state: Mutex::default(),
                available: Semaphore::new(0),
                ended: Notify::new(),
            }),
        };
        connections.open_if_needed();
        connections
    }

    pub(super) fn target(&self) -> &Target {
        &self.inner.target
    }

    pub(super) fn now(&self) -> BootTime {
        self.inner.clock.boot_time()
    }

    /// Counts a call as waiting until the returned guard is dropped. Opens connections that are needed now.
    pub(super) fn waiting(&self) -> Waiting<'_> {
        self.state().waiting += 1;
        self.open_if_needed();
        Waiting(self)
    }

    /// Waits for an unused connection and counts it as leased. Call [`lease_ended`](Self::lease_ended) once for each.
    pub(super) async fn take(&self) -> Result<Pooled, DbErr> {
        loop {
            let Ok(permit) = self.inner.available.acquire().await else {
                return Err(connection_error(sqlx::Error::PoolClosed));
            };
            permit.forget();
            let mut state = self.state();
            if let Some(pooled) = state.unused.pop() {
                state.leased += 1;
                return Ok(pooled);
            }
        }
    }

    /// Adds a connection that works and is outside of a transaction. Returns it if the pool is closed.
    pub(super) fn add(&self, pooled: Pooled) -> Result<(), Pooled> {
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

    /// Counts a lease that has ended. Replaces its connection if that was closed and is needed.
    pub(super) fn lease_ended(&self) {
        self.state().leased -= 1;
        self.inner.ended.notify_one();
        // Without a runtime nobody waits for a connection.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.open_if_needed();
        }
    }

    /// Closes the connections, and waits for those in use. Calls that wait for a connection fail.
    pub(super) async fn close(&self) {
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

    pub(super) fn has_unused(&self) -> bool {
        !self.state().unused.is_empty()
    }

    /// Returns why the last attempt to open a connection failed, if no later attempt succeeded.
    pub(super) fn problem(&self) -> Option<String> {
        self.state().problem.clone()
    }

    /// Opens connections in the background if more calls wait than connections are unused or being opened, or if too
    /// few are kept warm.
    fn open_if_needed(&self) {
        let mut state = self.state();
        while state.needs_connection(self.inner.size) {
            state.opening += 1;
            tokio::spawn(self.clone().open_one());
        }
    }

    /// Tries to open a connection until it succeeds or nobody needs the connection any more.
    async fn open_one(self) {
        let mut pause = PAUSES.0;
        loop {
            let generation = self.inner.target.generation();
            let opened = self.inner.target.connect().await;
            let problem = match opened {
                Ok(connection) => {
                    let now = self.now();
                    if let Err(pooled) = self.add(Pooled {
                        connection,
                        opened: now,
                        used: now,
                        generation,
                    }) {
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

    /// Logs why a connection could not be opened, once for each reason in a row, and keeps the reason for the error of
    /// the calls that wait.
    fn report(&self, problem: String) {
        let mut state = self.state();
        if state.problem.as_ref() != Some(&problem) {
            tracing::warn!(%problem, "can't connect to the database; trying again");
        }
        state.problem = Some(problem);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn needs_connection(&self, size: u32) -> bool {
        let unused = u32::try_from(self.unused.len()).unwrap_or(u32::MAX);
        let open = self.leased.saturating_add(self.opening).saturating_add(unused);
        let is_wanted = self.waiting > unused.saturating_add(self.opening) || open < WARM;
        !self.is_closed && open < size && is_wanted
    }

    /// Returns whether a connection that is being opened is still needed.
    fn needs_this_one(&mut self, size: u32) -> bool {
        self.opening -= 1;
        let is_needed = self.needs_connection(size);
        self.opening += 1;
        is_needed
    }

    /// Returns whether a closed pool still has connections. On SQLite the connections that are being opened count: the
    /// connection that is closed last empties the write-ahead log.
    fn is_busy(&self, is_sqlite: bool) -> bool {
        self.leased > 0 || (is_sqlite && self.opening > 0)
    }
}

/// A call that waits for a connection.
pub(super) struct Waiting<'a>(&'a Connections);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}
