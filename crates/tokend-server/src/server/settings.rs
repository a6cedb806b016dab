use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use tokend_core::scope::CatalogError;
use tokend_store::OpenError;

use crate::{
    background::{
        audit_checkpoints::{AuditSettings, CheckpointFileError},
        revocations_file::RevocationsFileError,
        webhook::{WebhookError, WebhookSettings},
    },
    limits::{Limits, WaitTooLong},
    tls::{TlsError, TlsFiles},
    transport::{OutOfRange, TransportError, TransportSettings},
};

/// Where and how a server serves.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The address of the gRPC port.
    pub listen: SocketAddr,
    /// The address of the ops port, which serves health and metrics over plain HTTP. Default: no such port.
    pub ops_listen: Option<SocketAddr>,
    /// The files for TLS on the gRPC port, which the server re-reads every second. Plaintext if absent.
    pub tls: Option<TlsFiles>,
    /// Whether the server serves gRPC reflection.
    pub reflection: bool,
    /// The limits of connections.
    pub transport: TransportSettings,
    /// The limits of callers.
    pub limits: Limits,
    /// The database.
    pub store: tokend_store::StoreSettings,
    /// How the audit log is kept.
    pub audit: AuditSettings,
    /// How long tokens are kept after they have ended (above 0).
    pub token_retention: Duration,
    /// The key ring's file, which the server re-reads when the database has a key that the file did not have. Never
    /// re-read if absent.
    pub keyring: Option<PathBuf>,
    /// A file outside the database to which every revocation is appended.
    pub revocations_file: Option<PathBuf>,
    /// Whether the database was created for this server, so that no client can have a lease from before. A SQLite server
    /// waits for such leases after its start.
    pub is_new_database: bool,
    /// The receiver of messages about tokens and caller keys.
    pub webhook: Option<WebhookSettings>,
}

impl ServerSettings {
    /// Checks that every limit is in its range.
    pub(super) fn check(&self) -> Result<(), OutOfRange> {
        self.transport.check()?;
        self.limits.check()
    }
}

/// Why the server does not start. Each is one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database can't be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The scope catalogue can't be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A limit is out of its range.
    #[error(transparent)]
    Limits(#[from] OutOfRange),
    /// Revocations wait longer than calls may take.
    #[error(transparent)]
    Lease(#[from] WaitTooLong),
    /// The server can't listen on an address.
    #[error("can't listen on {address}: {source}; is another process using it?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// TLS can't be served.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The checkpoint file of the audit log can't be appended to.
    #[error(transparent)]
    CheckpointFile(#[from] CheckpointFileError),
    /// Reflection can't be set up.
    #[error("can't set up reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The revocations file can't be used.
    #[error(transparent)]
    RevocationsFile(#[from] RevocationsFileError),
    /// The webhook can't be used.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// The transport does not start.
    #[error(transparent)]
    Transport(#[from] TransportError),
}
