//! The database that a URL names: opening it, migrating it, and connections to it.
//!
//! ```text
//! URL -> Target -> connect -> whose database? -> which schema version? -> migrate -> connection pool
//! ```
//!
//! Everything before the connection pool runs on one connection, which is closed afterwards. A database of another
//! program is left unchanged.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{
    checks::{ConnectError, Purpose},
    connection::Connection,
    postgres, sqlite,
};
use crate::{error::OpenError, schema::SchemaStatus, settings::StoreSettings};

/// The database that a URL names, and the generation of its connections.
pub(crate) struct Target {
    place: Place,
    generation: AtomicU64,
}

enum Place {
    Sqlite(sqlite::File),
    Postgres(Box<postgres::Server>),
}

/// Returns the maximum number of connections.
pub(crate) fn connections(settings: &StoreSettings) -> u32 {
    settings.max_connections.max(2)
}

/// Checks that the database is tokend's, and migrates its schema. Connections can then be opened to it.
pub(crate) async fn open(settings: &StoreSettings, purpose: Purpose) -> Result<Target, OpenError> {
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
            server
                .prepare(purpose, migrate, settings.allow_unsafe_durability)
                .await?;
        }
    }
    Ok(Target {
        place,
        generation: AtomicU64::default(),
    })
}

/// Migrates an existing database to the newest schema, whatever [`StoreSettings::migrate`] says. Several processes may
/// call this at once.
///
/// # Errors
/// [`OpenError`], one sentence for the operator.
pub async fn migrate(settings: &StoreSettings) -> Result<SchemaStatus, OpenError> {
    match Place::of(settings)? {
        Place::Sqlite(file) => file.prepare(Purpose::Change, true).await,
        Place::Postgres(server) => server.prepare(Purpose::Change, true, true).await,
    }
}

/// Returns whether other processes have an existing database open. Does not keep others from opening it later.
///
/// # Errors
/// [`OpenError`], one sentence for the operator.
pub async fn is_in_use(settings: &StoreSettings) -> Result<bool, OpenError> {
    match Place::of(settings)? {
        Place::Sqlite(file) => file.is_in_use().await,
        Place::Postgres(server) => server.is_in_use().await,
    }
}

/// Returns the path of a write-ahead log beside a SQLite file, which SQLite treats as a part of it. A server that has
/// stopped cleanly leaves none.
///
/// # Errors
/// [`OpenError`], one sentence for the operator.
pub fn leftover_log(settings: &StoreSettings) -> Result<Option<PathBuf>, OpenError> {
    match Place::of(settings)? {
        Place::Sqlite(file) => Ok(file.leftover_log()),
        Place::Postgres(_) => Ok(None),
    }
}

/// Returns the version of the schema. Changes nothing.
///
/// # Errors
/// [`OpenError`], one sentence for the operator.
pub async fn schema_status(settings: &StoreSettings) -> Result<SchemaStatus, OpenError> {
    match Place::of(settings)? {
        Place::Sqlite(file) => file.schema_status().await,
        Place::Postgres(server) => server.schema_status().await,
    }
}

impl Target {
    /// Opens a connection to a server that accepts what the database is opened for.
    pub(crate) async fn connect(&self) -> Result<Connection, ConnectError> {
        match &self.place {
            Place::Sqlite(file) => file.open_connection().await,
            Place::Postgres(server) => server.open_connection().await,
        }
    }

    /// Returns how often a connection turned out to lead to the wrong server. Connections of an older generation must
    /// not be used.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Marks the connections of this generation as unusable. Only the first call for a generation has an effect.
    pub(crate) fn end_generation(&self, generation: u64) {
        let next = generation.wrapping_add(1);
        let ended = self
            .generation
            .compare_exchange(generation, next, Ordering::AcqRel, Ordering::Acquire);
        if ended.is_ok() {
            tracing::warn!(database = self.name(), "all connections to the database are replaced");
        }
    }

    /// Returns the database's name as shown to people.
    pub(crate) fn name(&self) -> String {
        match &self.place {
            Place::Sqlite(file) => file.name(),
            Place::Postgres(server) => server.name(),
        }
    }

    /// Returns whether connections go over TCP.
    pub(crate) fn uses_tcp(&self) -> bool {
        match &self.place {
            Place::Sqlite(_) => false,
            Place::Postgres(server) => server.uses_tcp(),
        }
    }

    /// Returns whether connections go through a connection pooler.
    pub(crate) fn uses_pooler(&self) -> bool {
        match &self.place {
            Place::Sqlite(_) => false,
            Place::Postgres(server) => server.uses_pooler(),
        }
    }

    /// Returns whether connections without TLS are rejected.
    pub(crate) fn requires_tls(&self) -> bool {
        match &self.place {
            Place::Sqlite(_) => false,
            Place::Postgres(server) => server.requires_tls(),
        }
    }

    /// SQLite: returns the path of the write-ahead log, and how long the connections wait for locks.
    pub(crate) fn write_ahead_log(&self) -> Option<(PathBuf, Duration)> {
        match &self.place {
            Place::Sqlite(file) => Some(file.write_ahead_log()),
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
    /// Restricts the connections to what the purpose needs.
    fn opened_for(self, purpose: Purpose) -> Self {
        match self {
            Self::Sqlite(file) => Self::Sqlite(file.opened_for(purpose)),
            Self::Postgres(server) => Self::Postgres(server.opened_for(purpose)),
        }
    }

    fn of(settings: &StoreSettings) -> Result<Self, OpenError> {
        match settings.url.split_once(':') {
            Some(("sqlite", path)) => {
                let waits = sqlite::Waits {
                    opening: settings.write_wait,
                    statement: settings.pool_wait.min(settings.write_wait),
                };
                sqlite::File::at(path.strip_prefix("//").unwrap_or(path), waits).map(Self::Sqlite)
            }
            Some(("postgres" | "postgresql", _)) => {
                postgres::Server::at(settings).map(|server| Self::Postgres(Box::new(server)))
            }
            _ => Err(OpenError::BadUrl {
                problem: "it starts with neither sqlite: nor postgres:".to_owned(),
            }),
        }
    }
}
