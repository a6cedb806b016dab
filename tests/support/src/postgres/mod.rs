//! PostgreSQL for tests: one server for a test binary, a fresh database for each test.
//!
//! The server is the one that `TOKEND_TEST_POSTGRES_URL` names or, without it, one that this module starts from the
//! programs on this machine. If there is neither, the tests that need a server print that and pass, or fail if
//! `TOKEND_REQUIRE_POSTGRES=1` is set.

mod node;
mod patroni;
mod pooler;
mod programs;
mod server;

pub use node::Node;
pub use patroni::Patroni;
pub use pooler::{Pooler, Release};

use std::{
    env,
    io::{self, Write},
    process,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection, PgConnection, error::ErrorKind, postgres::PgConnectOptions};

use self::{
    programs::Programs,
    server::{Origin, Server},
};
use crate::did_not_run;

/// The variable that names a server to use instead of one started here. Its user must be allowed to create databases.
pub const SERVER_URL: &str = "TOKEND_TEST_POSTGRES_URL";
/// `1` makes tests fail if there is no PostgreSQL.
const REQUIRED: &str = "TOKEND_REQUIRE_POSTGRES";

/// An empty database. Dropping this value drops the database, even if clients are connected to it.
#[derive(Debug)]
pub struct Database {
    url: String,
    name: String,
}

/// Creates a database for a test. Returns nothing if there is no PostgreSQL; the test then returns.
///
/// The first call starts the server. The call blocks for a moment, and works inside and outside of a runtime.
///
/// # Panics
/// If PostgreSQL is there and does not work, or is not there and required.
#[must_use]
pub fn database() -> Option<Database> {
    let Some(server) = server_url() else {
        missing(&format!(
            "found neither initdb and postgres on this machine nor {SERVER_URL}"
        ));
        return None;
    };
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let name = format!(
            "tokend_test_{}_{}",
            process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        match execute(server, &format!("CREATE DATABASE {name} TEMPLATE template0")) {
            Ok(()) => {
                return Some(Database {
                    url: with_database(server, &name),
                    name,
                });
            }
            // On a shared server, an interrupted run may have left this name.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P04") => {}
            // Tests of different processes changed the catalogue of databases concurrently.
            Err(sqlx::Error::Database(error)) if error.kind() == ErrorKind::UniqueViolation => {}
            Err(error) => panic!("can't create a database: {error}"),
        }
    }
}

impl Database {
    /// Returns the URL, as `--database-url` takes it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Disconnects all clients and refuses new ones, as in an outage.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn cut_off(&self) {
        let name = &self.name;
        let cut = format!(
            "ALTER DATABASE {name} ALLOW_CONNECTIONS false;
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        );
        execute(server_url().expect("the server runs"), &cut).expect("the database rejects clients");
    }

    /// Ends the outage.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn restore(&self) {
        let restore = format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", self.name);
        execute(server_url().expect("the server runs"), &restore).expect("the database accepts clients");
    }

    /// Creates a copy of this database. No client may be connected to it.
    ///
    /// # Panics
    /// If the server refuses.
    #[must_use]
    pub fn copy(&self) -> Self {
        static COPIES: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}_copy_{}", self.name, COPIES.fetch_add(1, Ordering::Relaxed));
        let copy = Self {
            url: with_database(&self.url, &name),
            name,
        };
        copy.become_copy_of(self);
        copy
    }

    /// Replaces this database with a copy of `other`. No client may be connected to either.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn become_copy_of(&self, other: &Self) {
        let server = server_url().expect("the server runs");
        execute(server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name))
            .expect("the database is dropped");
        let create = format!("CREATE DATABASE {} TEMPLATE {}", self.name, other.name);
        // The server may not have noticed yet that a connection was closed.
        for _ in 0..100 {
            match execute(server, &create) {
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55006") => {
                    thread::sleep(Duration::from_millis(50));
                }
                done => return done.expect("the database is copied"),
            }
        }
        panic!("a client is connected to {}", other.name);
    }

    /// Returns the whole content: each row of each table as text, bytes in hexadecimal.
    ///
    /// # Panics
    /// If the database can't be read.
    pub async fn dump(&self) -> String {
        let mut connection = PgConnection::connect(&self.url).await.expect("the server is reachable");
        let tables = "SELECT format('SELECT t::text FROM %I.%I t', schemaname, tablename) FROM pg_tables
             WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
        let selects: Vec<String> = sqlx::query_scalar(tables)
            .fetch_all(&mut connection)
            .await
            .expect("the tables are listed");
        let mut dump = String::new();
        for select in selects {
            let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(select))
                .fetch_all(&mut connection)
                .await
                .expect("the rows are read");
            dump.extend(rows.iter().flat_map(|row| [row.as_str(), "\n"]));
        }
        connection.close().await.expect("the connection closes");
        dump
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let dropped = server_url().map(|server| execute(server, &format!("DROP DATABASE {} WITH (FORCE)", self.name)));
        if let Some(Err(error)) = dropped {
            // A second panic during unwinding would abort the process.
            let _ = writeln!(io::stderr(), "can't drop the database {}: {error}", self.name);
        }
    }
}

