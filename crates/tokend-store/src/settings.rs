//! Where the database is, and how long the store waits.

use std::time::Duration;

/// Where the database is, how many connections the store opens and how long it waits.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// `sqlite://PATH`, or `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=...`.
    pub url: String,
    /// The maximum number of connections of the ordinary pool, at least 2: writes leave one for reads. Default: 8.
    pub max_connections: u32,
    /// The maximum number of connections of the reserved pool, at least 2. Default: 3.
    pub reserved_connections: u32,
    /// The maximum number of connections of the pool for lists, at least 2. Keep it small, because a list may read many
    /// rows. Default: 2.
    pub list_connections: u32,
    /// The maximum number of lists that run or wait. Default: 64.
    pub max_lists: u32,
    /// The maximum number of calls that run or wait in each of the other pools, including calls whose callers gave up.
    /// Default: 2,048.
    pub max_waiting: u32,
    /// How long a statement of the ordinary pool waits for a connection before the database counts as unavailable.
    /// Default: 250 ms, because a service that waits for a verdict should rather retry. In the other pools a statement
    /// waits for `write_wait`. Connections are opened in the background, which may take longer.
    pub pool_wait: Duration,
    /// PostgreSQL: how long opening a connection may take, for each server that the URL names. Default: 5 s.
    pub connect_timeout: Duration,
    /// How long a write waits for other writes of this process and, on SQLite, for locks of other processes. Default: 4
    /// s, which is less than the deadline of a call.
    pub write_wait: Duration,
    /// PostgreSQL: how long a write waits for the lock of a row. Default: 1.5 s, which is longer than the second after
    /// which PostgreSQL ends the transaction of a paused process that holds the lock.
    pub lock_timeout: Duration,
    /// PostgreSQL: how long one statement may run. Default: 2 s. SQLite has no such limit and needs none: a statement
    /// reads a bounded number of rows, waiting for locks ends after `write_wait`, and a call is answered at its
    /// deadline.
    pub statement_timeout: Duration,
    /// Store a message to the webhook in the outbox for each change that has one. Default: no.
    pub has_webhook: bool,
    /// Whether to start although PostgreSQL may lose committed transactions in a crash. Default: no.
    pub allow_unsafe_durability: bool,
    /// Whether opening a store migrates an older schema. If not, opening fails. Default: yes.
    pub migrate: bool,
}

/// How a write locks the states of keys, for all servers: with an advisory lock, which queues fairly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeysLock {
    /// Shared with other writes.
    Shared,
    /// Exclusive.
    Exclusive,
}

impl StoreSettings {
    /// Returns the defaults for the database at `url`.
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
            has_webhook: false,
            allow_unsafe_durability: false,
            migrate: true,
        }
    }

    /// Returns settings for a command, which may wait longer for connections than a server: 30 s.
    #[must_use]
    pub fn for_command(self) -> Self {
        const WAIT: Duration = Duration::from_secs(30);
        Self {
            pool_wait: WAIT,
            connect_timeout: WAIT,
            ..self
        }
    }

    /// Returns the statements with which every PostgreSQL transaction that writes begins.
    ///
    /// They set the isolation level, which the order of revisions relies on, whatever the server's default is. The
    /// timeouts keep a paused or stuck process from holding locks that every other write needs.
    pub(crate) fn postgres_transaction(&self, keys: KeysLock) -> String {
        const IDLE_MS: u32 = 1_000;
        let lock = match keys {
            KeysLock::Shared => "pg_advisory_xact_lock_shared",
            KeysLock::Exclusive => "pg_advisory_xact_lock",
        };
        format!(
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = \
             {IDLE_MS}; \
             SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}; SELECT {lock}(8390042706830226)",
            self.lock_timeout.as_millis(),
            self.statement_timeout.as_millis(),
        )
    }
}

impl std::fmt::Debug for StoreSettings {
    /// Leaves out the URL, which may contain a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreSettings")
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}
