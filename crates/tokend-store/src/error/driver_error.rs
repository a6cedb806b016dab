//! What errors of sqlx and sea-orm mean. No other module looks at driver error codes.

use std::{error::Error, io};

use sea_orm::{DbErr, RuntimeErr};

use super::{open_error::PoolerProblem, store_error::StoreError};

/// Primary result codes of SQLite.
pub(crate) const SQLITE_PERM: u32 = 3;
pub(crate) const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
const SQLITE_NOMEM: u32 = 7;
pub(crate) const SQLITE_READONLY: u32 = 8;
const SQLITE_INTERRUPT: u32 = 9;
pub(crate) const SQLITE_IOERR: u32 = 10;
const SQLITE_FULL: u32 = 13;
pub(crate) const SQLITE_CANTOPEN: u32 = 14;
const SQLITE_PROTOCOL: u32 = 15;
pub(crate) const SQLITE_NOTADB: u32 = 26;

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        if is_passing(&error) {
            Self::unavailable(error)
        } else {
            Self::refused(error)
        }
    }
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

impl From<NotPrimary> for sqlx::Error {
    fn from(problem: NotPrimary) -> Self {
        Self::Configuration(problem.into())
    }
}

/// Returns whether an error says that the server accepts no writes.
pub(crate) fn is_not_primary(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Configuration(problem) => problem.is::<NotPrimary>(),
        _ => false,
    }
}

impl From<PoolerProblem> for sqlx::Error {
    fn from(problem: PoolerProblem) -> Self {
        Self::Configuration(problem.into())
    }
}

/// Returns what is wrong with the connection pooler, if that is the error.
pub(crate) fn pooler_problem(error: &sqlx::Error) -> Option<PoolerProblem> {
    match error {
        sqlx::Error::Configuration(problem) => problem.downcast_ref().copied(),
        _ => None,
    }
}

/// Returns whether a statement was not, or is already, prepared in the session, as behind a connection pooler that mixes
/// up the statements of its clients.
pub(crate) fn is_of_mixed_up_statements(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| match error.code().as_deref() {
            Some("26000" | "42P05") => true,
            // Another number of parameters.
            Some("08P01") => error.message().contains("prepared statement"),
            _ => false,
        })
}

/// Wraps an error of the driver that belongs to the connection, not to a statement.
pub(crate) fn connection_error(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}

/// Wraps an error of the driver that belongs to a statement.
pub(crate) fn query_error(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}

/// Creates the error of a connection attempt or a statement that took too long.
pub(crate) fn timed_out(problem: impl Into<Box<dyn Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, problem))
}

/// Returns whether the same statement may succeed later.
fn is_passing(error: &DbErr) -> bool {
    driver_error(error).is_some_and(is_passing_in_driver)
}

/// Returns whether a connection must be closed after a statement failed on it outside of a transaction.
pub(crate) fn closes_connection(error: &DbErr) -> bool {
    match driver_error(error) {
        // PostgreSQL has answered and can run the next statement, unless it shuts down, or a connection pooler answered
        // in its place. Any SQLite error may come from a damaged file.
        Some(sqlx::Error::Database(error)) => !error
            .code()
            .is_some_and(|code| is_sqlstate(&code) && !code.starts_with("57P") && !code.starts_with("08")),
        _ => true,
    }
}

/// Returns whether an error affects every connection to the server: it shuts down, hangs or accepts no writes.
pub(crate) fn is_of_server(error: &DbErr) -> bool {
    match driver_error(error) {
        Some(sqlx::Error::Database(error)) => error
            .code()
            .is_some_and(|code| code == "25006" || code.starts_with("57P")),
        Some(sqlx::Error::Io(error)) => error.kind() == std::io::ErrorKind::TimedOut,
        Some(error) => is_not_primary(error),
        None => false,
    }
}

/// Returns whether another process holds the lock of the SQLite file.
pub(crate) fn is_locked(error: &DbErr) -> bool {
    driver_error(error).and_then(sqlite_code) == Some(SQLITE_BUSY)
}

fn driver_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

/// Returns the primary result code of an error of SQLite: the low byte of the extended code.
pub(crate) fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    let code: u32 = Some(code).filter(|code| !is_sqlstate(code))?.parse().ok()?;
    Some(code & 0xff)
}

fn is_sqlstate(code: &str) -> bool {
    code.len() == 5
}

fn is_passing_in_driver(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| is_passing_code(&code)),
        error => is_not_primary(error),
    }
}

/// Returns whether an error code stands for a temporary fault. The code is a SQLSTATE of five characters (PostgreSQL)
/// or an extended result code in decimal (SQLite).
fn is_passing_code(code: &str) -> bool {
    if is_sqlstate(code) {
        // Classes: connection, rollback, resources, lock not available, operator intervention (timeouts, shutdown),
        // system.
        return matches!(&code[..2], "08" | "40" | "53" | "55" | "57" | "58")
            // Read-only transaction (a standby); idle in transaction for too long; a connection pooler mixes up
            // prepared statements since its settings were changed.
            || matches!(code, "25006" | "25P03" | "26000" | "42P05");
    }
    code.parse::<u32>().is_ok_and(|code| {
        // The low byte is the primary code.
        matches!(
            code & 0xff,
            SQLITE_BUSY
                | SQLITE_LOCKED
                | SQLITE_NOMEM
                | SQLITE_READONLY
                | SQLITE_INTERRUPT
                | SQLITE_IOERR
                | SQLITE_FULL
                | SQLITE_CANTOPEN
                | SQLITE_PROTOCOL
        )
    })
}

#[cfg(test)]
mod tests {
    use super::is_passing_code;

    #[test]
    fn transient_and_permanent_errors_are_distinguished() {
        // Serialization, lock timeout, statement timeout, disk full, standby, admin shutdown.
        for code in ["40001", "55P03", "57014", "53100", "25006", "57P01", "08006"] {
            assert!(is_passing_code(code), "{code}");
        }
        // Syntax, undefined table, check, unique.
        for code in ["42601", "42P01", "23514", "23505"] {
            assert!(!is_passing_code(code), "{code}");
        }
        // BUSY, BUSY_SNAPSHOT, READONLY_DIRECTORY, IOERR_FSYNC, FULL.
        for code in ["5", "517", "1544", "1034", "13"] {
            assert!(is_passing_code(code), "{code}");
        }
        // ERROR, CORRUPT, CONSTRAINT_CHECK, NOTADB.
        for code in ["1", "11", "275", "26"] {
            assert!(!is_passing_code(code), "{code}");
        }
    }
}
