//! Servers of one installation.

use std::{path::PathBuf, process::Command, time::Duration};

use tempfile::TempDir;
use tokend_client::{CallerKey, Client, Retry, v1};
use tokend_core::lease::Terms;
use tokend_test_support::postgres;

use super::{
    Bench,
    calls::WORKSPACE,
    endpoint::Endpoint,
    process::{self, ServerProcess},
};
use crate::BoxError;

/// Settings of all servers: changes may take long, because the machine may be busy and the lease long. No figure
/// depends on it.
const PATIENT: &str = "[limits]\nadmin_deadline_ms = 60000\nrevocation_deadline_ms = 60000\n";

/// More patience, for short runs, which measure nothing.
const MORE_PATIENT: &str = "verify_deadline_ms = 10000\npool_wait_ms = 5000\nwrite_wait_ms = 10000\n\
                            lock_timeout_ms = 10000\nstatement_timeout_ms = 10000\n";

/// How long a question may take: longer than the server's own deadline.
const DEADLINE: Duration = Duration::from_secs(10);

/// Servers on one database, which have default settings but for deadlines. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Cluster {
    servers: Vec<ServerProcess>,
    admins: [CallerKey; 2],
    installation: Installation,
}

#[derive(Debug)]
struct Installation {
    program: PathBuf,
    /// `None` for SQLite.
    url: Option<String>,
    directory: TempDir,
    /// The database at the URL, if it is to be dropped at the end.
    _database: Option<postgres::Database>,
}

impl Cluster {
    /// Returns the lease to measure with: the default one, unless there is little time.
    pub(super) fn lease(short: bool) -> Duration {
        if short {
            Duration::from_millis(200)
        } else {
            Terms::DEFAULT
        }
    }

    /// Starts servers on a new database of PostgreSQL. Returns nothing if there is no PostgreSQL.
    pub(super) async fn on_postgres(bench: &Bench, lease: Duration, servers: usize) -> Result<Option<Self>, BoxError> {
        let Some(database) = postgres::database() else {
            return Ok(None);
        };
        let url = database.url().to_owned();
        let installation = Installation::new(bench, Some(url), Some(database))?;
        Self::start(installation, lease, servers).await.map(Some)
    }

    /// Starts servers on the empty database at `url`.
    pub(super) async fn on(bench: &Bench, url: String, lease: Duration, servers: usize) -> Result<Self, BoxError> {
        let installation = Installation::new(bench, Some(url), None)?;
        Self::start(installation, lease, servers).await
    }

    /// Starts a server on SQLite.
    pub(super) async fn on_sqlite(bench: &Bench, lease: Duration) -> Result<Self, BoxError> {
        let installation = Installation::new(bench, None, None)?;
        Self::start(installation, lease, 1).await
    }

    async fn start(installation: Installation, lease: Duration, count: usize) -> Result<Self, BoxError> {
        let mut init = installation.command(&["init"])?;
        init.arg("--lease").arg(format!("{}ms", lease.as_millis()));
        let admin = CallerKey::new(process::run(init)?.trim())?;
        let mut servers = Vec::with_capacity(count);
        for number in 0..count {
            let mut serve = installation.command(&["serve", "--log", "error"])?;
            serve.args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]);
            let name = format!("server-{number}");
            servers.push(ServerProcess::start(serve, installation.directory.path(), &name).await?);
        }
        let first = servers.first().ok_or("a cluster has a server")?;
        let client = Client::connect(first.address(), &admin).await?;
        let request = v1::CreateWorkspaceRequest {
            workspace_id: WORKSPACE.trim_start_matches("workspaces/").to_owned(),
            display_name: "acme".to_owned(),
            organization: String::new(),
        };
        client.workspace_admin().create_workspace(request).await?;
        let second = create_admin(&client).await?;
        Ok(Self {
            servers,
            admins: [admin, second],
            installation,
        })
    }

    pub(super) fn servers(&self) -> &[ServerProcess] {
        &self.servers
    }

    /// Connects to a server as one of two ADMINs, with a new connection. It repeats calls as clients do.
    pub(super) async fn client(&self, server: usize, admin: usize) -> Result<Client, BoxError> {
        Ok(Client::connect(self.servers[server].address(), &self.admins[admin]).await?)
    }

    /// Connects to a server, and never repeats a call.
    pub(super) async fn endpoint(&self, server: usize) -> Result<Endpoint, BoxError> {
        Ok(Endpoint::server(server, self.plain_client(server).await?))
    }

    /// Starts a guard that watches a server.
    pub(super) async fn guard(&self, server: usize) -> Result<Endpoint, BoxError> {
        Endpoint::guard(server, &self.plain_client(server).await?).await
    }

    /// Returns an endpoint for each server, and a guard for each of the first `guards`.
    pub(super) async fn endpoints(&self, guards: usize) -> Result<Vec<Endpoint>, BoxError> {
        let mut endpoints = Vec::new();
        for server in 0..self.servers.len() {
            endpoints.push(self.endpoint(server).await?);
        }
        for server in 0..guards {
            endpoints.push(self.guard(server).await?);
        }
        Ok(endpoints)
    }

    /// Runs `tokend lease set`. The servers go on.
    pub(super) async fn set_lease(&self, lease: Duration) -> Result<(), BoxError> {
        let lease = format!("{}ms", lease.as_millis());
        let command = self.installation.command(&["lease", "set", &lease])?;
        // It waits for the former leases, while guards go on.
        tokio::task::spawn_blocking(|| process::run(command)).await??;
        Ok(())
    }

    async fn plain_client(&self, server: usize) -> Result<Client, BoxError> {
        let builder = Client::builder(self.servers[server].address()).key(&self.admins[0]);
        Ok(builder.retry(Retry::never()).deadline(DEADLINE).connect().await?)
    }
}

impl Installation {
    fn new(bench: &Bench, url: Option<String>, database: Option<postgres::Database>) -> Result<Self, BoxError> {
        let directory = tempfile::Builder::new().prefix("tokend-promise-").tempdir()?;
        let settings = if bench.short {
            [PATIENT, MORE_PATIENT].concat()
        } else {
            PATIENT.to_owned()
        };
        std::fs::write(directory.path().join("patient.toml"), settings)?;
        Ok(Self {
            program: bench.program.clone(),
            url,
            directory,
            _database: database,
        })
    }

    /// Returns a command of the program on the data.
    fn command(&self, arguments: &[&str]) -> Result<Command, BoxError> {
        let mut command = Command::new(self.program.canonicalize()?);
        let path = self.directory.path();
        command.args(arguments).arg("--data-dir").arg(path.join("data"));
        command.arg("--config").arg(path.join("patient.toml"));
        if let Some(url) = &self.url {
            command.args(["--database-url", url]);
        }
        Ok(command)
    }
}

/// Creates another ADMIN, because one caller may not take all of the room for revocations.
async fn create_admin(client: &Client) -> Result<CallerKey, BoxError> {
    let request = v1::CreateCallerRequest {
        caller_id: "second".to_owned(),
        role: v1::Role::Admin.into(),
        workspaces: Some(v1::Selection {
            all: true,
            only: Vec::new(),
        }),
        ..Default::default()
    };
    client.caller_admin().create_caller(request).await?;
    let request = v1::CreateCallerKeyRequest {
        parent: "callers/second".to_owned(),
        ttl: None,
    };
    let created = client.caller_admin().create_caller_key(request).await?;
    Ok(CallerKey::new(&created.into_inner().secret)?)
}
