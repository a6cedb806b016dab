//! One connection to either database.

use std::time::Duration;

use sea_orm::{DbErr, ExecResult, QueryResult, Statement};
use sea_query_sqlx::SqlxValues;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row, SqlSafeStr, SqliteConnection};
use tokio::time::timeout;

use crate::error::driver_error::{NotPrimary, is_not_primary, query_error, timed_out};

/// A connection to SQLite or PostgreSQL. Dropping it closes the connection, and the database rolls back an open
/// transaction.
pub(crate) enum Connection {
    Sqlite(SqliteConnection),
    Postgres {
        connection: Box<PgConnection>,
        /// How long an answer may take. Longer than the server lets a statement run, so a server that takes longer is
        /// unreachable.
        answer_timeout: Duration,
        /// Whether the server must accept writes.
        for_writing: bool,
    },
}

/// The server did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("the database has not answered for {0:?}")]
struct NoAnswer(Duration);

/// Runs `$work` with `$driver` bound to the driver's connection. On PostgreSQL it fails after `answer_timeout`.
macro_rules! on_driver {
    ($connection:expr, $driver:ident => $work:expr) => {
        match $connection {
            Connection::Sqlite($driver) => $work.await.map(Into::into),
            Connection::Postgres {
                connection,
                answer_timeout,
                ..
            } => {
                let $driver = &mut **connection;
                match timeout(*answer_timeout, $work).await {
                    Ok(done) => done.map(Into::into),
                    Err(_) => Err(no_answer(*answer_timeout)),
                }
            }
        }
    };
}

impl Connection {
    pub(crate) async fn execute(&mut self, statement: Statement) -> Result<ExecResult, DbErr> {
        let (sql, values) = parts(statement);
        on_driver!(self, driver => sqlx::query_with(AssertSqlSafe(sql), values).execute(driver)).map_err(query_error)
    }

    pub(crate) async fn query_one(&mut self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let (sql, values) = parts(statement);
        match on_driver!(self, driver => sqlx::query_with(AssertSqlSafe(sql), values).fetch_one(driver)) {
            Ok(row) => Ok(Some(row)),
            Err(sqlx::Error::RowNotFound) => Ok(None),
            Err(error) => Err(query_error(error)),
        }
    }

    pub(crate) async fn query_all(&mut self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let (sql, values) = parts(statement);
        let rows: Result<Rows, sqlx::Error> =
            on_driver!(self, driver => sqlx::query_with(AssertSqlSafe(sql), values).fetch_all(driver));
        rows.map(|rows| rows.0).map_err(query_error)
    }

    /// Runs statements without parameters.
    pub(crate) async fn run(&mut self, sql: impl SqlSafeStr) -> Result<ExecResult, DbErr> {
        on_driver!(self, driver => sqlx::raw_sql(sql).execute(driver)).map_err(query_error)
    }

    /// Checks that the connection works and that the server accepts writes if the connection is for writing.
    pub(crate) async fn check(&mut self) -> Result<(), sqlx::Error> {
        match self {
            // A file stays reachable.
            Self::Sqlite(_) => Ok(()),
            Self::Postgres {
                connection,
                answer_timeout,
                for_writing,
            } => match timeout(*answer_timeout, check_primary(connection)).await {
                Ok(checked) if *for_writing => checked,
                // A standby serves reads.
                Ok(Err(error)) if !is_not_primary(&error) => Err(error),
                Ok(_) => Ok(()),
                Err(_) => Err(no_answer(*answer_timeout)),
            },
        }
    }

    pub(crate) async fn close(self) {
        // An error changes nothing: whatever was not committed is rolled back.
        let _ = match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres {
                connection,
                answer_timeout,
                ..
            } => timeout(answer_timeout, connection.close())
                .await
                .unwrap_or_else(|_| Err(no_answer(answer_timeout))),
        };
    }
}

/// Returns an error if the server is a standby or accepts no writes.
pub(crate) async fn check_primary(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let query = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::boolean";
    // Not a prepared statement: a connection pooler may mix these up, and is checked only after this.
    let row = sqlx::raw_sql(query).fetch_one(connection).await?;
    if row.try_get(0)? {
        return Err(NotPrimary::Standby.into());
    }
    if row.try_get(1)? {
        return Err(NotPrimary::ReadOnly.into());
    }
    Ok(())
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

fn no_answer(answer_timeout: Duration) -> sqlx::Error {
    timed_out(NoAnswer(answer_timeout))
}
