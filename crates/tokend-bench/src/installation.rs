//! An installation for one benchmark, served in this process.

use std::{path::Path, sync::Arc};

use tempfile::TempDir;
use tokend_client::{CallerKey, Client};
use tokend_core::{
    credential::{Prefix, Secret},
    keyring::RootKeys,
    lease::Terms,
    time::Clock,
};
use tokend_server::{
    limits::Limits,
    operator::{
        installation::{Installed, install},
        keyring_file,
    },
    random,
    server::{Server, ServerSettings, StartError},
    transport::{Report, TransportSettings},
};
use tokend_store::Store;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::BoxError;

/// A database with the schema, a key ring, and the key of an ADMIN.
pub struct Installation {
    settings: tokend_store::StoreSettings,
    roots: Arc<RootKeys>,
    key: Secret,
    clock: Clock,
    /// The directory of the key ring and of the SQLite database.
    directory: TempDir,
}

/// A server with default settings that runs in this process.
pub struct RunningServer {
    endpoint: Endpoint,
    stop: CancellationToken,
    ended: JoinHandle<Result<Report, StartError>>,
}

/// The address of a server, and the key of an ADMIN.
#[derive(Clone)]
pub struct Endpoint {
    address: String,
    key: CallerKey,
}

impl Installation {
    /// Creates an installation in the empty database at `url`, or in SQLite in a temporary directory.
    ///
    /// # Errors
    /// The installation can't be created.
    pub async fn new(url: Option<String>) -> Result<Self, BoxError> {
        let directory = tempfile::tempdir()?;
        let url = url.unwrap_or_else(|| format!("sqlite://{}", directory.path().join("tokend.db").display()));
        let settings = tokend_store::StoreSettings::new(url);
        let (clock, roots) = (Clock::system(), Arc::new(random::generate_roots(Prefix::default())?));
        keyring_file::create(&directory.path().join("keyring"), &roots)?;
        let Installed { key, key_name: _ } =
            install(&settings, Arc::clone(&roots), Terms::default(), clock.clone()).await?;
        Ok(Self {
            settings,
            roots,
            key,
            clock,
            directory,
        })
    }

    /// Returns the data directory, with the key ring's file.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Opens the database. No server may use it at the same time.
    ///
    /// # Errors
    /// The database can't be opened.
    pub async fn open(&self) -> Result<Store, BoxError> {
        Ok(Store::open(&self.settings, Arc::clone(&self.roots), self.clock.clone()).await?)
    }

    /// Starts a server on a free loopback port.
    ///
    /// # Errors
    /// The server can't start.
    pub async fn serve(&self) -> Result<RunningServer, BoxError> {
        let settings = ServerSettings {
            listen: "127.0.0.1:0".parse()?,
            ops_listen: None,
            tls: None,
            reflection: false,
            transport: TransportSettings::default(),
            limits: Limits::default(),
            store: self.settings.clone(),
            audit: tokend_server::background::audit_checkpoints::AuditSettings::default(),
            token_retention: tokend_server::background::retention::DEFAULT,
            keyring: None,
            revocations_file: None,
            webhook: None,
            is_new_database: false,
        };
        let server = Server::bind(settings, Arc::clone(&self.roots), self.clock.clone()).await?;
        let (address, stop) = (server.address().to_string(), CancellationToken::new());
        let ended = tokio::spawn(server.run(stop.clone()));
        Ok(RunningServer {
            endpoint: Endpoint {
                address,
                key: CallerKey::new(self.key.expose())?,
            },
            stop,
            ended,
        })
    }
}

impl RunningServer {
    /// Returns the endpoint of the server.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Stops the server, which waits until its clients have disconnected.
    ///
    /// # Errors
    /// The server failed.
    pub async fn stop(self) -> Result<(), BoxError> {
        self.stop.cancel();
        self.ended.await??;
        Ok(())
    }
}

impl Endpoint {
    /// Connects as the ADMIN, with a new connection on the current runtime.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn connect(&self) -> Result<Client, BoxError> {
        Ok(Client::connect(&self.address, &self.key).await?)
    }
}
