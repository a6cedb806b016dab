use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use sqlx::{ConnectOptions, Connection as _, PgConnection, Row, postgres::PgConnectOptions};
use tokio::time::timeout;

use super::{
    ConnectError, Purpose, ServerProblem, fault, judge, migration_fault,
    url::{self, PostgresUrl},
};
use crate::{
    open_error::OpenError,
    pool::{Connection, check_primary},
    schema::{self, Applied, Dialect, SchemaStatus},
    settings::Settings,
};

const OLDEST_VERSION: i64 = 150_000;

/// The setting by which every connection limits its statements.
const STATEMENT_TIMEOUT: &str = "statement_timeout";

/// How much longer to wait for an answer than the server may let a statement run.
const ANSWER_MARGIN: Duration = Duration::from_secs(2);

/// A database on a server, or on several of which one accepts writes at a time.
pub(crate) struct Server {
    /// How to connect to each server, in the order of the URL; one at least.
    servers: Vec<PgConnectOptions>,
    /// The server that was connected to last, which is tried first.
    preferred: AtomicUsize,
    /// Whether a server has to accept writes.
    for_writing: bool,
    /// How long to wait for each server when connecting.
    connect_timeout: Duration,
    /// How long the server may let a statement run.
    statement_timeout: Duration,
    /// How long to wait for an answer.
    patience: Duration,
}

impl Server {
    pub(super) fn at(settings: &Settings) -> Result<Self, OpenError> {
        let variable = |name: &str| std::env::var(name).ok();
        let url = url::parse(&settings.url, variable).map_err(|problem| OpenError::BadUrl { problem })?;
        let PostgresUrl { hosts, connect_timeout } = url;
        let statement_timeout = settings.statement_timeout.as_millis();
        let named = |host: PgConnectOptions| host.application_name("tokend").options([(STATEMENT_TIMEOUT, statement_timeout)]);
        Ok(Self {
            servers: hosts.into_iter().map(named).collect(),
            preferred: AtomicUsize::new(0),
            for_writing: true,
            connect_timeout: connect_timeout.unwrap_or(settings.connect_timeout),
            statement_timeout: settings.statement_timeout,
            patience: settings.statement_timeout.saturating_add(ANSWER_MARGIN),
        })
    }

    /// The same, with connections that can do no more than that.
    pub(super) fn opened_for(mut self: Box<Self>, purpose: Purpose) -> Box<Self> {
        if purpose == Purpose::Read {
            self.for_writing = false;
            for server in &mut self.servers {
                *server = server.clone().options([("default_transaction_read_only", "on")]);
            }
        }
        self
    }

    pub(super) const fn is_for_writing(&self) -> bool {
        self.for_writing
    }

    /// Without user and password.
    pub(super) fn name(&self) -> String {
        let first = &self.servers[0];
        let database = first.get_database().unwrap_or(first.get_username());
        let servers: Vec<_> = self.servers.iter().map(address).collect();
        format!("postgres://{}/{database}", servers.join(","))
    }

    /// Finds out whether the server keeps its word and whose the schema is, and brings it up to date.
    pub(super) async fn prepare(&self, purpose: Purpose, migrate: bool, allow_unsafe: bool) -> Result<SchemaStatus, OpenError> {
        let mut connection = self.connect(self.for_writing).await?;
        if purpose != Purpose::Read {
            self.check(&mut connection, allow_unsafe).await?;
        }
        let status = judge(self.name(), self.version(&mut connection).await?, purpose, migrate)?;
        if status.is_behind() {
            self.check_privileges(&mut connection).await?;
            self.migrate(&mut connection).await?;
        }
        let _ = connection.close().await;
        Ok(SchemaStatus { version: status.needed, ..status })
    }

    pub(super) async fn schema_status(&self) -> Result<SchemaStatus, OpenError> {
        let mut connection = self.connect(false).await?;
        let version = self.version(&mut connection).await?;
        let _ = connection.close().await;
        Ok(SchemaStatus { version, needed: schema::needed() })
    }

