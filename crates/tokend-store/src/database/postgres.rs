use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use sqlx::{Connection as _, PgConnection, Row};

use super::{
    checks::{ConnectError, Purpose, ServerProblem, check_version, fault, migration_fault},
    connection::Connection,
    host::Host,
    url::{self, PostgresUrl},
};
use crate::{
    error::{OpenError, PoolerProblem},
    schema::{self, Applied, Dialect, SchemaStatus},
    settings::StoreSettings,
};

const OLDEST_VERSION: i64 = 150_000;

/// The setting with which every connection limits the time of its statements, unless it goes through a pooler.
const STATEMENT_TIMEOUT: &str = "statement_timeout";

/// How much longer than the server's statement timeout to wait for an answer.
const ANSWER_MARGIN: Duration = Duration::from_secs(2);

/// A database on one server, or on several servers of which one at a time accepts writes.
pub(crate) struct Server {
    /// The servers, in the order of the URL. Never empty.
    servers: Vec<Host>,
    /// The index of the server that was connected to last. It is tried first.
    preferred: AtomicUsize,
    /// Whether a server must accept writes.
    for_writing: bool,
    /// How long to wait for each server when connecting.
    connect_timeout: Duration,
    /// How long the server may let a statement run.
    statement_timeout: Duration,
    /// How long to wait for an answer.
    answer_timeout: Duration,
}

impl Server {
    pub(super) fn at(settings: &StoreSettings) -> Result<Self, OpenError> {
        let variable = |name: &str| std::env::var(name).ok();
        let url = url::parse(&settings.url, variable).map_err(|problem| OpenError::BadUrl { problem })?;
        let PostgresUrl { hosts, connect_timeout } = url;
        let statement_timeout = settings.statement_timeout.as_millis().to_string();
        let with_timeout = |options| {
            let mut host = Host::new(options);
            host.set(STATEMENT_TIMEOUT, &statement_timeout);
            host
        };
        Ok(Self {
            servers: hosts.into_iter().map(with_timeout).collect(),
            preferred: AtomicUsize::new(0),
            for_writing: true,
            connect_timeout: connect_timeout.unwrap_or(settings.connect_timeout),
            statement_timeout: settings.statement_timeout,
            answer_timeout: settings.statement_timeout.saturating_add(ANSWER_MARGIN),
        })
    }

    /// Restricts the connections to what the purpose needs.
    pub(super) fn opened_for(mut self: Box<Self>, purpose: Purpose) -> Box<Self> {
        if purpose == Purpose::Read {
            self.for_writing = false;
            for server in &mut self.servers {
                server.set("default_transaction_read_only", "on");
            }
        }
        self
    }

    pub(super) const fn is_for_writing(&self) -> bool {
        self.for_writing
    }

    /// Returns the URL without user, password and parameters.
    pub(super) fn name(&self) -> String {
        let servers: Vec<_> = self.servers.iter().map(Host::address).collect();
        self.name_at(&servers.join(","))
    }

    fn name_at(&self, address: &str) -> String {
        format!("postgres://{address}/{}", self.servers[0].database())
    }

    /// Returns the server that was connected to last.
    fn current(&self) -> &Host {
        &self.servers[self.preferred.load(Ordering::Relaxed)]
    }

    /// Checks that the server is durable and that the schema is tokend's, and migrates the schema.
    pub(super) async fn prepare(
        &self,
        purpose: Purpose,
        migrate: bool,
        allow_unsafe: bool,
    ) -> Result<SchemaStatus, OpenError> {
        let mut connection = self.connect(self.for_writing).await?;
        if purpose != Purpose::Read {
            self.check(&mut connection, allow_unsafe).await?;
            self.warn_about_pooler(&mut connection).await?;
        }
        let status = check_version(self.name(), self.version(&mut connection).await?, purpose, migrate)?;
        if status.is_behind() {
            self.check_privileges(&mut connection).await?;
            self.migrate(&mut connection).await?;
        }
        let _ = connection.close().await;
        Ok(SchemaStatus {
            version: status.needed,
            ..status
        })
    }

    pub(super) async fn schema_status(&self) -> Result<SchemaStatus, OpenError> {
        let mut connection = self.connect(false).await?;
        let version = self.version(&mut connection).await?;
        let _ = connection.close().await;
        Ok(SchemaStatus {
            version,
            needed: schema::needed(),
        })
    }

