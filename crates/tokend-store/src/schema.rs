//! The schema and its history: numbered SQL files, one for each dialect, run by sqlx's migrator.
//!
//! A file that was ever released is never edited: the database keeps a checksum of each that was applied.

use sqlx::{
    SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};

use crate::{database, open_error::OpenError, settings::Settings};

/// Version, name, and the SQL for SQLite and for PostgreSQL.
const MIGRATIONS: [(i64, &str, &str, &str); 16] = [
    (
        1,
        "foundation",
        include_str!("../migrations/sqlite/0001_foundation.sql"),
        include_str!("../migrations/postgres/0001_foundation.sql"),
    ),
    (2, "audit", include_str!("../migrations/sqlite/0002_audit.sql"), include_str!("../migrations/postgres/0002_audit.sql")),
    (3, "tls", include_str!("../migrations/sqlite/0003_tls.sql"), include_str!("../migrations/postgres/0003_tls.sql")),
    (4, "keyring", include_str!("../migrations/sqlite/0004_keyring.sql"), include_str!("../migrations/postgres/0004_keyring.sql")),
    (5, "endings", include_str!("../migrations/sqlite/0005_endings.sql"), include_str!("../migrations/postgres/0005_endings.sql")),
    (
        6,
        "rotation",
        include_str!("../migrations/sqlite/0006_rotation.sql"),
        include_str!("../migrations/postgres/0006_rotation.sql"),
    ),
    (
        7,
        "organizations",
        include_str!("../migrations/sqlite/0007_organizations.sql"),
        include_str!("../migrations/postgres/0007_organizations.sql"),
    ),
    (
        8,
        "policies",
        include_str!("../migrations/sqlite/0008_policies.sql"),
        include_str!("../migrations/postgres/0008_policies.sql"),
    ),
    (
        9,
        "webhook_outbox",
        include_str!("../migrations/sqlite/0009_webhook_outbox.sql"),
        include_str!("../migrations/postgres/0009_webhook_outbox.sql"),
    ),
    (
        10,
        "token_notices",
        include_str!("../migrations/sqlite/0010_token_notices.sql"),
        include_str!("../migrations/postgres/0010_token_notices.sql"),
    ),
    (
        11,
        "retention",
        include_str!("../migrations/sqlite/0011_retention.sql"),
        include_str!("../migrations/postgres/0011_retention.sql"),
    ),
    (12, "usage", include_str!("../migrations/sqlite/0012_usage.sql"), include_str!("../migrations/postgres/0012_usage.sql")),
    (
        13,
        "key_usage",
        include_str!("../migrations/sqlite/0013_key_usage.sql"),
        include_str!("../migrations/postgres/0013_key_usage.sql"),
    ),
    (
        14,
        "notice_plans",
        include_str!("../migrations/sqlite/0014_notice_plans.sql"),
        include_str!("../migrations/postgres/0014_notice_plans.sql"),
    ),
    (
        15,
        "sealed_feed",
        include_str!("../migrations/sqlite/0015_sealed_feed.sql"),
        include_str!("../migrations/postgres/0015_sealed_feed.sql"),
    ),
    (
        16,
        "caller_key_notices",
        include_str!("../migrations/sqlite/0016_caller_key_notices.sql"),
        include_str!("../migrations/postgres/0016_caller_key_notices.sql"),
    ),
];

/// Where applied migrations are recorded. Not sqlx's default, which another program may use.
const TABLE: &str = "tokend_migrations";

/// Reads what was applied.
pub(crate) const APPLIED: &str = "SELECT version, checksum FROM tokend_migrations ORDER BY version";

/// A migration that was applied: version and checksum.
pub(crate) type Applied = (i64, Vec<u8>);

/// Which SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// Where a database's schema stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaStatus {
    /// Its version; 0 when the database is empty.
    pub version: i64,
    /// The version that this tokend needs.
    pub needed: i64,
}

impl SchemaStatus {
    /// Whether migrations are due.
    #[must_use]
    pub const fn is_behind(&self) -> bool {
        self.version < self.needed
    }
}

/// Brings the schema of an existing database up to date, whatever [`Settings::migrate`] says. Many may do so at once.
///
/// # Errors
/// [`OpenError`], one sentence for the operator.
pub async fn migrate(settings: &Settings) -> Result<SchemaStatus, OpenError> {
    database::migrate(settings).await
}

/// Tells where the schema stands; changes nothing.
///
/// # Errors
/// [`OpenError`], one sentence for the operator.
pub async fn schema_status(settings: &Settings) -> Result<SchemaStatus, OpenError> {
    database::schema_status(settings).await
}

/// The version that this tokend needs.
pub(crate) fn needed() -> i64 {
    MIGRATIONS.iter().map(|(version, ..)| *version).max().unwrap_or(0)
}

/// Runs what is due. The lock is the caller's: it holds one around the whole run.
pub(crate) fn migrator(dialect: Dialect) -> Migrator {
    let mut migrator = Migrator::with_migrations(migrations(dialect).collect());
    migrator.dangerous_set_table_name(TABLE);
    migrator.set_locking(false);
    migrator
}

/// The version of a schema of which these migrations were applied.
pub(crate) fn version(database: String, dialect: Dialect, applied: &[Applied]) -> Result<i64, OpenError> {
    let found = applied.iter().map(|(version, _)| *version).max().unwrap_or(0);
    if found > needed() {
        return Err(OpenError::NewerSchema { database, found, known: needed() });
    }
    let ours: Vec<_> = migrations(dialect).collect();
    for (version, checksum) in applied {
        if !ours.iter().any(|ours| ours.version == *version && ours.checksum.as_ref() == checksum.as_slice()) {
            return Err(OpenError::MigrationDiffers { database, version: *version });
        }
    }
    Ok(found)
}

fn migrations(dialect: Dialect) -> impl Iterator<Item = Migration> {
    MIGRATIONS.into_iter().map(move |(version, name, sqlite, postgres)| {
        let sql = match dialect {
            Dialect::Sqlite => sqlite,
            Dialect::Postgres => postgres,
        };
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    })
}