    /// Every process of ours gives its connections one name.
    pub(super) async fn is_in_use(&self) -> Result<bool, OpenError> {
        let mut connection = self.connect(self.for_writing).await?;
        let query = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
                     AND application_name = current_setting('application_name') AND pid <> pg_backend_pid())";
        let is_in_use = sqlx::query_scalar(query).fetch_one(&mut connection).await.map_err(fault)?;
        let _ = connection.close().await;
        Ok(is_in_use)
    }

    pub(super) async fn open_connection(&self) -> Result<Connection, ConnectError> {
        let connection = Box::new(self.connect_to_any(self.for_writing).await?);
        Ok(Connection::Postgres { connection, patience: self.patience, for_writing: self.for_writing })
    }

    async fn connect(&self, for_writing: bool) -> Result<PgConnection, OpenError> {
        let mut connection = self.connect_to_any(for_writing).await.map_err(|error| {
            let database = self.name();
            if error.is_not_primary() {
                OpenError::NotPrimary { database, source: error.into() }
            } else if error.problems.iter().any(|server| is_of_pooler(&server.problem)) {
                OpenError::ConnectionPooler { database }
            } else {
                OpenError::CannotConnect { database, source: error.into() }
            }
        })?;
        self.check_pooler(&mut connection).await?;
        Ok(connection)
    }

    /// Connects to the first server that can be reached and accepts writes where these are wanted.
    async fn connect_to_any(&self, for_writing: bool) -> Result<PgConnection, ConnectError> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut problems = Vec::new();
        for offset in 0..self.servers.len() {
            let index = (first + offset) % self.servers.len();
            let server = &self.servers[index];
            let connected = timeout(self.connect_timeout, connect_to(server, for_writing)).await;
            let connected = connected.unwrap_or_else(|_| Err(no_answer(self.connect_timeout)));
            match connected {
                Ok(connection) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(problem) => {
                    let server = (self.servers.len() > 1).then(|| address(server));
                    problems.push(ServerProblem { server, problem });
                }
            }
        }
        Err(ConnectError { problems })
    }

    /// Refuses a connection pooler that did not pass on what this connection asked for: its next statement may run on a connection of
    /// somebody else. Asked without a prepared statement, which such a pooler does not keep apart.
    async fn check_pooler(&self, connection: &mut PgConnection) -> Result<(), OpenError> {
        let query = "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'statement_timeout'";
        let found = sqlx::raw_sql(query).fetch_one(connection).await.map_err(fault)?;
        let setting: String = found.try_get(0).map_err(fault)?;
        if setting == self.statement_timeout.as_millis().to_string() {
            Ok(())
        } else {
            Err(OpenError::ConnectionPooler { database: self.name() })
        }
    }

    /// Finds out whether the server is recent enough, does not forget what it has acknowledged, and can hold every text.
    async fn check(&self, connection: &mut PgConnection, allow_unsafe: bool) -> Result<(), OpenError> {
        check_server(connection, allow_unsafe).await?;
        let query = "SELECT current_setting('server_encoding')";
        let encoding: String = sqlx::query_scalar(query).fetch_one(connection).await.map_err(fault)?;
        if encoding != "UTF8" {
            return Err(OpenError::WrongEncoding { database: self.name(), found: encoding });
        }
        Ok(())
    }

    /// Whether connections go over TCP, and can be read on the way unless they are encrypted.
    pub(super) fn uses_tcp(&self) -> bool {
        self.servers.iter().any(|server| server.get_socket().is_none() && !server.get_host().starts_with('/'))
    }

    /// Finds out whether the user may create tables, and names the grant if not.
    async fn check_privileges(&self, connection: &mut PgConnection) -> Result<(), OpenError> {
        let query = "SELECT quote_ident(current_schema()) AS schema, quote_ident(current_user) AS user_name, \
                     has_schema_privilege(current_schema(), 'CREATE') AS may_create";
        let found = sqlx::query(query).fetch_one(connection).await.map_err(fault)?;
        if found.try_get("may_create").map_err(fault)? {
            return Ok(());
        }
        let text = |column| found.try_get::<String, _>(column).map_err(fault);
        Err(OpenError::MissingPrivilege { database: self.name(), schema: text("schema")?, user: text("user_name")? })
    }

    /// The schema's version; an error if the schema is another program's.
    async fn version(&self, connection: &mut PgConnection) -> Result<i64, OpenError> {
        // Tables of extensions are nobody's.
        let query = "SELECT current_schema() AS schema, to_regclass('tokend_migrations') IS NOT NULL AS ours, \
                     (SELECT min(relname)::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                      WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND NOT EXISTS \
                      (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') \
                     ) AS foreign_table";
        let found = sqlx::query(query).fetch_one(&mut *connection).await.map_err(fault)?;
        let Some(schema) = found.try_get::<Option<String>, _>("schema").map_err(fault)? else {
            return Err(OpenError::BadUrl { problem: "the search_path of its user names no schema that exists".to_owned() });
        };
        if !found.try_get::<bool, _>("ours").map_err(fault)? {
            return match found.try_get::<Option<String>, _>("foreign_table").map_err(fault)? {
                None => Ok(0),
                Some(table) => Err(OpenError::NotOurs { database: self.name(), found: format!("table {schema}.{table}") }),
            };
        }
        let applied: Vec<Applied> = sqlx::query_as(schema::APPLIED).fetch_all(connection).await.map_err(fault)?;
        schema::version(self.name(), Dialect::Postgres, &applied)
    }

    /// Migrates in one transaction under an advisory lock, so that of several at once one does the work and the others find it done,
    /// and a migration that fails leaves nothing behind.
    async fn migrate(&self, connection: &mut PgConnection) -> Result<(), OpenError> {
        // Migrations may take their time, and may have to wait for another server's.
        const LOCK: &str =
            "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '10min'; SELECT pg_advisory_xact_lock(8390042706830225)";
        let mut tx = connection.begin().await.map_err(fault)?;
        sqlx::raw_sql(LOCK).execute(&mut *tx).await.map_err(fault)?;
        let migrator = schema::migrator(Dialect::Postgres);
        let done = migrator.run_direct(None, &mut *tx, false).await;
        done.map_err(|error| migration_fault(self.name(), error, fault))?;
        tx.commit().await.map_err(fault)
    }
}

