use std::time::Duration;

/// Where the database is and how patient the store is with it.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// `sqlite://PATH`, or `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=...`.
    pub url: String,
    /// Most connections, 2 or more: writes leave at least one to reads. Default: 8.
    pub max_connections: u32,
    /// Most connections of the reserved lane, 2 or more, on top of the others. Default: 3.
    pub reserved_connections: u32,
    /// Most connections for lists, 2 or more, on top of the others: few, because a list may look at many rows. Default: 2.
    pub list_connections: u32,
    /// Lists that may wait or be under way. Default: 64.
    pub max_lists: u32,
    /// Calls that may wait or be under way in one other lane, those included whose callers gave up. Default: 2,048.
    pub max_waiting: u32,
    /// How long a statement waits for a free connection before the database counts as unavailable. Default: 250 ms, because a service
    /// that waits for a verdict is better told to try again. In the other lanes it waits for `write_wait`. Connections are opened
    /// in the background, which may take longer than that.
    pub pool_wait: Duration,
    /// PostgreSQL: how long opening a connection may take, for each server that the URL names. Default: 5 s.
    pub connect_timeout: Duration,
    /// How long a write waits for other writes: for its turn, and on SQLite for other processes' locks. Default: 4 s,
    /// less than a call may take.
    pub write_wait: Duration,
    /// PostgreSQL: how long a write waits for a row's lock. Default: 1.5 s, longer than the second after which PostgreSQL ends the
    /// transaction of a paused process that holds it.
    pub lock_timeout: Duration,
    /// PostgreSQL: how long one statement may run. Default: 2 s. SQLite has no such limit and needs none: what a statement reads is
    /// found by key, or is a bounded number of rows, waiting for locks ends with `write_wait`, and whoever asked is answered when their
    /// deadline has come.
    pub statement_timeout: Duration,
    /// Start although PostgreSQL may forget what it has acknowledged. Default: no.
    pub allow_unsafe_durability: bool,
    /// Bring an older schema up to date when opening, rather than refuse to start. Default: yes.
    pub migrate: bool,
}

/// How a write holds what keys may do, for all servers: an advisory lock, which queues fairly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeysLock {
    /// Together with other writes.
    Shared,
    /// Alone.
    Exclusive,
}

impl Settings {
    /// The defaults for the database at `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_connections: 8,
            reserved_connections: 3,
            list_connections: 2,
            max_lists: 64,
            max_waiting: 2_048,
            pool_wait: Duration::from_millis(250),
            connect_timeout: Duration::from_secs(5),
            write_wait: Duration::from_secs(4),
            lock_timeout: Duration::from_millis(1_500),
            statement_timeout: Duration::from_secs(2),
            allow_unsafe_durability: false,
            migrate: true,
        }
    }

    /// Waits longer for connections, as a command may that serves nobody: 30 s.
    #[must_use]
    pub fn for_command(self) -> Self {
        const WAIT: Duration = Duration::from_secs(30);
        Self { pool_wait: WAIT, connect_timeout: WAIT, ..self }
    }

    /// What every PostgreSQL transaction that writes begins with.
    ///
    /// The isolation is what the order of revisions is built on, whatever the server's default. The timeouts keep one paused or
    /// stuck process from holding the locks that every other write needs.
    pub(crate) fn postgres_transaction(&self, keys: KeysLock) -> String {
        const IDLE_MS: u32 = 1_000;
        let lock = match keys {
            KeysLock::Shared => "pg_advisory_xact_lock_shared",
            KeysLock::Exclusive => "pg_advisory_xact_lock",
        };
        format!(
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = {IDLE_MS}; \
             SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}; SELECT {lock}(8390042706830226)",
            self.lock_timeout.as_millis(),
            self.statement_timeout.as_millis(),
        )
    }
}

impl std::fmt::Debug for Settings {
    /// Leaves the URL out: it may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}
