//! PostgreSQL for tests: one server for a test binary, a fresh database for each test.
//!
//! The server is that of `TOKEND_TEST_POSTGRES_URL` or, without it, one that is started here from the programs on this machine.
//! Where there is neither, the tests that need one say so and pass, unless `TOKEND_REQUIRE_POSTGRES=1` makes that a failure.

mod node;
mod pooler;
mod programs;
mod server;

pub use node::Node;
pub use pooler::Pooler;

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

/// Names a server to use instead of one started here; its user must be allowed to create databases.
const SERVER_URL: &str = "TOKEND_TEST_POSTGRES_URL";
/// `1` makes it a failure that there is no PostgreSQL.
const REQUIRED: &str = "TOKEND_REQUIRE_POSTGRES";

/// An empty database. Dropping this value drops the database, whoever is still connected to it.
#[derive(Debug)]
pub struct Database {
    url: String,
    name: String,
}

/// A fresh database for the test that asks, or nothing where there is no PostgreSQL: then the test has nothing to do but to end.
///
/// Starts the server if this is the first test that asks. Blocks for a moment, inside a runtime or outside of one.
///
/// # Panics
/// If PostgreSQL is there and does not work, or is not there and required.
#[must_use]
pub fn database() -> Option<Database> {
    let Some(server) = server_url() else {
        did_not_run(&format!("found neither initdb and postgres on this machine nor {SERVER_URL}"));
        return None;
    };
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let name = format!("tokend_test_{}_{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        match execute(server, &format!("CREATE DATABASE {name} TEMPLATE template0")) {
            Ok(()) => return Some(Database { url: with_database(server, &name), name }),
            // On a shared server, the name of a run that was cut short.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P04") => {}
            // Two tests of different processes met in the catalogue of databases.
            Err(sqlx::Error::Database(error)) if error.kind() == ErrorKind::UniqueViolation => {}
            Err(error) => panic!("can't create a database: {error}"),
        }
    }
}

impl Database {
    /// Its URL, as `--database-url` takes it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Takes it away from its clients, as an outage does: who is connected is cut off, and nobody gets in.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn cut_off(&self) {
        let name = &self.name;
        let cut = format!(
            "ALTER DATABASE {name} ALLOW_CONNECTIONS false;
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        );
        execute(server_url().expect("it is there"), &cut).expect("it can be cut off");
    }

    /// Ends the outage.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn restore(&self) {
        let restore = format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", self.name);
        execute(server_url().expect("it is there"), &restore).expect("it can be restored");
    }

    /// Another database with what is in this one. Nobody may be connected to it.
    pub(crate) fn copy(&self) -> Self {
        static COPIES: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}_copy_{}", self.name, COPIES.fetch_add(1, Ordering::Relaxed));
        let copy = Self { url: with_database(&self.url, &name), name };
        copy.become_copy_of(self);
        copy
    }

    /// Puts a copy of `other` in place of this one. Nobody may be connected to either.
    pub(crate) fn become_copy_of(&self, other: &Self) {
        let server = server_url().expect("it is there");
        execute(server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)).expect("it can be dropped");
        let create = format!("CREATE DATABASE {} TEMPLATE {}", self.name, other.name);
        // A connection that was just closed may still be on its way out.
        for _ in 0..100 {
            match execute(server, &create) {
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55006") => {
                    thread::sleep(Duration::from_millis(50));
                }
                done => return done.expect("it can be copied"),
            }
        }
        panic!("somebody is connected to {}", other.name);
    }

    /// Everything in it: each row of each table as text, bytes in hexadecimal.
    ///
    /// # Panics
    /// If it can't be read.
    pub async fn dump(&self) -> String {
        let mut connection = PgConnection::connect(&self.url).await.expect("it can be reached");
        let tables = "SELECT format('SELECT t::text FROM %I.%I t', schemaname, tablename) FROM pg_tables
             WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
        let selects: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await.expect("tables are listed");
        let mut dump = String::new();
        for select in selects {
            let rows: Vec<String> =
                sqlx::query_scalar(AssertSqlSafe(select)).fetch_all(&mut connection).await.expect("rows are read");
            dump.extend(rows.iter().flat_map(|row| [row.as_str(), "\n"]));
        }
        connection.close().await.expect("it is closed");
        dump
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let dropped = server_url().map(|server| execute(server, &format!("DROP DATABASE {} WITH (FORCE)", self.name)));
        if let Some(Err(error)) = dropped {
            // A panic here would end the process while another one unwinds.
            let _ = writeln!(io::stderr(), "can't drop the database {}: {error}", self.name);
        }
    }
}

/// Says that the running test did not run, and why.
///
/// # Panics
/// If PostgreSQL is required.
fn did_not_run(why: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let missing = format!("DID NOT RUN: {test}: {why}");
    assert!(env::var(REQUIRED).is_ok_and(|required| required == "1").eq(&false), "{missing}, and {REQUIRED} is set");
    // Not eprintln!, which a passing test keeps to itself.
    writeln!(io::stderr(), "{missing}").expect("stderr can be written to");
}

/// The server, as a URL of one of its databases.
fn server_url() -> Option<&'static str> {
    static STARTED: OnceLock<Result<Option<String>, String>> = OnceLock::new();
    let started = STARTED.get_or_init(|| match env::var(SERVER_URL) {
        Ok(url) if !url.is_empty() => Ok(Some(url)),
        _ => Programs::find().map(|programs| Server::start(&programs, Origin::New).map(Server::into_url)).transpose(),
    });
    match started {
        Ok(url) => url.as_deref(),
        Err(error) => panic!("can't start PostgreSQL: {error}"),
    }
}

/// `url` with another database.
fn with_database(url: &str, name: &str) -> String {
    let (base, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    let authority = base.find("://").map_or(0, |scheme| scheme + 3);
    let end = base[authority..].find('/').map_or(base.len(), |slash| authority + slash);
    format!("{}/{name}{query}", &base[..end])
}

/// Runs one statement on a connection of its own. In a thread of its own, since the test that asks may be a runtime's.
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
    thread::scope(|scope| scope.spawn(run).join().expect("it does not panic"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_of_a_url_is_replaced() {
        for (url, expected) in [
            ("postgres://u:p@h:1/db?sslmode=disable", "postgres://u:p@h:1/new?sslmode=disable"),
            ("postgres://h/db", "postgres://h/new"),
            ("postgres://h", "postgres://h/new"),
            ("postgres://h?host=/run/pg", "postgres://h/new?host=/run/pg"),
        ] {
            assert_eq!(with_database(url, "new"), expected);
        }
    }

    #[test]
    fn every_database_is_empty_and_gone_afterwards() {
        let (Some(one), Some(other)) = (database(), database()) else { return };
        execute(one.url(), "CREATE TABLE mine (id int)").expect("it is there");
        execute(other.url(), "CREATE TABLE mine (id int)").expect("the other one does not have it");
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
    async fn a_test_with_a_runtime_may_ask() {
        let _database = database();
    }
}
