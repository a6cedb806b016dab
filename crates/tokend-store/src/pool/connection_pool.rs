//! The pool of connections to one database, and single statements outside of a transaction.

use std::{fmt, sync::Arc, time::Duration};

use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement, entity::prelude::async_trait::async_trait,
};
use tokend_core::time::Clock;
use tokio::time::timeout;

use super::{
    connections::Connections,
    lease::Lease,
    transaction::{Begin, Transaction},
};
use crate::{
    database::{Connection, Target},
    error::driver_error::{NotPrimary, closes_connection, connection_error},
    settings::StoreSettings,
};

/// Connections to one database. Cheap to clone: all clones are the same pool.
#[derive(Clone)]
pub(crate) struct ConnectionPool {
    connections: Connections,
    /// How long a call waits for a connection.
    wait: Duration,
}

/// No connection became available in time.
#[derive(Debug, thiserror::Error)]
#[error("no connection became available within {wait:?}{problem}")]
struct NoConnection {
    wait: Duration,
    /// Empty, or `: ` and why no connection could be opened.
    problem: String,
}

impl ConnectionPool {
    /// Creates a pool of connections to `target` and opens the first one in the background. All connections belong to
    /// the runtime that calls this.
    pub(crate) fn open(target: Arc<Target>, settings: &StoreSettings, clock: Clock) -> Self {
        Self {
            connections: Connections::open(target, settings, clock),
            wait: settings.pool_wait,
        }
    }

    /// Waits for the first connection, at most `wait`.
    pub(crate) async fn warm_up(&self, wait: Duration) {
        if let Ok(lease) = self.lease_within(wait).await {
            lease.give_back().await;
        }
    }

    async fn lease_within(&self, wait: Duration) -> Result<Lease, DbErr> {
        match timeout(wait, Lease::next(&self.connections)).await {
            Ok(lease) => lease,
            Err(_) => {
                let problem = self.connections.problem();
                let problem = problem.map(|problem| format!(": {problem}")).unwrap_or_default();
                let error = std::io::Error::other(NoConnection { wait, problem });
                Err(connection_error(sqlx::Error::Io(error)))
            }
        }
    }

    async fn lease(&self) -> Result<Lease, DbErr> {
        self.lease_within(self.wait).await
    }

    /// Begins a transaction.
    pub(crate) async fn begin(&self, begin: Begin) -> Result<Transaction, DbErr> {
        Transaction::begin(self.lease().await?, begin).await
    }

    /// Runs `work` on one connection, outside of a transaction. If it fails, the connection is closed unless the error
    /// says that it still works.
    pub(crate) async fn once<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, DbErr>,
    ) -> Result<T, DbErr> {
        let mut lease = self.lease().await?;
        let done = lease.with(work).await;
        match &done {
            Err(error) if closes_connection(error) => lease.close().await,
            _ => lease.give_back().await,
        }
        done
    }

    /// Replaces the connections of all pools of this database, because the server that was just read from accepts no
    /// writes. Returns the error to report.
    pub(crate) fn server_takes_no_writes(&self) -> DbErr {
        let target = self.connections.target();
        target.end_generation(target.generation());
        connection_error(NotPrimary::NoWrites.into())
    }

    /// Returns where the connections lead to.
    pub(crate) fn target(&self) -> &Target {
        self.connections.target()
    }

    /// Returns whether the database must accept writes.
    pub(crate) fn is_for_writing(&self) -> bool {
        self.connections.target().is_for_writing()
    }

    /// Closes the connections, and waits for those in use. Calls that wait for a connection fail.
    pub(crate) async fn close(&self) {
        self.connections.close().await;
    }
}

/// Single statements, each on a connection of its own and outside of a transaction.
#[async_trait]
impl ConnectionTrait for ConnectionPool {
    fn get_database_backend(&self) -> DbBackend {
        if self.connections.target().is_sqlite() {
            DbBackend::Sqlite
        } else {
            DbBackend::Postgres
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.once(async |connection| connection.execute(statement).await).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.once(async |connection| connection.run(sqlx::AssertSqlSafe(sql)).await)
            .await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.once(async |connection| connection.query_one(statement).await)
            .await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.once(async |connection| connection.query_all(statement).await)
            .await
    }
}

impl fmt::Debug for ConnectionPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionPool")
    }
}
