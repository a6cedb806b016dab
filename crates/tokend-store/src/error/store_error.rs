use std::{error::Error, fmt, sync::LazyLock};

use tokend_core::{keyring::WrongKeys, log_limit::LogLimit, time::Clock};
use uuid::Uuid;

/// Why the store could not answer. Each error is logged once, when it is created. Log lines of one outage are limited
/// in number.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database can't be reached, is too busy or refuses writes at the moment: the same call may succeed later. A
    /// write that returns this error may have been committed, if the connection was lost during COMMIT.
    #[error("the database is not available: {source}")]
    Unavailable {
        /// The error of the database or its driver.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Too many calls are waiting for the database. This call did not start and may succeed later.
    #[error("too many calls wait for the database; retry")]
    Overloaded,
    /// A column of a row holds a value that the store does not write.
    #[error("row {row} of {table} can't be read: {problem}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row's key.
        row: String,
        /// The column, and what is wrong with its value.
        problem: String,
        /// The id of the error's line in the log.
        fault: FaultId,
    },
    /// The MAC of a row does not match its columns: something other than tokend wrote to the database.
    #[error("row {row} of {table} was changed outside tokend: its MAC does not match")]
    Tampered {
        /// The table.
        table: &'static str,
        /// The row's key.
        row: String,
        /// The id of the error's line in the log.
        fault: FaultId,
    },
    /// This process lacks a key that is in use, so it can neither verify nor seal rows until it has read a newer key
    /// ring file.
    #[error("the key ring does not fit the database: {problem}")]
    WrongKeys {
        /// The key, and what is wrong with it.
        problem: WrongKeys,
    },
    /// The database refused a valid statement: its schema is damaged, or tokend has a bug. Retrying does not help.
    #[error("the database refused a statement: {source}")]
    Refused {
        /// The error of the database or its driver.
        source: Box<dyn Error + Send + Sync>,
        /// The id of the error's line in the log.
        fault: FaultId,
    },
}

/// Identifies an error that is not expected to pass. The log has the id, and a client that was affected can report it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultId(Uuid);

impl FaultId {
    fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for FaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StoreError {
    pub(crate) fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        static LOG: LazyLock<LogLimit> = LazyLock::new(|| LogLimit::new(Clock::system()));
        let source = source.into();
        if let Some(more) = LOG.permit() {
            tracing::error!(%source, more, "the database is not available");
        }
        Self::Unavailable { source }
    }

    pub(crate) fn corrupt(table: &'static str, row: String, problem: String) -> Self {
        let fault = FaultId::new();
        tracing::error!(%fault, table, row, problem, "a row can't be read");
        Self::Corrupt {
            table,
            row,
            problem,
            fault,
        }
    }

    /// Reports that a row is not the one that tokend wrote.
    #[must_use]
    pub fn tampered(table: &'static str, row: String) -> Self {
        let fault = FaultId::new();
        tracing::error!(%fault, table, row, "a row was changed outside tokend");
        Self::Tampered { table, row, fault }
    }

    pub(crate) fn wrong_keys(problem: WrongKeys) -> Self {
        tracing::error!(%problem, "the key ring does not fit the database");
        Self::WrongKeys { problem }
    }

    pub(crate) fn refused(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let source = source.into();
        let fault = FaultId::new();
        tracing::error!(%fault, %source, "the database refused a statement");
        Self::Refused { source, fault }
    }

    /// Marks the error of a COMMIT: the transaction may have been committed.
    pub(crate) fn of_commit(self) -> Self {
        match self {
            Self::Unavailable { source } => Self::Unavailable {
                source: Box::new(UnknownOutcome(source)),
            },
            error => error,
        }
    }

    /// Returns whether the write that returned this error may have been committed.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::Unavailable { source } if source.is::<UnknownOutcome>())
    }

    /// Returns the same error for another call that it befell. It is not logged again.
    #[must_use]
    pub fn again(&self) -> Self {
        match self {
            Self::Unavailable { source } => Self::Unavailable {
                source: source.to_string().into(),
            },
            Self::Overloaded => Self::Overloaded,
            Self::Corrupt {
                table,
                row,
                problem,
                fault,
            } => Self::Corrupt {
                table,
                row: row.clone(),
                problem: problem.clone(),
                fault: *fault,
            },
            Self::Tampered { table, row, fault } => Self::Tampered {
                table,
                row: row.clone(),
                fault: *fault,
            },
            Self::WrongKeys { problem } => Self::WrongKeys { problem: *problem },
            Self::Refused { source, fault } => Self::Refused {
                source: source.to_string().into(),
                fault: *fault,
            },
        }
    }

    /// Returns the id that the log has the error under. Errors that are expected to pass have none.
    #[must_use]
    pub fn fault(&self) -> Option<FaultId> {
        match self {
            Self::Corrupt { fault, .. } | Self::Tampered { fault, .. } | Self::Refused { fault, .. } => Some(*fault),
            Self::Unavailable { .. } | Self::Overloaded | Self::WrongKeys { .. } => None,
        }
    }
}

/// The source of [`StoreError::Unavailable`] if COMMIT was sent and the database did not acknowledge it.
#[derive(Debug, thiserror::Error)]
#[error("the outcome of COMMIT is not known: {0}")]
struct UnknownOutcome(Box<dyn Error + Send + Sync>);

/// The source of [`StoreError::Unavailable`] after the store was closed.
#[derive(Debug, thiserror::Error)]
#[error("the store is closed")]
pub(crate) struct Closed;
