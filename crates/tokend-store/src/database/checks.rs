//! What both databases share when they are opened: the purpose, the check of the schema version, and their errors.

use sqlx::migrate::MigrateError;

use crate::{
    error::{
        OpenError, PoolerProblem, StoreError,
        driver_error::{is_not_primary, pooler_problem, query_error},
    },
    schema::{self, SchemaStatus},
};

/// What a database is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Serving. The database must be initialized, and no other server may use a SQLite file at the same time.
    Serve,
    /// Changing it, possibly while servers run. The database must be initialized.
    Change,
    /// Initializing it. The database may be missing or empty.
    Initialize,
    /// Reading it without a change. The database must be initialized and have the current schema.
    Read,
}

/// Why no connection was opened: the problem of each server that was tried.
#[derive(Debug, thiserror::Error)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub(crate) struct ConnectError {
    pub(super) problems: Vec<ServerProblem>,
}

#[derive(Debug, thiserror::Error)]
#[error("{}{problem}", .server.as_ref().map(|server| format!("{server}: ")).unwrap_or_default())]
pub(super) struct ServerProblem {
    /// The server, if the URL names several.
    pub(super) server: Option<String>,
    pub(super) problem: sqlx::Error,
}

impl ConnectError {
    /// Returns whether all servers were reached and none accepts writes.
    pub(super) fn is_not_primary(&self) -> bool {
        self.problems.iter().all(|found| is_not_primary(&found.problem))
    }

    /// Returns the first server that is a connection pooler, if there is one, and what is wrong with it.
    pub(super) fn pooler(&self) -> Option<(Option<&str>, PoolerProblem)> {
        let problem = |found: &'_ ServerProblem| pooler_problem(&found.problem);
        let found = self.problems.iter().find_map(|found| Some((found, problem(found)?)));
        found.map(|(found, problem)| (found.server.as_deref(), problem))
    }
}

impl From<sqlx::Error> for ConnectError {
    fn from(problem: sqlx::Error) -> Self {
        Self {
            problems: vec![ServerProblem { server: None, problem }],
        }
    }
}

/// Checks that a schema of version `found` can be used for a purpose. `migrate` says whether it may be migrated first.
pub(super) fn check_version(
    database: String,
    found: i64,
    purpose: Purpose,
    migrate: bool,
) -> Result<SchemaStatus, OpenError> {
    let status = SchemaStatus {
        version: found,
        needed: schema::needed(),
    };
    if found == 0 && purpose != Purpose::Initialize {
        return Err(OpenError::NotInitialized { database });
    }
    if status.is_behind() && !migrate {
        return Err(OpenError::MigrationsPending {
            database,
            found,
            needed: status.needed,
        });
    }
    Ok(status)
}

/// Returns the error of a fault that has no variant of its own.
pub(super) fn fault(error: sqlx::Error) -> OpenError {
    StoreError::from(query_error(error)).into()
}

/// Returns the error of a failed migration. `driver` converts the errors of its statements.
pub(super) fn migration_fault(
    database: String,
    error: MigrateError,
    driver: impl FnOnce(sqlx::Error) -> OpenError,
) -> OpenError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => driver(error),
        // Another process of a later version has migrated meanwhile.
        MigrateError::VersionMissing(found) => OpenError::NewerSchema {
            database,
            found,
            known: schema::needed(),
        },
        MigrateError::VersionMismatch(version) => OpenError::MigrationDiffers { database, version },
        other => driver(sqlx::Error::Migrate(Box::new(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_version_is_checked_for_its_purpose() {
        let checked = |found, purpose, migrate| check_version("here".to_owned(), found, purpose, migrate);
        assert!(matches!(
            checked(0, Purpose::Serve, true),
            Err(OpenError::NotInitialized { .. })
        ));
        assert!(matches!(checked(0, Purpose::Initialize, true), Ok(status) if status.is_behind()));
        assert!(matches!(
            checked(schema::needed() - 1, Purpose::Initialize, false),
            Err(OpenError::MigrationsPending { .. })
        ));
        assert!(matches!(checked(schema::needed(), Purpose::Serve, false), Ok(status) if !status.is_behind()));
    }
}
