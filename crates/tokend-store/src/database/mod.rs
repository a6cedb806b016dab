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

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use sea_orm::{DbErr, RuntimeErr};
use sqlx::migrate::MigrateError;

use crate::{
    error::StoreError,
    open_error::OpenError,
    pool::{Connection, is_not_primary},
    schema::{self, SchemaStatus},
    settings::Settings,
    write_ahead_log::WriteAheadLog,
};

/// What a database is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To serve from: it must be there and initialized, and no other server may use a SQLite file at the same time.
    Serve,
    /// To be changed, beside servers where there are any: it must be there and initialized.
    Change,
    /// To be initialized: it may be missing or empty.
    Initialize,
    /// To be looked at, and not changed: it must be there, initialized, and up to date.
    Read,
}

/// What a URL stands for, and which connections to it are good.
pub(crate) struct Target {
    place: Place,
    generation: AtomicU64,
}

enum Place {
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
    let mut place = Place::of(settings)?.opened_for(purpose);
    match &mut place {
        Place::Sqlite(file) => {
            if purpose == Purpose::Initialize {
                file.create()?;
            }
            if purpose == Purpose::Serve {
                file.lock()?;
            }
            file.prepare(purpose, migrate).await?;
        }
        Place::Postgres(server) => {
            server.prepare(purpose, migrate, settings.allow_unsafe_durability).await?;
        }
    }
    Ok(Target { place, generation: AtomicU64::default() })
}

/// Brings an existing schema up to date.
pub(crate) async fn migrate(settings: &Settings) -> Result<SchemaStatus, OpenError> {
    match Place::of(settings)? {
        Place::Sqlite(file) => file.prepare(Purpose::Change, true).await,
        Place::Postgres(server) => server.prepare(Purpose::Change, true, true).await,
    }
}

/// Tells whether other processes have an existing database open. One that opens it a moment later is not noticed.
///
/// # Errors
/// [`OpenError`], one sentence for the operator.
pub async fn is_in_use(settings: &Settings) -> Result<bool, OpenError> {
    match Place::of(settings)? {
        Place::Sqlite(file) => file.is_in_use().await,
        Place::Postgres(server) => server.is_in_use().await,
    }
}

/// Where a log of changes stands beside a SQLite file, which SQLite takes for a part of it. A server that has ended leaves none.
///
/// # Errors
/// [`OpenError`], one sentence for the operator.
pub fn leftover_log(settings: &Settings) -> Result<Option<PathBuf>, OpenError> {
    match Place::of(settings)? {
        Place::Sqlite(file) => Ok(file.leftover_log()),
        Place::Postgres(_) => Ok(None),
    }
}

pub(crate) async fn schema_status(settings: &Settings) -> Result<SchemaStatus, OpenError> {
    match Place::of(settings)? {
        Place::Sqlite(file) => file.schema_status().await,
        Place::Postgres(server) => server.schema_status().await,
    }
}

impl Target {
    /// Opens a connection to a server that accepts what it is for.
    pub(crate) async fn connect(&self) -> Result<Connection, ConnectError> {
        match &self.place {
            Place::Sqlite(file) => file.open_connection().await,
            Place::Postgres(server) => server.open_connection().await,
        }
    }

    /// Counts how often the server turned out not to be the one to talk to. Connections opened before the last time are no good.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Says that connections of this generation are no good. Only the first call for a generation counts.
    pub(crate) fn end_generation(&self, generation: u64) {
        let next = generation.wrapping_add(1);
        let ended = self.generation.compare_exchange(generation, next, Ordering::AcqRel, Ordering::Acquire);
        if ended.is_ok() {
            tracing::warn!(database = self.name(), "all connections to the database are replaced");
        }
    }

    /// For people.
    pub(crate) fn name(&self) -> String {
        match &self.place {
            Place::Sqlite(file) => file.name(),
            Place::Postgres(server) => server.name(),
        }
    }

    /// Whether connections go over TCP.
    pub(crate) fn uses_tcp(&self) -> bool {
        match &self.place {
            Place::Sqlite(_) => false,
            Place::Postgres(server) => server.uses_tcp(),
        }
    }

    /// SQLite: the write-ahead log beside the file.
    pub(crate) fn log(&self) -> Option<WriteAheadLog> {
        match &self.place {
            Place::Sqlite(file) => Some(file.log()),
            Place::Postgres(_) => None,
        }
    }

    pub(crate) fn is_for_writing(&self) -> bool {
        match &self.place {
            Place::Sqlite(file) => file.is_for_writing(),
            Place::Postgres(server) => server.is_for_writing(),
        }
    }

    pub(crate) const fn is_sqlite(&self) -> bool {
        matches!(self.place, Place::Sqlite(_))
    }
}

impl Place {
    /// The same, with connections that can do no more than that.
    fn opened_for(self, purpose: Purpose) -> Self {
        match self {
            Self::Sqlite(file) => Self::Sqlite(file.opened_for(purpose)),
            Self::Postgres(server) => Self::Postgres(server.opened_for(purpose)),
        }
    }

    fn of(settings: &Settings) -> Result<Self, OpenError> {
        match settings.url.split_once(':') {
            Some(("sqlite", path)) => {
                let waits = sqlite::Waits { opening: settings.write_wait, statement: settings.pool_wait.min(settings.write_wait) };
                sqlite::File::at(path.strip_prefix("//").unwrap_or(path), waits).map(Self::Sqlite)
            }
            Some(("postgres" | "postgresql", _)) => postgres::Server::at(settings).map(|server| Self::Postgres(Box::new(server))),
            _ => Err(OpenError::BadUrl { problem: "it starts with neither sqlite: nor postgres:".to_owned() }),
        }
    }
}

/// Why no connection was opened: what went wrong with each server that was tried.
#[derive(Debug, thiserror::Error)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub(crate) struct ConnectError {
    problems: Vec<ServerProblem>,
}

#[derive(Debug, thiserror::Error)]
#[error("{}{problem}", .server.as_ref().map(|server| format!("{server}: ")).unwrap_or_default())]
struct ServerProblem {
    /// Named where there are several.
    server: Option<String>,
    problem: sqlx::Error,
}

impl ConnectError {
    /// Whether servers were found, and none of them accepts writes.
    fn is_not_primary(&self) -> bool {
        self.problems.iter().all(|found| is_not_primary(&found.problem))
    }
}

impl From<sqlx::Error> for ConnectError {
    fn from(problem: sqlx::Error) -> Self {
        Self { problems: vec![ServerProblem { server: None, problem }] }
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
