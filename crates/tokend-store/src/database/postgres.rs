use std::{str::FromStr, time::Duration};

use sea_orm::{DatabaseConnection, SqlxPostgresConnector};
use sqlx::{
    ConnectOptions, Connection, PgConnection, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{Purpose, TRUSTED_FOR, connections, fault, judge, migration_fault};
use crate::{
    open_error::OpenError,
    schema::{self, Applied, Dialect, SchemaStatus},
    settings::Settings,
};

const OLDEST_VERSION: i64 = 150_000;

/// How long to wait for the first connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A database on a server.
pub(crate) struct Server {
    options: PgConnectOptions,
}

impl Server {
    pub(super) fn at(url: &str, statement_timeout: Duration) -> Result<Self, OpenError> {
        let options = PgConnectOptions::from_str(url).map_err(|error| {
            let problem = match error {
                sqlx::Error::Configuration(problem) => problem.to_string(),
                other => other.to_string(),
            };
            OpenError::BadUrl { problem }
        })?;
        let options =
            options.application_name("tokend").options([("statement_timeout", statement_timeout.as_millis().to_string())]);
        Ok(Self { options })
    }

    /// The same, with connections that can do no more than that.
    pub(super) fn opened_for(self: Box<Self>, purpose: Purpose) -> Box<Self> {
        match purpose {
            Purpose::Serve | Purpose::Initialize => self,
            Purpose::Read => Box::new(Self { options: self.options.options([("default_transaction_read_only", "on")]) }),
        }
    }

    /// Without user and password.
    pub(super) fn name(&self) -> String {
        let database = self.options.get_database().unwrap_or(self.options.get_username());
        match self.options.get_socket() {
            Some(socket) => format!("postgres://{}/{database}", socket.display()),
            None => format!("postgres://{}:{}/{database}", self.options.get_host(), self.options.get_port()),
        }
    }

    /// Finds out whether the server keeps its word and whose the schema is, and brings it up to date.
    pub(super) async fn prepare(&self, purpose: Purpose, migrate: bool, allow_unsafe: bool) -> Result<SchemaStatus, OpenError> {
        let mut connection = self.connect().await?;
        if purpose != Purpose::Read {
            check_server(&mut connection, allow_unsafe).await?;
        }
        let status = judge(self.name(), self.version(&mut connection).await?, purpose, migrate)?;
        if status.is_behind() {
            self.migrate(&mut connection).await?;
        }
        let _ = connection.close().await;
        Ok(SchemaStatus { version: status.needed, ..status })
    }

    pub(super) async fn schema_status(&self) -> Result<SchemaStatus, OpenError> {
        let mut connection = self.connect().await?;
        let version = self.version(&mut connection).await?;
        let _ = connection.close().await;
        Ok(SchemaStatus { version, needed: schema::needed() })
    }

    /// Every process of ours gives its connections one name.
    pub(super) async fn is_in_use(&self) -> Result<bool, OpenError> {
        let mut connection = self.connect().await?;
        let query = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
                     AND application_name = current_setting('application_name') AND pid <> pg_backend_pid())";
        let is_in_use = sqlx::query_scalar(query).fetch_one(&mut connection).await.map_err(fault)?;
        let _ = connection.close().await;
        Ok(is_in_use)
    }

    pub(super) fn pool(&self, settings: &Settings) -> DatabaseConnection {
        let pool = PgPoolOptions::new()
            .max_connections(connections(settings))
            .min_connections(1)
            .acquire_timeout(settings.pool_wait)
            // A trial costs a round trip: only where the connection may have died meanwhile.
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > TRUSTED_FOR {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(self.options.clone());
        SqlxPostgresConnector::from_sqlx_postgres_pool(pool)
    }

    async fn connect(&self) -> Result<PgConnection, OpenError> {
        let connected = match tokio::time::timeout(CONNECT_TIMEOUT, self.options.connect()).await {
            Ok(connected) => connected.map_err(Into::into),
            Err(_) => Err(format!("no answer within {CONNECT_TIMEOUT:?}").into()),
        };
        connected.map_err(|source| OpenError::CannotConnect { database: self.name(), source })
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