/// Prints that the running test did not run, and why.
///
/// # Panics
/// If PostgreSQL is required.
fn missing(why: &str) {
    let is_required = env::var(REQUIRED).is_ok_and(|required| required == "1");
    assert!(!is_required, "{why}, and {REQUIRED} is set");
    did_not_run(why);
}

/// Returns the URL of a database on the server, which is started by the first call. Returns nothing if there is no
/// PostgreSQL.
///
/// # Panics
/// If PostgreSQL is there and does not start.
#[must_use]
pub fn server_url() -> Option<&'static str> {
    static STARTED: OnceLock<Result<Option<String>, String>> = OnceLock::new();
    let started = STARTED.get_or_init(|| match env::var(SERVER_URL) {
        Ok(url) if !url.is_empty() => Ok(Some(url)),
        _ => Programs::find()
            .map(|programs| Server::start(&programs, Origin::New).map(Server::into_url))
            .transpose(),
    });
    match started {
        Ok(url) => url.as_deref(),
        Err(error) => panic!("can't start PostgreSQL: {error}"),
    }
}

/// Returns `url` with another database.
fn with_database(url: &str, name: &str) -> String {
    let (base, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    let authority = base.find("://").map_or(0, |scheme| scheme + 3);
    let end = base[authority..]
        .find('/')
        .map_or(base.len(), |slash| authority + slash);
    format!("{}/{name}{query}", &base[..end])
}

/// Runs one statement on a new connection in a new thread, because the caller may be in a runtime.
fn execute(url: &str, statement: &str) -> Result<(), sqlx::Error> {
    let options: PgConnectOptions = url.parse()?;
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut connection = PgConnection::connect_with(&options).await?;
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
            connection.close().await
        })
    };
    thread::scope(|scope| scope.spawn(run).join().expect("the thread does not panic"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_of_a_url_is_replaced() {
        for (url, expected) in [
            (
                "postgres://u:p@h:1/db?sslmode=disable",
                "postgres://u:p@h:1/new?sslmode=disable",
            ),
            ("postgres://h/db", "postgres://h/new"),
            ("postgres://h", "postgres://h/new"),
            ("postgres://h?host=/run/pg", "postgres://h/new?host=/run/pg"),
        ] {
            assert_eq!(with_database(url, "new"), expected);
        }
    }

    #[test]
    fn every_database_is_empty_and_gone_afterwards() {
        let (Some(one), Some(other)) = (database(), database()) else {
            return;
        };
        execute(one.url(), "CREATE TABLE mine (id int)").expect("the table is created");
        execute(other.url(), "CREATE TABLE mine (id int)").expect("the other database does not have the table");
        let url = one.url().to_owned();
        drop(one);
        assert!(execute(&url, "SELECT 1").is_err());
    }

    #[test]
    fn commits_are_as_durable_as_in_production() {
        let Some(database) = database() else { return };
        for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
            let statement = format!("DO $$ BEGIN ASSERT current_setting('{setting}') = 'on'; END $$");
            execute(database.url(), &statement).unwrap_or_else(|error| panic!("{setting}: {error}"));
        }
    }

    #[tokio::test]
    async fn a_node_that_crashes_starts_again_with_what_was_committed() {
        let Some(node) = Node::start() else { return };
        node.execute("CREATE TABLE mine AS SELECT 7 AS id");
        for _ in 0..2 {
            node.crash();
            assert_eq!(node.number("SELECT 1").await, None, "it is down");
            thread::sleep(Duration::from_millis(100));
            assert_eq!(node.number("SELECT 1").await, None, "it stays down");
            node.start_again();
            let id = crate::eventually("it is up", async || node.number("SELECT id::bigint FROM mine").await).await;
            assert_eq!(id, 7);
        }
        node.crash();
        node.stop();
    }

    #[tokio::test]
    async fn a_test_with_a_runtime_may_ask() {
        let _database = database();
    }
}
