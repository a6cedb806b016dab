//! The files that a server under test is given.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tokend_client::Tls;
use tokend_tests::{Installation, Process, Server, eventually};

use crate::authority::{Authority, Pair};

/// Certificate, key and client CA in a directory.
pub(crate) struct Files {
    directory: PathBuf,
}

impl Files {
    /// A certificate and its key.
    pub(crate) fn new(installation: &Installation, pair: &Pair) -> Self {
        let directory = installation.directory().join("tls");
        fs::create_dir(&directory).expect("a directory can be made");
        let files = Self { directory };
        files.put("tls.crt", &pair.certificate);
        files.put("tls.key", &pair.key);
        files
    }

    /// A certificate, its key, and the authority whose client certificates are accepted.
    pub(crate) fn with_client_ca(installation: &Installation, pair: &Pair, clients: &Authority) -> Self {
        let files = Self::new(installation, pair);
        files.put("ca.crt", clients.pem());
        files
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().expect("text").to_owned()
    }

    /// Writes a file the way careful programs do: whole, under another name, then renamed.
    pub(crate) fn put(&self, name: &str, text: &str) {
        let draft = self.directory.join("draft");
        fs::write(&draft, text).expect("it can be written");
        fs::set_permissions(&draft, Permissions::from_mode(0o600)).expect("its mode can be set");
        fs::rename(&draft, self.directory.join(name)).expect("it can be renamed");
    }

    /// The arguments that make `serve` serve TLS with them.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--tls-cert".to_owned(), self.path("tls.crt"), "--tls-key".to_owned(), self.path("tls.key")];
        if self.directory.join("ca.crt").exists() {
            arguments.extend(["--client-ca".to_owned(), self.path("ca.crt")]);
        }
        arguments
    }

    /// `init` and `serve` with them; its clients go by `tls`.
    pub(crate) async fn serve(&self, installation: &Installation, tls: &Tls) -> Server {
        let admin_key = installation.init().await;
        installation.serve_over(tls, &admin_key, self.arguments()).await
    }

    /// `serve` with them and these arguments, without a client: the process, and where it listens.
    pub(crate) async fn serve_bare(&self, installation: &Installation, arguments: &[&str]) -> (Process, String) {
        let ready = self.directory.join("ready");
        let _ = fs::remove_file(&ready);
        let mut serve = installation.command_on_data(["serve", "--ops-listen", "127.0.0.1:0"]);
        serve.args(self.arguments()).args(arguments).arg("--ready-file").arg(&ready);
        let process = Process::spawn(serve, "");
        let address = eventually("it serves", async || {
            let ready: serde_json::Value = serde_json::from_str(&fs::read_to_string(&ready).ok()?).ok()?;
            Some(ready["grpc_address"].as_str().expect("an address").to_owned())
        });
        (process, address.await)
    }
}
