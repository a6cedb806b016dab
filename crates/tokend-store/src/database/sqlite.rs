use std::{
    fs::{self, OpenOptions, Permissions, TryLockError},
    io::{ErrorKind, Read},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::PathBuf,
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection as _, Row, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};

use super::{
    checks::{ConnectError, Purpose, check_version, fault, migration_fault},
    connection::Connection,
};
use crate::{
    error::{
        OpenError,
        driver_error::{
            SQLITE_BUSY, SQLITE_CANTOPEN, SQLITE_IOERR, SQLITE_NOTADB, SQLITE_PERM, SQLITE_READONLY, sqlite_code,
        },
    },
    schema::{self, Applied, Dialect, SchemaStatus},
};

/// The `PRAGMA application_id` of tokend's files: "tknd".
const APPLICATION_ID: i64 = 0x746b_6e64;

/// The first bytes of every SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Only the owner may read the file: it contains no secrets, but names, labels and addresses. SQLite gives its -wal and
/// -shm files the same mode.
const MODE: u32 = 0o600;

/// A database file.
pub(crate) struct File {
    path: PathBuf,
    waits: Waits,
    /// Whether the file is opened only for reading.
    read_only: bool,
    /// The lock file. While it is open, no other server opens the database.
    lock: Option<fs::File>,
}

/// How long to wait for locks of other connections.
#[derive(Clone, Copy)]
pub(super) struct Waits {
    /// While the file is opened.
    pub(super) opening: Duration,
    /// For each statement after that. Beginning a write retries for longer.
    pub(super) statement: Duration,
}

impl File {
    pub(super) fn at(path: &str, waits: Waits) -> Result<Self, OpenError> {
        let bad = |problem: &str| OpenError::BadUrl {
            problem: problem.to_owned(),
        };
        match path {
            "" => Err(bad("the path is missing")),
            // Every connection would have its own database.
            ":memory:" => Err(bad("a database in memory can't be kept")),
            _ if path.contains('?') => Err(bad("a SQLite path takes no parameters and may not contain a ?")),
            // Absolute, so that SQLite takes no relative path for a file: URI.
            _ => match std::path::absolute(path) {
                Ok(path) => Ok(Self {
                    path,
                    waits,
                    read_only: false,
                    lock: None,
                }),
                Err(error) => Err(OpenError::BadUrl {
                    problem: error.to_string(),
                }),
            },
        }
    }

    /// Restricts the connections to what the purpose needs.
    pub(super) fn opened_for(self, purpose: Purpose) -> Self {
        Self {
            read_only: purpose == Purpose::Read,
            ..self
        }
    }

    pub(super) const fn is_for_writing(&self) -> bool {
        !self.read_only
    }

    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Returns the path of the write-ahead log, and how long the connections wait for locks.
    pub(super) fn write_ahead_log(&self) -> (PathBuf, Duration) {
        (self.beside("wal"), self.waits.statement)
    }

    /// Creates an empty file if there is none.
    pub(super) fn create(&self) -> Result<(), OpenError> {
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&self.path)
        {
            // The umask may have cleared bits of the mode.
            Ok(file) => file
                .set_permissions(Permissions::from_mode(MODE))
                .map_err(|error| self.cannot_open(error)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(self.cannot_open(error)),
        }
    }

    /// Takes the lock that one server holds at a time, on a file beside the database. The lock file stays; the lock
    /// ends with the process.
    pub(super) fn lock(&mut self) -> Result<(), OpenError> {
        if !self.path.exists() {
            return Err(OpenError::NotInitialized { database: self.name() });
        }
        let path = self.beside("lock");
        let cannot_lock = |error: &dyn std::error::Error| OpenError::CannotOpenFile {
            path: path.clone(),
            problem: error.to_string(),
        };
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .open(&path);
        let file = file.map_err(|error| cannot_lock(&error))?;
        match file.try_lock() {
            Ok(()) => self.lock = Some(file),
            Err(TryLockError::WouldBlock) => return Err(OpenError::Served { database: self.name() }),
            Err(TryLockError::Error(error)) => return Err(cannot_lock(&error)),
        }
        Ok(())
    }

    /// Returns the path of the write-ahead log if it is not empty.
    pub(super) fn leftover_log(&self) -> Option<PathBuf> {
        let log = self.beside("wal");
        fs::metadata(&log).is_ok_and(|log| log.len() > 0).then_some(log)
    }

