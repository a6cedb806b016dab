use std::error::Error;

use sea_orm::{DbErr, RuntimeErr};
use tokend_core::keyring::WrongKeys;

use crate::pool::is_not_primary;

/// Why the store could not answer. Logged once, where it is made.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database can't be reached, is too busy or refuses writes for now: the same call may succeed later. A change of which this
    /// is said may still have happened, if the connection was lost while it was being committed.
    #[error("the database is not available: {source}")]
    Unavailable {
        /// What the database or its driver said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Too many calls wait for the database already: this one was not begun, and may succeed later.
    #[error("too many calls wait for the database; retry")]
    Overloaded,
    /// A row does not hold what the store writes.
    #[error("row {row} of {table} can't be read: {problem}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row's key.
        row: String,
        /// Which column, and what is wrong with it.
        problem: String,
    },
    /// A row is not the one that was sealed: someone else wrote to the database.
    #[error("row {row} of {table} was changed behind tokend's back: its MAC does not match")]
    Tampered {
        /// The table.
        table: &'static str,
        /// The row's key.
        row: String,
    },
    /// This process does not have the keys that are in use, so that it can neither judge nor seal rows. It can once it has read the
    /// key ring that it lacks.
    #[error("the key ring does not fit the database: {problem}")]
    WrongKeys {
        /// Which key, and how.
        problem: WrongKeys,
    },
    /// The database refused a statement that it should have taken: its schema is damaged, or tokend has a defect. Trying again is
    /// of no use.
    #[error("the database refused a statement: {source}")]
    Refused {
        /// What the database or its driver said.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl StoreError {
    pub(crate) fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let source = source.into();
        tracing::error!(%source, "the database is not available");
        Self::Unavailable { source }
    }

    pub(crate) fn corrupt(table: &'static str, row: String, problem: String) -> Self {
        tracing::error!(table, row, problem, "a row can't be read");
        Self::Corrupt { table, row, problem }
    }

    pub(crate) fn tampered(table: &'static str, row: String) -> Self {
        tracing::error!(table, row, "a row was changed behind tokend's back");
        Self::Tampered { table, row }
    }

    pub(crate) fn wrong_keys(problem: WrongKeys) -> Self {
        tracing::error!(%problem, "the key ring does not fit the database");
        Self::WrongKeys { problem }
    }

    pub(crate) fn refused(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let source = source.into();
        tracing::error!(%source, "the database refused a statement");
        Self::Refused { source }
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        if is_passing(&error) { Self::unavailable(error) } else { Self::refused(error) }
    }
}

/// Whether the same statement may succeed later.
fn is_passing(error: &DbErr) -> bool {
    driver_error(error).is_some_and(is_passing_in_driver)
}

/// Whether the connection on which a statement failed, outside of a transaction, may be in a state in which it can't be used again.
pub(crate) fn closes_connection(error: &DbErr) -> bool {
    match driver_error(error) {
        // PostgreSQL has answered, and goes on to the next statement. Any error of SQLite may be one of the file.
        Some(sqlx::Error::Database(error)) => !error.code().is_some_and(|code| is_sqlstate(&code) && !code.starts_with("57P")),
        _ => true,
    }
}

/// Whether an error says that the server goes, hangs or accepts no writes, so that other connections to it are no good either.
pub(crate) fn is_of_server(error: &DbErr) -> bool {
    match driver_error(error) {
        Some(sqlx::Error::Database(error)) => error.code().is_some_and(|code| code == "25006" || code.starts_with("57P")),
        Some(sqlx::Error::Io(error)) => error.kind() == std::io::ErrorKind::TimedOut,
        Some(error) => is_not_primary(error),
        None => false,
    }
}

/// Whether another process has locked the SQLite file.
pub(crate) fn is_locked(error: &DbErr) -> bool {
    let Some(sqlx::Error::Database(error)) = driver_error(error) else { return false };
    let code = error.code().filter(|code| !is_sqlstate(code)).and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == SQLITE_BUSY)
}

fn driver_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

fn is_sqlstate(code: &str) -> bool {
    code.len() == 5
}

pub(crate) fn is_passing_in_driver(error: &sqlx::Error) -> bool {
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

/// PostgreSQL tells a SQLSTATE of five characters, SQLite an extended result code in decimal.
fn is_passing_code(code: &str) -> bool {
    match (is_sqlstate(code), code.parse::<u32>()) {
        (true, _) => {
            // Connection, rolled back, out of resources, lock or object not available, operator intervened (timeouts, shutdown), system.
            matches!(&code[..2], "08" | "40" | "53" | "55" | "57" | "58")
                // Reads only: a standby. Idle in transaction for too long.
                || matches!(code, "25006" | "25P03")
        }
        (_, Ok(code)) => {
            const NO_MEMORY: u32 = 7;
            const INTERRUPTED: u32 = 9;
            const PROTOCOL: u32 = 15;
            // The low byte is the primary code.
            matches!(
                code & 0xff,
                SQLITE_BUSY
                    | SQLITE_LOCKED
                    | NO_MEMORY
                    | SQLITE_READONLY
                    | INTERRUPTED
                    | SQLITE_IOERR
                    | SQLITE_FULL
                    | SQLITE_CANTOPEN
                    | PROTOCOL
            )
        }
        _ => false,
    }
}

const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
pub(crate) const SQLITE_READONLY: u32 = 8;
pub(crate) const SQLITE_IOERR: u32 = 10;
const SQLITE_FULL: u32 = 13;
pub(crate) const SQLITE_CANTOPEN: u32 = 14;
pub(crate) const SQLITE_NOTADB: u32 = 26;

#[cfg(test)]
mod tests {
    use super::is_passing_code;

    #[test]
    fn passing_faults_are_told_from_lasting_ones() {
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
