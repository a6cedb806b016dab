//! The ready file: its existence says that a server is serving, and its content where.

use std::{io, net::SocketAddr, path::Path};

use serde::Serialize;
use tokend_server::private_file;
use zeroize::Zeroizing;

use crate::command_error::CommandError;

/// The content of the file, as JSON.
#[derive(Debug, Default, Serialize)]
pub(super) struct Ready<'a> {
    /// Where gRPC is served, `host:port`.
    pub(super) grpc_address: Option<SocketAddr>,
    /// Where health and metrics are served.
    pub(super) ops_address: Option<SocketAddr>,
    /// Where the HTTP APIs are served. They are not implemented yet.
    pub(super) http_address: Option<SocketAddr>,
    /// `dev` only: the key of an ADMIN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) admin_key: Option<&'a str>,
    /// `dev` only: the key of a VERIFIER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verifier_key: Option<&'a str>,
    /// `dev` only: the workspace's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workspace: Option<&'a str>,
}

impl Ready<'_> {
    /// Writes the file atomically. Only its owner can read it, since it may contain keys.
    pub(super) fn write(&self, path: &Path) -> Result<(), CommandError> {
        let written = serde_json::to_string(self)
            .map_err(io::Error::other)
            .map(Zeroizing::new)
            .and_then(|mut text| {
                text.push('\n');
                private_file::put(path, &text)
            });
        written.map_err(|error| CommandError::Other(format!("can't write {}: {error}", path.display())))
    }
}