    /// Returns the path of the database file with `-` and this suffix.
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push("-");
        path.push(suffix);
        path.into()
    }

    /// Checks that the file is tokend's, and migrates its schema.
    pub(super) async fn prepare(&self, purpose: Purpose, migrate: bool) -> Result<SchemaStatus, OpenError> {
        let mut connection = self.connect().await?;
        let status = check_version(self.name(), self.version(&mut connection).await?, purpose, migrate)?;
        let done = if self.read_only {
            Ok(status)
        } else {
            self.use_wal(&mut connection).await?;
            self.migrate(&mut connection, status).await
        };
        // An error changes nothing: everything was committed or rolled back.
        let _ = connection.close().await;
        done
    }

    pub(super) async fn schema_status(&self) -> Result<SchemaStatus, OpenError> {
        let mut connection = self.connect().await?;
        let version = self.version(&mut connection).await?;
        let _ = connection.close().await;
        Ok(SchemaStatus {
            version,
            needed: schema::needed(),
        })
    }

    /// Returns whether another process has the file open: leaving WAL mode needs exclusive access. The next start
    /// enters WAL mode again.
    pub(super) async fn is_in_use(&self) -> Result<bool, OpenError> {
        let mut connection = self.connect().await?;
        let left = sqlx::query("PRAGMA journal_mode = DELETE")
            .execute(&mut connection)
            .await;
        let _ = connection.close().await;
        match left {
            Ok(_) => Ok(false),
            Err(error) if sqlite_code(&error) == Some(SQLITE_BUSY) => Ok(true),
            Err(error) => Err(self.fault(error)),
        }
    }

    pub(super) async fn open_connection(&self) -> Result<Connection, ConnectError> {
        Ok(Connection::Sqlite(
            self.options().busy_timeout(self.waits.statement).connect().await?,
        ))
    }

    fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(false)
            .read_only(self.read_only)
            .busy_timeout(self.waits.opening)
            .foreign_keys(true)
            // With WAL: COMMIT returns when the log is on disk.
            .synchronous(SqliteSynchronous::Full)
            .thread_name(|number| format!("tokend-sqlite-{number}"))
    }

    async fn connect(&self) -> Result<SqliteConnection, OpenError> {
        let mut head = [0; MAGIC.len()];
        let read = fs::File::open(&self.path).and_then(|mut file| file.read(&mut head));
        match read {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(OpenError::NotInitialized { database: self.name() });
            }
            Err(error) => return Err(self.cannot_open(error)),
            // An empty file is an empty database.
            Ok(0) => {}
            Ok(_) if head == *MAGIC => {}
            Ok(_) => {
                return Err(OpenError::NotADatabase {
                    path: self.path.clone(),
                });
            }
        }
        self.options().connect().await.map_err(|error| self.fault(error))
    }

    /// Returns the version of the schema. Fails if the file belongs to another program.
    async fn version(&self, connection: &mut SqliteConnection) -> Result<i64, OpenError> {
        let query = "SELECT (SELECT application_id FROM pragma_application_id) AS application_id, \
                     (SELECT count(*) FROM sqlite_schema WHERE type = 'table') AS tables, \
                     (SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'tokend_migrations') AS ours";
        let found = sqlx::query(query)
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| self.fault(error))?;
        let number = |column| found.try_get::<i64, _>(column).map_err(|error| self.fault(error));
        let (application_id, tables) = (number("application_id")?, number("tables")?);
        if application_id != APPLICATION_ID && (application_id != 0 || tables != 0) {
            let found = format!("{tables} tables, application id {application_id}");
            return Err(OpenError::NotOurs {
                database: self.name(),
                found,
            });
        }
        if number("ours")? == 0 {
            return Ok(0);
        }
        let applied: Vec<Applied> = sqlx::query_as(schema::APPLIED)
            .fetch_all(connection)
            .await
            .map_err(|error| self.fault(error))?;
        schema::version(self.name(), Dialect::Sqlite, &applied)
    }

    /// Switches to write-ahead logging, so that reads and the write don't wait for each other. The mode is stored in
    /// the file.
    async fn use_wal(&self, connection: &mut SqliteConnection) -> Result<(), OpenError> {
        // This needs exclusive access, and waits for it as long as for any lock.
        sqlx::query("PRAGMA journal_mode = WAL")
            .execute(connection)
            .await
            .map_err(|error| self.fault(error))?;
        Ok(())
    }

    /// Migrates under the write lock, so that one of several concurrent processes migrates and the others find the new
    /// schema. If there is nothing to migrate, this checks that the file can be written.
    async fn migrate(
        &self,
        connection: &mut SqliteConnection,
        status: SchemaStatus,
    ) -> Result<SchemaStatus, OpenError> {
        let mut tx = connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(|error| self.fault(error))?;
        if status.is_behind() {
            let migrator = schema::migrator(Dialect::Sqlite);
            let done = migrator.run_direct(None, &mut *tx, false).await;
            done.map_err(|error| migration_fault(self.name(), error, |error| self.fault(error)))?;
        }
        tx.commit().await.map_err(|error| self.fault(error))?;
        Ok(SchemaStatus {
            version: status.needed,
            ..status
        })
    }

    fn fault(&self, error: sqlx::Error) -> OpenError {
        match (sqlite_code(&error), &error) {
            (Some(SQLITE_NOTADB), _) => OpenError::NotADatabase {
                path: self.path.clone(),
            },
            (Some(SQLITE_PERM | SQLITE_CANTOPEN | SQLITE_READONLY | SQLITE_IOERR), sqlx::Error::Database(error)) => {
                self.cannot_open(error.message())
            }
            _ => fault(error),
        }
    }

    fn cannot_open(&self, problem: impl ToString) -> OpenError {
        OpenError::CannotOpenFile {
            path: self.path.clone(),
            problem: problem.to_string(),
        }
    }
}
