use std::net::{Ipv4Addr, SocketAddr};

use sqlx::{Connection, PgConnection};

use super::{
    execute, missing,
    programs::Programs,
    server::{Origin, Server},
};

/// A server for one test, which can be reconfigured, stopped and followed by a standby. Dropping this value stops it.
#[derive(Debug)]
pub struct Node {
    server: Server,
    programs: Programs,
}

impl Node {
    /// Starts a server. If there are no programs for it, prints that the test did not run and returns nothing.
    ///
    /// # Panics
    /// If PostgreSQL is there and does not start, or is not there and required.
    #[must_use]
    pub fn start() -> Option<Self> {
        let Some(programs) = Programs::find_with_backup() else {
            missing("found no initdb, postgres and pg_basebackup on this machine");
            return None;
        };
        let server =
            Server::start(&programs, Origin::New).unwrap_or_else(|error| panic!("can't start PostgreSQL: {error}"));
        Some(Self { server, programs })
    }

    /// Starts a hot standby that follows this server by streaming.
    ///
    /// # Panics
    /// If the standby does not start.
    #[must_use]
    pub fn standby(&self) -> Self {
        self.standby_through(self.address())
    }

    /// Starts a hot standby that follows this server through a proxy on this machine.
    ///
    /// # Panics
    /// If the standby does not start.
    #[must_use]
    pub fn standby_through(&self, proxy: SocketAddr) -> Self {
        let server = Server::start(&self.programs, Origin::StandbyOf(proxy.port()));
        let server = server.unwrap_or_else(|error| panic!("can't start a standby: {error}"));
        Self {
            server,
            programs: self.programs.clone(),
        }
    }

    /// Returns the address that the server listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.server.port()).into()
    }

    /// Returns the URL of the server's database, as `--database-url` takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address())
    }

    /// Runs statements on the server.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn execute(&self, statements: &str) {
        execute(&self.url(), statements).unwrap_or_else(|error| panic!("{statements}: {error}"));
    }

    /// Returns the integer that a query returns, or nothing if the query fails.
    pub async fn number(&self, query: &'static str) -> Option<i64> {
        let mut connection = PgConnection::connect(&self.url()).await.ok()?;
        let number = sqlx::query_scalar(query).fetch_one(&mut connection).await.ok();
        connection.close().await.ok()?;
        number
    }

    /// Sets a setting of the server, or resets it to its default.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn set(&self, setting: &str, value: Option<&str>) {
        // A server that accepts no writes accepts this.
        self.execute(&match value {
            Some(value) => format!("ALTER SYSTEM SET {setting} = '{value}'"),
            None => format!("ALTER SYSTEM RESET {setting}"),
        });
        self.execute("SELECT pg_reload_conf()");
    }

    /// Stops the server immediately, as a crash does, and waits until it has ended.
    ///
    /// # Panics
    /// If the server does not run.
    pub fn crash(&self) {
        self.server.crash();
    }

    /// Starts the server again after a [`crash`](Self::crash). Returns at once, before the server accepts clients.
    ///
    /// # Panics
    /// If the server has not crashed.
    pub fn start_again(&self) {
        self.server.start_again();
    }

    /// Stops the server immediately and removes it.
    pub fn stop(mut self) {
        self.server.stop();
    }
}
