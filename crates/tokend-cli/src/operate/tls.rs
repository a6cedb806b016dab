//! The TLS settings of the server.

use std::path::PathBuf;

use tokend_server::tls::TlsFiles;

use super::config::File;
use crate::command_error::CommandError;

/// The flags for the TLS files.
#[derive(Debug, clap::Args)]
pub(super) struct TlsArgs {
    /// Serve gRPC over TLS with this certificate, in PEM, followed by its issuers. This file and the two below are
    /// re-read when they change
    #[arg(long, value_name = "FILE", env = "TOKEND_TLS_CERT")]
    tls_cert: Option<PathBuf>,

    /// The certificate's private key, in PEM. Other users must not be able to read it
    #[arg(long, value_name = "FILE", env = "TOKEND_TLS_KEY")]
    tls_key: Option<PathBuf>,

    /// Accept client certificates of these CAs, in PEM. A certificate authenticates the caller with one of its names
    #[arg(long, value_name = "FILE", env = "TOKEND_CLIENT_CA")]
    client_ca: Option<PathBuf>,
}

impl TlsArgs {
    /// Returns the files, if TLS is configured.
    ///
    /// # Errors
    /// A file that needs another one is set without it.
    pub(super) fn resolve(self, file: &mut File) -> Result<Option<TlsFiles>, CommandError> {
        let Self {
            tls_cert,
            tls_key,
            client_ca,
        } = self;
        let client_ca = client_ca.or(file.client_ca.take());
        match (tls_cert.or(file.tls_cert.take()), tls_key.or(file.tls_key.take())) {
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles {
                certificate,
                key,
                client_ca,
            })),
            (Some(_), None) => Err(incomplete(
                "--tls-cert needs --tls-key, the private key of the certificate",
            )),
            (None, Some(_)) => Err(incomplete(
                "--tls-key needs --tls-cert, the certificate of the private key",
            )),
            (None, None) if client_ca.is_some() => Err(incomplete(
                "--client-ca needs --tls-cert and --tls-key: client certificates need TLS",
            )),
            (None, None) => Ok(None),
        }
    }
}

fn incomplete(message: &str) -> CommandError {
    CommandError::Other(message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(flags: [Option<&str>; 3], file: [Option<&str>; 3]) -> Result<Option<TlsFiles>, CommandError> {
        let [tls_cert, tls_key, client_ca] = flags.map(|path| path.map(PathBuf::from));
        let args = TlsArgs {
            tls_cert,
            tls_key,
            client_ca,
        };
        let [tls_cert, tls_key, client_ca] = file.map(|path| path.map(PathBuf::from));
        args.resolve(&mut File {
            tls_cert,
            tls_key,
            client_ca,
            ..File::default()
        })
    }

    #[test]
    fn flags_override_the_file() {
        let files = resolved([Some("a"), None, None], [Some("b"), Some("c"), Some("d")])
            .expect("they are whole")
            .expect("TLS");
        assert_eq!(
            files,
            TlsFiles {
                certificate: "a".into(),
                key: "c".into(),
                client_ca: Some("d".into())
            }
        );
        assert_eq!(resolved([None; 3], [None; 3]).expect("nothing is whole"), None);
    }

    #[test]
    fn incomplete_settings_are_errors() {
        for half in [
            [Some("a"), None, None],
            [None, Some("a"), None],
            [None, None, Some("a")],
            [Some("a"), None, Some("b")],
        ] {
            assert!(resolved(half, [None; 3]).is_err(), "{half:?}");
        }
    }
}
