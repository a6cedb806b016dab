//! Opening: finding out what lies at the URL before anything is changed there, then the schema, then a pool of connections.
//!
//! ```text
//! URL -> Target -> connect -> whose is it? -> which schema? -> migrate -> pool
//! ```
//!
//! What comes before the pool happens on one connection, closed afterwards. A database that is not ours is left as it was found.

mod postgres;
mod sqlite;
mod url;

use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr, RuntimeErr};
use sqlx::migrate::MigrateError;

use crate::{
    error::StoreError,
    open_error::OpenError,
    schema::{self, SchemaStatus},
    settings::Settings,
    write_ahead_log::WriteAheadLog,
};

/// What a database is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To serve from: it must be there and initialized.
    Serve,
    /// To be initialized: it may be missing or empty.
    Initialize,
    /// To be looked at, and not changed: it must be there, initialized, and up to date.
    Read,
}

/// What a URL stands for.
pub(crate) enum Target {
    Sqlite(sqlite::File),
    Postgres(Box<postgres::Server>),
}

/// How many connections to open at most.
pub(crate) fn connections(settings: &Settings) -> u32 {
    settings.max_connections.max(2)
}

/// Finds out whose the database is and brings its schema up to date; connections can then be opened to it.
pub(crate) async fn open(settings: &Settings, purpose: Purpose) -> Result<Target, OpenError> {
    let migrate = (settings.migrate && purpose != Purpose::Read) || purpose == Purpose::Initialize;
    let target = Target::of(settings)?.opened_for(purpose);
    match &target {
        Target::Sqlite(file) => {
            if purpose == Purpose::Initialize {
                file.create()?;
            }
            file.prepare(purpose, migrate).await?;
        }
        Target::Postgres(server) => {
            server.prepare(purpose, migrate, settings.allow_unsafe_durability).await?;
        }
    }
    Ok(target)
}

/// Brings an existing schema up to date.
pub(crate) async fn migrate(settings: &Settings) -> Result<SchemaStatus, OpenError> {
    match Target::of(settings)? {
        Target::Sqlite(file) => file.prepare(Purpose::Serve, true).await,
        Target::Postgres(server) => server.prepare(Purpose::Serve, true, true).await,
    }
}

/// Tells whether other processes have an existing database open. One that opens it a moment later is not noticed.
///
/// # Errors
/// [`OpenError`], one sentence for the operator.
pub async fn is_in_use(settings: &Settings) -> Result<bool, OpenError> {
    match Target::of(settings)? {
        Target::Sqlite(file) => file.is_in_use().await,
        Target::Postgres(server) => server.is_in_use().await,
    }
}

pub(crate) async fn schema_status(settings: &Settings) -> Result<SchemaStatus, OpenError> {
    match Target::of(settings)? {
        Target::Sqlite(file) => file.schema_status().await,
        Target::Postgres(server) => server.schema_status().await,
    }
}

impl Target {
    /// Connections, opened as they are needed.
    pub(crate) fn pool(&self, settings: &Settings) -> DatabaseConnection {
        match self {
            Self::Sqlite(file) => file.pool(settings),
            Self::Postgres(server) => server.pool(settings),
        }
    }

    /// The same, with connections that can do no more than that.
    fn opened_for(self, purpose: Purpose) -> Self {
        match self {
            Self::Sqlite(file) => Self::Sqlite(file.opened_for(purpose)),
            Self::Postgres(server) => Self::Postgres(server.opened_for(purpose)),
        }
    }

    /// For people.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Sqlite(file) => file.name(),
            Self::Postgres(server) => server.name(),
        }
    }

    /// SQLite: the write-ahead log beside the file.
    pub(crate) fn log(&self) -> Option<WriteAheadLog> {
        match self {
            Self::Sqlite(file) => Some(file.log()),
            Self::Postgres(_) => None,
        }
    }

    pub(crate) const fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    fn of(settings: &Settings) -> Result<Self, OpenError> {
        match settings.url.split_once(':') {
            Some(("sqlite", path)) => {
                sqlite::File::at(path.strip_prefix("//").unwrap_or(path), settings.write_wait).map(Self::Sqlite)
            }
            Some(("postgres" | "postgresql", _)) => {
                postgres::Server::at(&settings.url, settings.statement_timeout).map(|server| Self::Postgres(Box::new(server)))
            }
            _ => Err(OpenError::BadUrl { problem: "it starts with neither sqlite: nor postgres:".to_owned() }),
        }
    }
}

/// Whether a schema may be used for that purpose, after migrating it where that is allowed.
fn judge(database: String, found: i64, purpose: Purpose, migrate: bool) -> Result<SchemaStatus, OpenError> {
    let status = SchemaStatus { version: found, needed: schema::needed() };
    if found == 0 && purpose != Purpose::Initialize {
        return Err(OpenError::NotInitialized { database });
    }
    if status.is_behind() && !migrate {
        return Err(OpenError::MigrationsPending { database, found, needed: status.needed });
    }
    Ok(status)
}

/// A fault while looking or migrating that has no sentence of its own.
fn fault(error: sqlx::Error) -> OpenError {
    StoreError::from(DbErr::Query(RuntimeErr::SqlxError(error.into()))).into()
}

/// A fault of the migrator; `driver` tells those of its statements.
fn migration_fault(database: String, error: MigrateError, driver: impl FnOnce(sqlx::Error) -> OpenError) -> OpenError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => driver(error),
        // Another process got ahead of us, with a later tokend.
        MigrateError::VersionMissing(found) => OpenError::NewerSchema { database, found, known: schema::needed() },
        MigrateError::VersionMismatch(version) => OpenError::MigrationDiffers { database, version },
        other => driver(sqlx::Error::Migrate(Box::new(other))),
    }
}

/// Connections that stayed unused for longer than this are tried before they are used.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_judged_by_its_version_and_what_it_is_for() {
        let judged = |found, purpose, migrate| judge("here".to_owned(), found, purpose, migrate);
        assert!(matches!(judged(0, Purpose::Serve, true), Err(OpenError::NotInitialized { .. })));
        assert!(matches!(judged(0, Purpose::Initialize, true), Ok(status) if status.is_behind()));
        assert!(matches!(judged(schema::needed() - 1, Purpose::Initialize, false), Err(OpenError::MigrationsPending { .. })));
        assert!(matches!(judged(schema::needed(), Purpose::Serve, false), Ok(status) if !status.is_behind()));
    }
}
