use std::{error::Error, path::PathBuf};

use tokend_core::keyring::WrongKeys;

use crate::{error::StoreError, feed::FeedProblem};

/// Why a database can't be used. Each is one sentence that says what to do; none quotes a password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL.
    #[error("the database URL is no good ({problem}); write sqlite://PATH or postgres://USER@HOST/DATABASE")]
    BadUrl {
        /// What is wrong with it.
        problem: String,
    },
    /// There is no database file, or nothing in it yet.
    #[error("{database} is not initialized; run `tokend init` first")]
    NotInitialized {
        /// The file, or the server and database.
        database: String,
    },
    /// The file, or those that SQLite keeps beside it, can't be opened or made.
    #[error("can't open {path}: {problem}; check that the directory exists and that this user may write to it and to the file", path = .path.display())]
    CannotOpenFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        problem: String,
    },
    /// The file is something else.
    #[error("{path} is not a SQLite database; give the path of tokend's own file", path = .path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// A database of another program.
    #[error("{database} holds another program's data ({found}); give tokend a database or schema of its own")]
    NotOurs {
        /// The file, or the server and database.
        database: String,
        /// What was found there.
        found: String,
    },
    /// A later tokend was here.
    #[error("the schema of {database} is version {found}, this tokend knows version {known} at most; run a newer tokend")]
    NewerSchema {
        /// The file, or the server and database.
        database: String,
        /// The version of the schema.
        found: i64,
        /// The version that this tokend would make.
        known: i64,
    },
    /// Migrations are due and [`Settings::migrate`](crate::Settings) is off.
    #[error(
        "the schema of {database} is version {found}, this tokend needs version {needed}; run `tokend migrate up`, or serve without --no-migrate"
    )]
    MigrationsPending {
        /// The file, or the server and database.
        database: String,
        /// The version of the schema, 0 for an empty database.
        found: i64,
        /// The version that this tokend needs.
        needed: i64,
    },
    /// An applied migration is not the one that this tokend has.
    #[error("migration {version} of {database} is not the one in this tokend; run the tokend that made it, or restore a backup")]
    MigrationDiffers {
        /// The file, or the server and database.
        database: String,
        /// The migration.
        version: i64,
    },
    /// The key ring is that of another installation, or an older one.
    #[error(
        "the key ring does not fit {database}: {problem}; give this installation's own, up to date (for a restored database, that of its time)"
    )]
    WrongKeyRing {
        /// The file, or the server and database.
        database: String,
        /// Which key, and how.
        problem: WrongKeys,
    },
    /// What was revoked may work again.
    #[error(
        "{database} can't be relied on: {problem}; revoked tokens may work in it. Run `tokend restore` on it, or on a backup in its place, to its end"
    )]
    Untrusted {
        /// The file, or the server and database.
        database: String,
        /// What is wrong with it.
        problem: FeedProblem,
    },
    /// PostgreSQL may forget what it has acknowledged: a revoked token could come back.
    #[error(
        "PostgreSQL runs with {setting} = {value} and could forget a revocation in a crash; turn it on, or pass --allow-unsafe-durability"
    )]
    UnsafeDurability {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: String,
    },
    /// A PostgreSQL that is too old.
    #[error("PostgreSQL is version {found}; tokend needs 15 or later")]
    UnsupportedServer {
        /// Its version.
        found: String,
    },
    /// A database that can't hold every text.
    #[error(
        "{database} is encoded in {found} and can't hold every name; create a database with ENCODING 'UTF8' TEMPLATE template0"
    )]
    WrongEncoding {
        /// The server and database.
        database: String,
        /// Its encoding.
        found: String,
    },
    /// The user may not create tables where they belong.
    #[error("the user {user} may not create tables in {database}; run `GRANT CREATE ON SCHEMA {schema} TO {user}` there")]
    MissingPrivilege {
        /// The server and database.
        database: String,
        /// The schema, as SQL writes it.
        schema: String,
        /// The user, as SQL writes it.
        user: String,
    },
    /// PgBouncer or the like, which gives statements of one connection to several.
    #[error(
        "{database} is a connection pooler such as PgBouncer, which does not pass on what tokend sets for its connections; give the URL of \
         PostgreSQL itself"
    )]
    ConnectionPooler {
        /// The pooler and database.
        database: String,
    },
    /// PostgreSQL can't be reached or does not let us in.
    #[error("can't connect to {database}: {source}; check that it runs and that host, port, user, password and database are right")]
    CannotConnect {
        /// The server and database.
        database: String,
        /// What the driver said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The server, or each of several, is a standby or accepts no writes.
    #[error(
        "can't use {database}: {source}; give the primary's URL, or name all servers (postgres://USER@HOST1,HOST2/DATABASE) to use the one that is the primary"
    )]
    NotPrimary {
        /// The server or servers, and the database.
        database: String,
        /// Which of the two it is.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another process has the SQLite file to itself.
    #[error(
        "another process serves from {database} or restores it, and a SQLite file is for one server at a time; stop every server first, or use PostgreSQL for several"
    )]
    Served {
        /// The file.
        database: String,
    },
    /// The thread on which the database is spoken to could not be started.
    #[error("can't start the thread for the database: {0}; check this process's limits")]
    NoThread(std::io::Error),
    /// The database failed on the way.
    #[error(transparent)]
    Store(#[from] StoreError),
}
