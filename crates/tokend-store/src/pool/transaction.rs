//! The boundaries of a transaction: BEGIN, COMMIT and ROLLBACK are sent here and nowhere else, as plain statements.
//!
//! The drivers' own transactions count how deep they believe to be, and go on counting where the database has ended the transaction on
//! its own account, as SQLite does when the disk is full. Here the database itself is asked:
//!
//! - BEGIN fails on a connection that is in a transaction. SQLite refuses it; PostgreSQL sends a warning, which counts as a failure.
//! - COMMIT fails unless the transaction that was begun is still open and sound. SQLite refuses it outside of a transaction. PostgreSQL
//!   would answer it by rolling back where a statement has failed, so it follows a SAVEPOINT, which only a sound transaction accepts;
//!   a warning means that the outcome is unknown, as when the wait for a synchronous standby was cancelled.
//! - After a statement has failed, or was given up half-way, no other is run and nothing is committed.
//!
//! The connection goes back to the pool after a COMMIT or ROLLBACK that succeeded, and is closed after everything else.

use std::sync::atomic::{AtomicBool, Ordering};

use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement, entity::prelude::async_trait::async_trait};
use sqlx::{AssertSqlSafe, SqlSafeStr};
use tokio::sync::Mutex;

use super::{Connection, driver_error, lease::Lease, warnings::watched};

/// What a transaction is begun for.
pub(crate) enum Begin {
    /// To write. On PostgreSQL it starts with these statements.
    Write { postgres: String },
    /// To read everything as it is at one moment.
    Snapshot,
}

/// A transaction. Dropped, it is rolled back and its connection closed.
pub(crate) struct Transaction {
    lease: Mutex<Lease>,
    is_sqlite: bool,
    /// Whether a statement is under way, has failed or was given up.
    is_unsound: AtomicBool,
}

/// The server acknowledged a statement, and said that something is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("the outcome is unknown: the database answered with a warning: {0}")]
struct Warned(String);

/// A statement was to be run after another had failed.
#[derive(Debug, thiserror::Error)]
#[error("a statement of this transaction has failed before")]
struct Unsound;

impl Transaction {
    pub(super) async fn begin(mut lease: Lease, begin: Begin) -> Result<Self, DbErr> {
        let is_sqlite = lease.is_sqlite();
        let begun = match (begin, is_sqlite) {
            // A transaction that began by reading could not go on to write once another had written.
            (Begin::Write { .. }, true) => boundary(&mut lease, "BEGIN IMMEDIATE").await,
            (Begin::Write { postgres }, false) => boundary(&mut lease, AssertSqlSafe(format!("BEGIN; {postgres}"))).await,
            // On SQLite every transaction is a snapshot.
            (Begin::Snapshot, true) => boundary(&mut lease, "BEGIN").await,
            (Begin::Snapshot, false) => boundary(&mut lease, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await,
        };
        match begun {
            Ok(()) => Ok(Self { lease: Mutex::new(lease), is_sqlite, is_unsound: AtomicBool::new(false) }),
            Err(error) => {
                lease.close().await;
                Err(error)
            }
        }
    }

    /// Commits. An error that says that the database is not available leaves open whether it did.
    pub(crate) async fn commit(self) -> Result<(), DbErr> {
        if self.is_unsound.into_inner() {
            self.lease.into_inner().close().await;
            return Err(DbErr::Custom(Unsound.to_string()));
        }
        let commit = if self.is_sqlite { "COMMIT" } else { "SAVEPOINT sound; COMMIT" };
        end(self.lease.into_inner(), commit).await
    }

    /// Rolls back. Whether or not the database answers, nothing of the transaction is stored afterwards.
    pub(crate) async fn rollback(self) {
        if let Err(error) = end(self.lease.into_inner(), "ROLLBACK").await {
            tracing::warn!(%error, "could not roll back; the connection was closed, which has the same effect");
        }
    }

    async fn statement<T>(&self, work: impl AsyncFnOnce(&mut Connection) -> Result<T, DbErr>) -> Result<T, DbErr> {
        let mut lease = self.lease.lock().await;
        if self.is_unsound.swap(true, Ordering::Relaxed) {
            return Err(DbErr::Custom(Unsound.to_string()));
        }
        let done = lease.with(work).await;
        // Not reached where this future is dropped.
        self.is_unsound.store(done.is_err(), Ordering::Relaxed);
        done
    }
}

/// Ends a transaction, and gives the connection back if that succeeded.
async fn end(mut lease: Lease, statements: &'static str) -> Result<(), DbErr> {
    let ended = boundary(&mut lease, statements).await;
    match &ended {
        Ok(()) => lease.give_back().await,
        Err(_) => lease.close().await,
    }
    ended
}

/// Runs statements that begin or end a transaction: a warning is a failure.
async fn boundary(lease: &mut Lease, statements: impl SqlSafeStr + Send) -> Result<(), DbErr> {
    let statements = statements.into_sql_str();
    let (done, warning) = watched(lease.with(async |connection| connection.run(statements).await)).await;
    done?;
    warning.map_or(Ok(()), |warning| Err(driver_error(sqlx::Error::Io(std::io::Error::other(Warned(warning))))))
}

#[async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        if self.is_sqlite { DbBackend::Sqlite } else { DbBackend::Postgres }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.statement(async |connection| connection.execute(statement).await).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.statement(async |connection| connection.run(AssertSqlSafe(sql)).await).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.statement(async |connection| connection.query_one(statement).await).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.statement(async |connection| connection.query_all(statement).await).await
    }
}
