use std::net::{Ipv4Addr, SocketAddr};

use sqlx::{Connection, PgConnection};

use super::{
    did_not_run, execute,
    programs::Programs,
    server::{Origin, Server},
};

/// A server of one test's own, which the test may reconfigure, stop and have followed by a standby. It ends when this is dropped.
#[derive(Debug)]
pub struct Node {
    server: Server,
    programs: Programs,
}

impl Node {
    /// A new server. Returns nothing, and says that the test did not run, where there are no programs for it.
    ///
    /// # Panics
    /// If PostgreSQL is there and does not start, or is not there and required.
    #[must_use]
    pub fn start() -> Option<Self> {
        let Some(programs) = Programs::find_with_backup() else {
            did_not_run("found no initdb, postgres and pg_basebackup on this machine");
            return None;
        };
        let server = Server::start(&programs, Origin::New).unwrap_or_else(|error| panic!("can't start PostgreSQL: {error}"));
        Some(Self { server, programs })
    }

    /// A hot standby that follows this server by streaming.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn standby(&self) -> Self {
        let server = Server::start(&self.programs, Origin::StandbyOf(self.server.port()));
        let server = server.unwrap_or_else(|error| panic!("can't start a standby: {error}"));
        Self { server, programs: self.programs.clone() }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.server.port()).into()
    }

    /// The URL of its database, as `--database-url` takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address())
    }

    /// Runs statements on it.
    ///
    /// # Panics
    /// If it refuses.
    pub fn execute(&self, statements: &str) {
        execute(&self.url(), statements).unwrap_or_else(|error| panic!("{statements}: {error}"));
    }

    /// The whole number that a query returns, if it can be run.
    pub async fn number(&self, query: &'static str) -> Option<i64> {
        let mut connection = PgConnection::connect(&self.url()).await.ok()?;
        let number = sqlx::query_scalar(query).fetch_one(&mut connection).await.ok();
        connection.close().await.ok()?;
        number
    }

    /// Gives a setting of the server a value, or its default again.
    ///
    /// # Panics
    /// If it refuses.
    pub fn set(&self, setting: &str, value: Option<&str>) {
        // One that accepts no writes accepts this.
        self.execute(&match value {
            Some(value) => format!("ALTER SYSTEM SET {setting} = '{value}'"),
            None => format!("ALTER SYSTEM RESET {setting}"),
        });
        self.execute("SELECT pg_reload_conf()");
    }

    /// Stops it for good, as a crash does.
    pub fn stop(mut self) {
        self.server.stop();
    }
}
