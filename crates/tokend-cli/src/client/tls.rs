//! TLS to the service, as the flags and the environment say it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tokend_client::{Tls, TlsMaterialError};
use tokend_core::text_file;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Whom to trust, and who to be, over TLS.
#[derive(Debug, clap::Args)]
pub(super) struct TlsArgs {
    /// Trust the CAs in this file, in PEM, instead of the system's
    #[arg(long, value_name = "FILE", env = "TOKEND_CA_FILE", help_heading = "Connection")]
    ca_file: Option<PathBuf>,
    /// Authenticate with this client certificate, in PEM, its issuers after it
    #[arg(long, value_name = "FILE", env = "TOKEND_CLIENT_CERT", help_heading = "Connection")]
    client_cert: Option<PathBuf>,
    /// The client certificate's private key, in PEM
    #[arg(long, value_name = "FILE", env = "TOKEND_CLIENT_KEY", help_heading = "Connection")]
    client_key: Option<PathBuf>,
}

impl TlsArgs {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that can't be used, or a certificate without its key.
    pub(super) fn read(&self) -> Result<Tls, Failure> {
        let Self { ca_file, client_cert, client_key } = self;
        let mut tls = Tls::default();
        if let Some(path) = given(ca_file) {
            tls = tls.trust_only(read(path)?.as_bytes()).map_err(|error| of(path, &error))?;
        }
        match (given(client_cert), given(client_key)) {
            (Some(certificate), Some(path)) => {
                let key = read(path)?;
                let culprit = |error: TlsMaterialError| match error {
                    TlsMaterialError::Mismatch => {
                        let (key, certificate) = (path.display(), certificate.display());
                        Failure::Other(format!(
                            "the private key in {key} does not belong to the first certificate in {certificate}"
                        ))
                    }
                    error if error.is_about_the_key() => of(path, &error),
                    error => of(certificate, &error),
                };
                tls.identity(read(certificate)?.as_bytes(), key.as_bytes()).map_err(culprit)
            }
            (None, None) => Ok(tls),
            (Some(_), None) => Err(Failure::Other("--client-cert needs --client-key, its private key".to_owned())),
            (None, Some(_)) => Err(Failure::Other("--client-key needs --client-cert, its certificate".to_owned())),
        }
    }
}

/// An empty variable is as good as none.
fn given(path: &Option<PathBuf>) -> Option<&Path> {
    path.as_deref().filter(|path| !path.as_os_str().is_empty())
}

fn read(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let unreadable = |error: &dyn std::fmt::Display| Failure::Other(format!("can't read {}: {error}", path.display()));
    let bytes = Zeroizing::new(fs::read(path).map_err(|error| unreadable(&error))?);
    text_file::decode(&bytes).map_err(|error| unreadable(&error))
}

fn of(path: &Path, error: &TlsMaterialError) -> Failure {
    Failure::Other(format!("{} can't be used: {error}", path.display()))
}