    /// Returns whether other tokend processes are connected: all of them use the same application name. A pooler may add
    /// an address to it (`application_name_add_host`).
    pub(super) async fn is_in_use(&self) -> Result<bool, OpenError> {
        let mut connection = self.connect(self.for_writing).await?;
        if self.current().is_pooler() {
            return Err(OpenError::ConnectionPooler {
                pooler: self.name_at(&self.current().address()),
                problem: PoolerProblem::HidesServers,
            });
        }
        let query = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
                     AND split_part(application_name, ' - ', 1) = current_setting('application_name') \
                     AND pid <> pg_backend_pid())";
        let is_in_use = sqlx::query_scalar(query)
            .fetch_one(&mut connection)
            .await
            .map_err(fault)?;
        let _ = connection.close().await;
        Ok(is_in_use)
    }

    pub(super) async fn open_connection(&self) -> Result<Connection, ConnectError> {
        let connection = Box::new(self.connect_to_any(self.for_writing).await?);
        Ok(Connection::Postgres {
            connection,
            answer_timeout: self.answer_timeout,
            for_writing: self.for_writing,
        })
    }

    async fn connect(&self, for_writing: bool) -> Result<PgConnection, OpenError> {
        self.connect_to_any(for_writing).await.map_err(|error| {
            let database = self.name();
            if let Some((server, problem)) = error.pooler() {
                let pooler = server.map_or(database, |address| self.name_at(address));
                OpenError::ConnectionPooler { pooler, problem }
            } else if error.is_not_primary() {
                OpenError::NotPrimary {
                    database,
                    source: error.into(),
                }
            } else {
                OpenError::CannotConnect {
                    database,
                    source: error.into(),
                }
            }
        })
    }

    /// Connects to the first server that can be reached and, if `for_writing`, accepts writes.
    async fn connect_to_any(&self, for_writing: bool) -> Result<PgConnection, ConnectError> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut problems = Vec::new();
        for offset in 0..self.servers.len() {
            let index = (first + offset) % self.servers.len();
            let server = &self.servers[index];
            match server.connect(self.connect_timeout, for_writing).await {
                Ok(connection) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(problem) => {
                    let server = (self.servers.len() > 1).then(|| server.address());
                    problems.push(ServerProblem { server, problem });
                }
            }
        }
        Err(ConnectError { problems })
    }

    /// Logs a warning if a pooler keeps PostgreSQL from limiting the time of statements. Transactions that write set
    /// the limit themselves, and tokend waits no longer for an answer in any case; but the statement would go on.
    async fn warn_about_pooler(&self, connection: &mut PgConnection) -> Result<(), OpenError> {
        if !self.current().is_pooler() {
            return Ok(());
        }
        let query = "SELECT setting::bigint, quote_ident(current_user) FROM pg_catalog.pg_settings \
                     WHERE name = 'statement_timeout'";
        let found: (i64, String) = sqlx::query_as(query).fetch_one(connection).await.map_err(fault)?;
        let (found, user) = (u128::from(found.0.unsigned_abs()), found.1);
        let wanted = self.statement_timeout.as_millis();
        if found == 0 || found > wanted {
            tracing::warn!(
                database = self.name(),
                "PostgreSQL does not limit the time of statements that come through the connection pooler; run `ALTER \
                 ROLE {user} SET statement_timeout = '{wanted}ms'` there, and RECONNECT in PgBouncer"
            );
        }
        Ok(())
    }

    /// Checks that the server is recent enough, is durable, and can store every text.
    async fn check(&self, connection: &mut PgConnection, allow_unsafe: bool) -> Result<(), OpenError> {
        check_server(connection, allow_unsafe).await?;
        let query = "SELECT current_setting('server_encoding')";
        let encoding: String = sqlx::query_scalar(query).fetch_one(connection).await.map_err(fault)?;
        if encoding != "UTF8" {
            return Err(OpenError::WrongEncoding {
                database: self.name(),
                found: encoding,
            });
        }
        Ok(())
    }

    /// Returns whether connections go over TCP, where they can be read if they are not encrypted.
    pub(super) fn uses_tcp(&self) -> bool {
        self.servers.iter().any(Host::uses_tcp)
    }

    /// Returns whether the server that was connected to last is a pooler.
    pub(super) fn uses_pooler(&self) -> bool {
        self.current().is_pooler()
    }

    /// Returns whether connections without TLS are rejected.
    pub(super) fn requires_tls(&self) -> bool {
        self.servers.iter().all(Host::requires_tls)
    }

    /// Checks that the user may create tables. The error names the missing grant.
    async fn check_privileges(&self, connection: &mut PgConnection) -> Result<(), OpenError> {
        let query = "SELECT quote_ident(current_schema()) AS schema, quote_ident(current_user) AS user_name, \
                     has_schema_privilege(current_schema(), 'CREATE') AS may_create";
        let found = sqlx::query(query).fetch_one(connection).await.map_err(fault)?;
        if found.try_get("may_create").map_err(fault)? {
            return Ok(());
        }
        let text = |column| found.try_get::<String, _>(column).map_err(fault);
        Err(OpenError::MissingPrivilege {
            database: self.name(),
            schema: text("schema")?,
            user: text("user_name")?,
        })
    }

    /// Returns the version of the schema. Fails if the schema belongs to another program.
    async fn version(&self, connection: &mut PgConnection) -> Result<i64, OpenError> {
        // Tables of extensions are ignored.
        let query = "SELECT current_schema() AS schema, to_regclass('tokend_migrations') IS NOT NULL AS ours, \
                     (SELECT min(relname)::text FROM pg_catalog.pg_class c \
                      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                      WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND NOT EXISTS \
                      (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass \
                      AND d.objid = c.oid AND d.deptype = 'e') \
                     ) AS foreign_table";
        let found = sqlx::query(query).fetch_one(&mut *connection).await.map_err(fault)?;
        let Some(schema) = found.try_get::<Option<String>, _>("schema").map_err(fault)? else {
            return Err(OpenError::BadUrl {
                problem: "the search_path of its user names no schema that exists".to_owned(),
            });
        };
        if !found.try_get::<bool, _>("ours").map_err(fault)? {
            return match found.try_get::<Option<String>, _>("foreign_table").map_err(fault)? {
                None => Ok(0),
                Some(table) => Err(OpenError::NotOurs {
                    database: self.name(),
                    found: format!("table {schema}.{table}"),
                }),
            };
        }
        let applied: Vec<Applied> = sqlx::query_as(schema::APPLIED)
            .fetch_all(connection)
            .await
            .map_err(fault)?;
        schema::version(self.name(), Dialect::Postgres, &applied)
    }

    /// Migrates in one transaction under an advisory lock, so that one of several concurrent processes migrates and the
    /// others find the new schema, and a migration that fails changes nothing.
    async fn migrate(&self, connection: &mut PgConnection) -> Result<(), OpenError> {
        // Migrations may take long, and may have to wait for those of another server.
        const LOCK: &str = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '10min'; \
                            SELECT pg_advisory_xact_lock(8390042706830225)";
        let mut tx = connection.begin().await.map_err(fault)?;
        sqlx::raw_sql(LOCK).execute(&mut *tx).await.map_err(fault)?;
        let migrator = schema::migrator(Dialect::Postgres);
        let done = migrator.run_direct(None, &mut *tx, false).await;
        done.map_err(|error| migration_fault(self.name(), error, fault))?;
        tx.commit().await.map_err(fault)
    }
}

/// Checks that the server is recent enough and does not lose committed transactions.
async fn check_server(connection: &mut PgConnection, allow_unsafe: bool) -> Result<(), OpenError> {
    let query = "SELECT current_setting('server_version_num')::bigint AS number, \
                 current_setting('server_version') AS version, \
                 current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS synchronous_commit, \
                 current_setting('full_page_writes') AS full_page_writes";
    let found = sqlx::query(query).fetch_one(connection).await.map_err(fault)?;
    let text = |column| found.try_get::<String, _>(column).map_err(fault);
    if found.try_get::<i64, _>("number").map_err(fault)? < OLDEST_VERSION {
        return Err(OpenError::UnsupportedServer {
            found: text("version")?,
        });
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
        // This is safe on file systems that write pages atomically.
        tracing::warn!(
            "PostgreSQL runs with full_page_writes = off: make sure that the file system can't write half a page"
        );
    }
    Ok(())
}