async fn connect_to(server: &PgConnectOptions, for_writing: bool) -> Result<PgConnection, sqlx::Error> {
    let mut connection = server.connect().await?;
    if for_writing {
        check_primary(&mut connection).await?;
    }
    Ok(connection)
}

/// Where a server is, for people.
fn address(server: &PgConnectOptions) -> String {
    match server.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", server.get_host(), server.get_port()),
    }
}

fn no_answer(waited: Duration) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {waited:?}")))
}

/// Whether the server is recent enough and does not forget what it has acknowledged.
async fn check_server(connection: &mut PgConnection, allow_unsafe: bool) -> Result<(), OpenError> {
    let query = "SELECT current_setting('server_version_num')::bigint AS number, current_setting('server_version') AS version, \
                 current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS synchronous_commit, \
                 current_setting('full_page_writes') AS full_page_writes";
    let found = sqlx::query(query).fetch_one(connection).await.map_err(fault)?;
    let text = |column| found.try_get::<String, _>(column).map_err(fault);
    if found.try_get::<i64, _>("number").map_err(fault)? < OLDEST_VERSION {
        return Err(OpenError::UnsupportedServer { found: text("version")? });
    }
    for setting in ["fsync", "synchronous_commit"] {
        let value = text(setting)?;
        if value == "off" {
            if !allow_unsafe {
                return Err(OpenError::UnsafeDurability { setting, value });
            }
            tracing::warn!(
                setting,
                value,
                "PostgreSQL could forget a revocation in a crash, and this server was told to run nevertheless"
            );
        }
    }
    if text("full_page_writes")? == "off" {
        // Right on file systems that never tear a page.
        tracing::warn!("PostgreSQL runs with full_page_writes = off: make sure that the file system can't write half a page");
    }
    Ok(())
}

/// Whether a connection pooler refused the settings that every connection of ours asks for. PgBouncer does, unless it is told to ignore
/// them.
fn is_of_pooler(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.message().contains("unsupported startup parameter"))
}
