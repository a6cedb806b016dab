//! Transactions. Only this module sends BEGIN, COMMIT and ROLLBACK, as plain statements.
//!
//! The drivers' own transactions count their nesting depth, and count wrongly when the database has ended the
//! transaction by itself, as SQLite does when the disk is full. This module relies on the database instead:
//!
//! - BEGIN fails on a connection that is in a transaction. SQLite returns an error. PostgreSQL sends a warning, which
//!   counts as an error.
//! - COMMIT fails unless the transaction is still open and no statement has failed. SQLite returns an error outside of
//!   a transaction. PostgreSQL would silently roll back after a failed statement, so a SAVEPOINT precedes the COMMIT,
//!   which fails in that case. A warning means that the outcome is unknown, for example because the wait for a
//!   synchronous standby was cancelled.
//! - After a statement has failed or was aborted, no other statement runs and nothing is committed.
//!
//! The connection returns to the pool after a COMMIT or ROLLBACK that succeeded. In every other case it is closed.

use std::sync::atomic::{AtomicBool, Ordering};

use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement, entity::prelude::async_trait::async_trait,
};
use sqlx::{AssertSqlSafe, SqlSafeStr};
use tokio::sync::Mutex;

use super::{lease::Lease, warnings::watched};
use crate::{database::Connection, error::driver_error::connection_error};

/// The kind of a transaction.
pub(crate) enum Begin {
    /// A write. On PostgreSQL it starts with these statements.
    Write { postgres: String },
    /// Reads that all see the same state.
    Snapshot,
}

/// A transaction. Dropping it rolls it back and closes its connection.
pub(crate) struct Transaction {
    lease: Mutex<Lease>,
    is_sqlite: bool,
    /// Whether a statement is running, has failed or was aborted.
    is_unsound: AtomicBool,
}

/// The server acknowledged a statement with a warning.
#[derive(Debug, thiserror::Error)]
#[error("the outcome is unknown: the database answered with a warning: {0}")]
struct Warned(String);

/// A statement was sent after another had failed.
#[derive(Debug, thiserror::Error)]
#[error("a statement of this transaction has failed before")]
struct Unsound;

impl Transaction {
    pub(super) async fn begin(mut lease: Lease, begin: Begin) -> Result<Self, DbErr> {
        let is_sqlite = lease.is_sqlite();
        let begun = match (begin, is_sqlite) {
            // A transaction that begins with a read can't write after another one has written.
            (Begin::Write { .. }, true) => boundary(&mut lease, "BEGIN IMMEDIATE").await,
            (Begin::Write { postgres }, false) => {
                boundary(&mut lease, AssertSqlSafe(format!("BEGIN; {postgres}"))).await
            }
            // On SQLite every transaction is a snapshot.
            (Begin::Snapshot, true) => boundary(&mut lease, "BEGIN").await,
            (Begin::Snapshot, false) => boundary(&mut lease, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await,
        };
        match begun {
            Ok(()) => Ok(Self {
                lease: Mutex::new(lease),
                is_sqlite,
                is_unsound: AtomicBool::new(false),
            }),
            Err(error) => {
                lease.close().await;
                Err(error)
            }
        }
    }

    /// Commits. After an error that says that the database is not available, the transaction may have been committed.
    pub(crate) async fn commit(self) -> Result<(), DbErr> {
        if self.is_unsound.into_inner() {
            self.lease.into_inner().close().await;
            return Err(DbErr::Custom(Unsound.to_string()));
        }
        let commit = if self.is_sqlite {
            "COMMIT"
        } else {
            "SAVEPOINT sound; COMMIT"
        };
        end(self.lease.into_inner(), commit).await
    }

    /// Rolls back. Nothing of the transaction is stored afterwards, whether or not the database answers.
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
        // Not reached if this future is dropped.
        self.is_unsound.store(done.is_err(), Ordering::Relaxed);
        done
    }
}

/// Ends a transaction. Returns the connection to the pool if that succeeded.
async fn end(mut lease: Lease, statements: &'static str) -> Result<(), DbErr> {
    let ended = boundary(&mut lease, statements).await;
    match &ended {
        Ok(()) => lease.give_back().await,
        Err(_) => lease.close().await,
    }
    ended
}

/// Runs statements that begin or end a transaction. A warning is an error.
async fn boundary(lease: &mut Lease, statements: impl SqlSafeStr + Send) -> Result<(), DbErr> {
    let statements = statements.into_sql_str();
    let (done, warning) = watched(lease.with(async |connection| connection.run(statements).await)).await;
    done?;
    warning.map_or(Ok(()), |warning| {
        Err(connection_error(sqlx::Error::Io(std::io::Error::other(Warned(
            warning,
        )))))
    })
}

#[async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        if self.is_sqlite {
            DbBackend::Sqlite
        } else {
            DbBackend::Postgres
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.statement(async |connection| connection.execute(statement).await)
            .await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.statement(async |connection| connection.run(AssertSqlSafe(sql)).await)
            .await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.statement(async |connection| connection.query_one(statement).await)
            .await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.statement(async |connection| connection.query_all(statement).await)
            .await
    }
}
