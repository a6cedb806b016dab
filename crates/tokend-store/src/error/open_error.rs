use std::{error::Error, path::PathBuf};

use tokend_core::keyring::WrongKeys;

use super::store_error::StoreError;

/// Why a database can't be used. Each error is one sentence that says what to do and contains no password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is malformed.
    #[error("the database URL is not valid: {problem}; write sqlite://PATH or postgres://USER@HOST/DATABASE")]
    BadUrl {
        /// What is wrong with it.
        problem: String,
    },
    /// The database file does not exist, or the database is empty.
    #[error("{database} is not initialized; run `tokend init` first")]
    NotInitialized {
        /// The file, or the server and database.
        database: String,
    },
    /// The file, or one that SQLite keeps beside it, can't be opened or created.
    #[error(
        "can't open {}: {problem}; check that the directory exists and that this user may write to it and to the file",
        .path.display()
    )]
    CannotOpenFile {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        problem: String,
    },
    /// The file is not a SQLite database.
    #[error("{path} is not a SQLite database; give the path of tokend's own file", path = .path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The database belongs to another program.
    #[error("{database} holds another program's data ({found}); give tokend a database or schema of its own")]
    NotOurs {
        /// The file, or the server and database.
        database: String,
        /// What was found there.
        found: String,
    },
    /// A later version of tokend has migrated the schema.
    #[error(
        "the schema of {database} is version {found}, this tokend knows version {known} at most; run a newer tokend"
    )]
    NewerSchema {
        /// The file, or the server and database.
        database: String,
        /// The version of the schema.
        found: i64,
        /// The version that this tokend needs.
        known: i64,
    },
    /// Migrations are due and [`StoreSettings::migrate`](crate::StoreSettings) is off.
    #[error(
        "the schema of {database} is version {found}, this tokend needs version {needed}; run `tokend migrate up`, or \
         serve without --no-migrate"
    )]
    MigrationsPending {
        /// The file, or the server and database.
        database: String,
        /// The version of the schema, 0 for an empty database.
        found: i64,
        /// The version that this tokend needs.
        needed: i64,
    },
    /// An applied migration differs from the one in this tokend.
    #[error(
        "migration {version} of {database} is not the one in this tokend; run the tokend that made it, or restore a \
         backup"
    )]
    MigrationDiffers {
        /// The file, or the server and database.
        database: String,
        /// The migration.
        version: i64,
    },
    /// The key ring belongs to another installation, or is outdated.
    #[error(
        "the key ring does not fit {database}: {problem}; give this installation's own, up to date (for a restored \
         database, that of its time)"
    )]
    WrongKeyRing {
        /// The file, or the server and database.
        database: String,
        /// The key, and what is wrong with it.
        problem: WrongKeys,
    },
    /// Revoked tokens may work again.
    #[error(
        "{database} can't be relied on: {problem}; revoked tokens may work in it. Run `tokend restore` on it, or on a \
         backup in its place, to its end"
    )]
    Untrusted {
        /// The file, or the server and database.
        database: String,
        /// What is wrong with it.
        problem: FeedProblem,
    },
    /// PostgreSQL may lose committed transactions in a crash, so a revoked token could work again.
    #[error(
        "PostgreSQL runs with {setting} = {value} and could forget a revocation in a crash; turn it on, or pass \
         --allow-unsafe-durability"
    )]
    UnsafeDurability {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: String,
    },
    /// The version of PostgreSQL is too old.
    #[error("PostgreSQL is version {found}; tokend needs 15 or later")]
    UnsupportedServer {
        /// Its version.
        found: String,
    },
    /// The encoding of the database can't store every text.
    #[error(
        "{database} is encoded in {found} and can't hold every name; create a database with ENCODING 'UTF8' TEMPLATE \
         template0"
    )]
    WrongEncoding {
        /// The server and database.
        database: String,
        /// Its encoding.
        found: String,
    },
    /// The user may not create tables in the schema.
    #[error(
        "the user {user} may not create tables in {database}; run `GRANT CREATE ON SCHEMA {schema} TO {user}` there"
    )]
    MissingPrivilege {
        /// The server and database.
        database: String,
        /// The schema, quoted for SQL.
        schema: String,
        /// The user, quoted for SQL.
        user: String,
    },
    /// The server is a connection pooler that can't be used.
    #[error("{pooler} is a connection pooler {problem}")]
    ConnectionPooler {
        /// The pooler and database.
        pooler: String,
        /// What is wrong with it.
        problem: PoolerProblem,
    },
    /// PostgreSQL can't be reached or rejects the connection.
    #[error(
        "can't connect to {database}: {source}; check that it runs and that host, port, user, password and database \
         are right"
    )]
    CannotConnect {
        /// The server and database.
        database: String,
        /// The error of the driver.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The server, or every one of several, is a standby or accepts no writes.
    #[error(
        "can't use {database}: {source}; give the primary's URL, or name all servers \
         (postgres://USER@HOST1,HOST2/DATABASE) to use the one that is the primary"
    )]
    NotPrimary {
        /// The server or servers, and the database.
        database: String,
        /// The problem of each server.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another process has locked the SQLite file.
    #[error(
        "another process serves from {database} or restores it, and a SQLite file is for one server at a time; stop \
         every server first, or use PostgreSQL for several"
    )]
    Served {
        /// The file.
        database: String,
    },
    /// The thread for the database could not be started.
    #[error("can't start the thread for the database: {0}; check this process's limits")]
    NoThread(std::io::Error),
    /// A fault of the database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a connection pooler can't be used, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolerProblem {
    /// It passes on the names of prepared statements, which are the same for all clients.
    #[error(
        "that mixes up the prepared statements of its clients, as PgBouncer does before version 1.21 or with \
         max_prepared_statements = 0; use PgBouncer 1.21 or later with max_prepared_statements = 200, or give the URL \
         of PostgreSQL itself"
    )]
    MixesUpStatements,
    /// Each statement is a transaction.
    #[error(
        "that allows no transactions; set pool_mode = transaction in PgBouncer, or give the URL of PostgreSQL itself"
    )]
    NoTransactions,
    /// It does not pass on parameters that the URL sets.
    #[error(
        "that does not pass on the parameter options of the database URL (or PGOPTIONS); set what it says with \
         `ALTER ROLE ... SET ...` in PostgreSQL, and remove it"
    )]
    DropsParameters,
    /// It hides whether a server uses the database.
    #[error(
        "that hides whether servers use the database; stop every server, and give this command the URL of PostgreSQL \
         itself"
    )]
    HidesServers,
}

/// Why no server may start on a database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedProblem {
    /// The MAC of the feed row does not match.
    #[error("the feed's row was changed outside tokend")]
    Tampered,
    /// The feed row is missing or malformed.
    #[error("the feed's row can't be read: {0}")]
    Corrupt(String),
    /// A restore was not finished.
    #[error("a restore was begun and not finished")]
    Restoring,
    /// The last revocation record is not the one that the feed row refers to.
    #[error(
        "the table of endings does not end where the feed's row says, at position {0}: it was changed outside tokend"
    )]
    Endings(u64),
}
