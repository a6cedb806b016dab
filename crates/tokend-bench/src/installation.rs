//! An installation of its own for a measurement, served in this process.

use std::sync::Arc;

use tempfile::TempDir;
use tokend_client::{CallerKey, Client};
use tokend_core::{
    clock::Clock,
    credential::{Prefix, Secret},
    keyring::RootKeys,
};
use tokend_server::{
    installation::{Installed, install},
    limits::Limits,
    random,
    server::{Server, Settings, StartError},
    transport::{self, Report},
};
use tokend_store::Store;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Failure;

/// A database with tokend's schema, a key ring, and the key of an ADMIN.
pub struct Installation {
    settings: tokend_store::Settings,
    roots: Arc<RootKeys>,
    key: Secret,
    clock: Clock,
    /// Of SQLite.
    _directory: TempDir,
}

/// A server that runs in this process, as by default, until it is told to stop.
pub struct Serving {
    door: Door,
    stop: CancellationToken,
    ended: JoinHandle<Result<Report, StartError>>,
}

/// Where a server is, and the ADMIN's key.
#[derive(Clone)]
pub struct Door {
    address: String,
    key: CallerKey,
}

impl Installation {
    /// A new one, in the empty database at `url`, or on SQLite in a temporary directory.
    ///
    /// # Errors
    /// It can't be made there.
    pub async fn new(url: Option<String>) -> Result<Self, Failure> {
        let directory = tempfile::tempdir()?;
        let url = url.unwrap_or_else(|| format!("sqlite://{}", directory.path().join("tokend.db").display()));
        let settings = tokend_store::Settings::new(url);
        let (clock, roots) = (Clock::system(), Arc::new(random::generate_roots(Prefix::default())?));
        let Installed { key, key_name: _ } = install(&settings, Arc::clone(&roots), clock.clone()).await?;
        Ok(Self { settings, roots, key, clock, _directory: directory })
    }

    /// What measures time.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Opens the database, which no server may use meanwhile.
    ///
    /// # Errors
    /// It can't be opened.
    pub async fn open(&self) -> Result<Store, Failure> {
        Ok(Store::open(&self.settings, Arc::clone(&self.roots), self.clock.clone()).await?)
    }

    /// Starts a server on a free port of loopback.
    ///
    /// # Errors
    /// It can't start.
    pub async fn serve(&self) -> Result<Serving, Failure> {
        let settings = Settings {
            listen: "127.0.0.1:0".parse()?,
            ops_listen: None,
            tls: None,
            reflection: false,
            transport: transport::Settings::default(),
            limits: Limits::default(),
            store: self.settings.clone(),
            audit: tokend_server::audit_keeper::Settings::default(),
            token_retention: tokend_server::retention::DEFAULT,
            keyring: None,
            revocations_file: None,
            webhook: None,
        };
        let server = Server::bind(settings, Arc::clone(&self.roots), self.clock.clone()).await?;
        let (address, stop) = (server.address()?.to_string(), CancellationToken::new());
        let ended = tokio::spawn(server.run(stop.clone()));
        Ok(Serving { door: Door { address, key: CallerKey::new(self.key.expose())? }, stop, ended })
    }
}

impl Serving {
    /// Where it is.
    #[must_use]
    pub const fn door(&self) -> &Door {
        &self.door
    }

    /// Stops it in good order. Its clients must be gone, or it waits for them.
    ///
    /// # Errors
    /// It ended otherwise.
    pub async fn stop(self) -> Result<(), Failure> {
        self.stop.cancel();
        self.ended.await??;
        Ok(())
    }
}

impl Door {
    /// Connects as the ADMIN, on a connection of its own that the current runtime drives.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&self.address, &self.key).await?)
    }
}
