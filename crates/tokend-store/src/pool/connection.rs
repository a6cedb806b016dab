//! One connection, whichever database it leads to.

use std::time::Duration;

use sea_orm::{DbErr, ExecResult, QueryResult, RuntimeErr, Statement};
use sea_query_sqlx::SqlxValues;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row, SqlSafeStr, SqliteConnection};
use tokio::time::timeout;

/// A connection to either database. Dropped, it is closed, and the database rolls back what was not committed on it.
pub(crate) enum Connection {
    Sqlite(SqliteConnection),
    Postgres {
        connection: Box<PgConnection>,
        /// How long an answer may take: longer than the server lets a statement run. A server that takes longer is gone.
        patience: Duration,
        /// Whether the server has to accept writes.
        for_writing: bool,
    },
}

/// Why a server is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotPrimary {
    #[error("the server is a standby, which can't revoke anything")]
    Standby,
    #[error("the server accepts no writes (transaction_read_only is on)")]
    ReadOnly,
    #[error("the server has become a standby or accepts no writes")]
    NoWrites,
}

/// The server did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("the database has not answered for {0:?}")]
struct NoAnswer(Duration);

/// Runs `$work` on the driver's connection, bound to `$driver`, for as long as an answer may take.
macro_rules! on_driver {
    ($connection:expr, $driver:ident => $work:expr) => {
        match $connection {
            Connection::Sqlite($driver) => $work.await.map(Into::into),
            Connection::Postgres { connection, patience, .. } => {
                let $driver = &mut **connection;
                match timeout(*patience, $work).await {
                    Ok(done) => done.map(Into::into),
                    Err(_) => Err(no_answer(*patience)),
                }
            }
        }
    };
}

impl Connection {
    pub(super) async fn execute(&mut self, statement: Statement) -> Result<ExecResult, DbErr> {
        let (sql, values) = parts(statement);
        on_driver!(self, driver => sqlx::query_with(AssertSqlSafe(sql), values).execute(driver)).map_err(failed)
    }

    pub(crate) async fn query_one(&mut self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let (sql, values) = parts(statement);
        match on_driver!(self, driver => sqlx::query_with(AssertSqlSafe(sql), values).fetch_one(driver)) {
            Ok(row) => Ok(Some(row)),
            Err(sqlx::Error::RowNotFound) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    pub(super) async fn query_all(&mut self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let (sql, values) = parts(statement);
        let rows: Result<Rows, sqlx::Error> =
            on_driver!(self, driver => sqlx::query_with(AssertSqlSafe(sql), values).fetch_all(driver));
        rows.map(|rows| rows.0).map_err(failed)
    }

    /// Runs statements that have no parameters.
    pub(crate) async fn run(&mut self, sql: impl SqlSafeStr) -> Result<ExecResult, DbErr> {
        on_driver!(self, driver => sqlx::raw_sql(sql).execute(driver)).map_err(failed)
    }

    /// Fails unless the connection works and leads to a server that accepts what the connection is for.
    pub(super) async fn check(&mut self) -> Result<(), sqlx::Error> {
        match self {
            // A file does not go away.
            Self::Sqlite(_) => Ok(()),
            Self::Postgres { connection, patience, for_writing } => match timeout(*patience, check_primary(connection)).await {
                Ok(checked) if *for_writing => checked,
                // It answered.
                Ok(Err(error)) if !is_not_primary(&error) => Err(error),
                Ok(_) => Ok(()),
                Err(_) => Err(no_answer(*patience)),
            },
        }
    }

    pub(super) async fn close(self) {
        // What was not stored by now never will be.
        let _ = match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres { connection, patience, .. } => {
                timeout(patience, connection.close()).await.unwrap_or_else(|_| Err(no_answer(patience)))
            }
        };
    }
}

/// Fails if the server is a standby or accepts no writes.
pub(crate) async fn check_primary(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let query = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::boolean";
    // Not prepared: an old connection pooler mixes prepared statements up, and has not been recognized yet.
    let row = sqlx::raw_sql(query).fetch_one(connection).await?;
    match (row.try_get(0)?, row.try_get(1)?) {
        (true, _) => Err(sqlx::Error::Configuration(NotPrimary::Standby.into())),
        (false, true) => Err(sqlx::Error::Configuration(NotPrimary::ReadOnly.into())),
        (false, false) => Ok(()),
    }
}

/// Whether an error says that the server takes no writes.
pub(crate) fn is_not_primary(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Configuration(problem) => problem.is::<NotPrimary>(),
        _ => false,
    }
}

/// Rows of either driver.
struct Rows(Vec<QueryResult>);

impl<R: Into<QueryResult>> From<Vec<R>> for Rows {
    fn from(rows: Vec<R>) -> Self {
        Self(rows.into_iter().map(Into::into).collect())
    }
}

fn parts(Statement { sql, values, .. }: Statement) -> (String, SqlxValues) {
    (sql, SqlxValues(values.unwrap_or_else(|| sea_orm::Values(Vec::new()))))
}

fn failed(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}

fn no_answer(patience: Duration) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, NoAnswer(patience)))
}
