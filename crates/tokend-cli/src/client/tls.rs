//! TLS settings of the connection.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tokend_client::{Tls, TlsMaterialError};
use tokend_core::text::encoding;
use zeroize::Zeroizing;

use crate::command_error::CommandError;

/// The flags for TLS.
#[derive(Debug, clap::Args)]
pub(super) struct TlsArgs {
    /// Trust the CAs in this file, in PEM, instead of the system's
    #[arg(long, value_name = "FILE", env = "TOKEND_CA_FILE", help_heading = "Connection")]
    ca_file: Option<PathBuf>,
    /// Authenticate with this client certificate, in PEM, followed by its issuers
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
    /// A file can't be used, or a certificate or key is given without the other.
    pub(super) fn read(&self) -> Result<Tls, CommandError> {
        let Self {
            ca_file,
            client_cert,
            client_key,
        } = self;
        let mut tls = Tls::default();
        if let Some(path) = given(ca_file) {
            tls = tls
                .trust_only(read(path)?.as_bytes())
                .map_err(|error| of(path, &error))?;
        }
        match (given(client_cert), given(client_key)) {
            (Some(certificate), Some(path)) => {
                let key = read(path)?;
                let blame = |error: TlsMaterialError| match error {
                    TlsMaterialError::Mismatch => {
                        let (key, certificate) = (path.display(), certificate.display());
                        CommandError::Other(format!(
                            "the private key in {key} does not belong to the first certificate in {certificate}"
                        ))
                    }
                    error if error.is_about_the_key() => of(path, &error),
                    error => of(certificate, &error),
                };
                tls.identity(read(certificate)?.as_bytes(), key.as_bytes())
                    .map_err(blame)
            }
            (None, None) => Ok(tls),
            (Some(_), None) => Err(CommandError::Other(
                "--client-cert needs --client-key, its private key".to_owned(),
            )),
            (None, Some(_)) => Err(CommandError::Other(
                "--client-key needs --client-cert, its certificate".to_owned(),
            )),
        }
    }
}

/// Treats an empty variable as not set.
fn given(path: &Option<PathBuf>) -> Option<&Path> {
    path.as_deref().filter(|path| !path.as_os_str().is_empty())
}

fn read(path: &Path) -> Result<Zeroizing<String>, CommandError> {
    let unreadable =
        |error: &dyn std::fmt::Display| CommandError::Other(format!("can't read {}: {error}", path.display()));
    let bytes = Zeroizing::new(fs::read(path).map_err(|error| unreadable(&error))?);
    encoding::decode(&bytes).map_err(|error| unreadable(&error))
}

fn of(path: &Path, error: &TlsMaterialError) -> CommandError {
    CommandError::Other(format!("{} can't be used: {error}", path.display()))
}
