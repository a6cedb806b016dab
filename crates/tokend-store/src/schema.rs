//! The schema and its history: numbered SQL files, one for each dialect, run by sqlx's migrator.
//!
//! A released file is never edited: the database stores a checksum of each file that was applied.

use sqlx::{
    SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};

use crate::error::OpenError;

/// One version of the schema.
struct MigrationFile {
    version: i64,
    /// The part of the file's name behind the number.
    title: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

/// The files in `migrations/`, in the order of their versions. The build script writes this list.
const MIGRATIONS: &[MigrationFile] = include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// The table of applied migrations. Not sqlx's default, which another program may use.
const TABLE: &str = "tokend_migrations";

/// Selects the applied migrations.
pub(crate) const APPLIED: &str = "SELECT version, checksum FROM tokend_migrations ORDER BY version";

/// An applied migration: version and checksum.
pub(crate) type Applied = (i64, Vec<u8>);

/// The dialect of SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// The version of a database's schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaStatus {
    /// The current version. 0 if the database is empty.
    pub version: i64,
    /// The version that this tokend needs.
    pub needed: i64,
}

impl SchemaStatus {
    /// Returns whether migrations are due.
    #[must_use]
    pub const fn is_behind(&self) -> bool {
        self.version < self.needed
    }
}

/// Returns the version that this tokend needs.
pub(crate) fn needed() -> i64 {
    MIGRATIONS.last().map_or(0, |file| file.version)
}

/// Returns the migrator, which takes no lock: the caller holds one around the whole run.
pub(crate) fn migrator(dialect: Dialect) -> Migrator {
    let mut migrator = Migrator::with_migrations(migrations(dialect).collect());
    migrator.dangerous_set_table_name(TABLE);
    migrator.set_locking(false);
    migrator
}

/// Returns the version of a schema from its applied migrations. Fails if they are not this tokend's.
pub(crate) fn version(database: String, dialect: Dialect, applied: &[Applied]) -> Result<i64, OpenError> {
    let found = applied.iter().map(|(version, _)| *version).max().unwrap_or(0);
    if found > needed() {
        return Err(OpenError::NewerSchema {
            database,
            found,
            known: needed(),
        });
    }
    let ours: Vec<_> = migrations(dialect).collect();
    for (version, checksum) in applied {
        if !ours
            .iter()
            .any(|ours| ours.version == *version && ours.checksum.as_ref() == checksum.as_slice())
        {
            return Err(OpenError::MigrationDiffers {
                database,
                version: *version,
            });
        }
    }
    Ok(found)
}

fn migrations(dialect: Dialect) -> impl Iterator<Item = Migration> {
    MIGRATIONS.iter().map(move |file| {
        let sql = match dialect {
            Dialect::Sqlite => file.sqlite,
            Dialect::Postgres => file.postgres,
        };
        let title = file.title.into();
        Migration::new(file.version, title, MigrationType::Simple, sql.into_sql_str(), false)
    })
}
