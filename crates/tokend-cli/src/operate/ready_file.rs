//! The file that tells others that a server serves, and where.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use serde::Serialize;

/// What the file tells, as JSON.
#[derive(Debug, Default, Serialize)]
pub(super) struct Ready<'a> {
    /// Where gRPC is served, `host:port`.
    pub(super) grpc_address: Option<SocketAddr>,
    /// Where health and metrics are served.
    pub(super) ops_address: Option<SocketAddr>,
    /// Where the HTTP faces are served; not served yet.
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
    /// Writes the file, whole or not at all, readable by its owner alone: it may hold keys.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut draft = path.as_os_str().to_owned();
        draft.push(".new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        serde_json::to_writer(&mut file, self)?;
        file.write_all(b"\n")?;
        fs::rename(&draft, path)
    }
}
