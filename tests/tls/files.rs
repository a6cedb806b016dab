//! The TLS files of a server under test.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tokend_client::Tls;
use tokend_tests::{Installation, Process, Server, eventually};

use crate::authority::{Authority, Pair};

/// A directory with a certificate, a key and a client CA.
pub(crate) struct Files {
    directory: PathBuf,
}

impl Files {
    /// Writes a certificate and its key.
    pub(crate) fn new(installation: &Installation, pair: &Pair) -> Self {
        let directory = installation.directory().join("tls");
        fs::create_dir(&directory).expect("the directory is created");
        let files = Self { directory };
        files.put("tls.crt", &pair.certificate);
        files.put("tls.key", &pair.key);
        files
    }

    /// Writes a certificate, its key, and the authority of accepted client certificates.
    pub(crate) fn with_client_ca(installation: &Installation, pair: &Pair, clients: &Authority) -> Self {
        let files = Self::new(installation, pair);
        files.put("ca.crt", clients.pem());
        files
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory
            .join(name)
            .to_str()
            .expect("the path is UTF-8")
            .to_owned()
    }

    /// Replaces a file atomically: writes it under another name and renames it.
    pub(crate) fn put(&self, name: &str, text: &str) {
        let draft = self.directory.join("draft");
        fs::write(&draft, text).expect("the file is written");
        fs::set_permissions(&draft, Permissions::from_mode(0o600)).expect("the mode is set");
        fs::rename(&draft, self.directory.join(name)).expect("the file is renamed");
    }

    /// Returns the arguments of `serve` for TLS with these files.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "--tls-cert".to_owned(),
            self.path("tls.crt"),
            "--tls-key".to_owned(),
            self.path("tls.key"),
        ];
        if self.directory.join("ca.crt").exists() {
            arguments.extend(["--client-ca".to_owned(), self.path("ca.crt")]);
        }
        arguments
    }

    /// Runs `init` and `serve` with these files. The server's clients use `tls`.
    pub(crate) async fn serve(&self, installation: &Installation, tls: &Tls) -> Server {
        let admin_key = installation.init().await;
        installation.serve_over(tls, &admin_key, self.arguments()).await
    }

    /// Runs `serve` with these files and arguments, without a client. Returns the process and its address.
    pub(crate) async fn serve_bare(&self, installation: &Installation, arguments: &[&str]) -> (Process, String) {
        let ready = self.directory.join("ready");
        let _ = fs::remove_file(&ready);
        let mut serve = installation.command_on_data(["serve", "--ops-listen", "127.0.0.1:0"]);
        serve
            .args(self.arguments())
            .args(arguments)
            .arg("--ready-file")
            .arg(&ready);
        let process = Process::spawn(serve, "");
        let address = eventually("the ready file is written", async || {
            let ready: serde_json::Value = serde_json::from_str(&fs::read_to_string(&ready).ok()?).ok()?;
            Some(
                ready["grpc_address"]
                    .as_str()
                    .expect("the ready file has the address")
                    .to_owned(),
            )
        });
        (process, address.await)
    }
}
