//! TLS, as the flags, the environment and the file say it.

use std::path::PathBuf;

use tokend_server::tls::TlsFiles;

use super::config::File;
use crate::failure::Failure;

/// Where the files of TLS are.
#[derive(Debug, clap::Args)]
pub(super) struct TlsArgs {
    /// Serve gRPC over TLS with this certificate, in PEM, its issuers after it. This file and the two below are read anew when they
    /// change
    #[arg(long, value_name = "FILE", env = "TOKEND_TLS_CERT")]
    tls_cert: Option<PathBuf>,

    /// The certificate's private key, in PEM, that others can't read
    #[arg(long, value_name = "FILE", env = "TOKEND_TLS_KEY")]
    tls_key: Option<PathBuf>,

    /// Accept client certificates of these CAs, in PEM: each stands for the caller that has one of its names
    #[arg(long, value_name = "FILE", env = "TOKEND_CLIENT_CA")]
    client_ca: Option<PathBuf>,
}

impl TlsArgs {
    /// The files, if TLS is to be served.
    ///
    /// # Errors
    /// Some of them without the others.
    pub(super) fn resolve(self, file: &mut File) -> Result<Option<TlsFiles>, Failure> {
        let Self { tls_cert, tls_key, client_ca } = self;
        let client_ca = client_ca.or(file.client_ca.take());
        match (tls_cert.or(file.tls_cert.take()), tls_key.or(file.tls_key.take())) {
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key, client_ca })),
            (Some(_), None) => Err(half("--tls-cert needs --tls-key: the certificate is of no use without its private key")),
            (None, Some(_)) => Err(half("--tls-key needs --tls-cert: the private key is of no use without its certificate")),
            (None, None) if client_ca.is_some() => {
                Err(half("--client-ca needs --tls-cert and --tls-key: there are no client certificates without TLS"))
            }
            (None, None) => Ok(None),
        }
    }
}

fn half(sentence: &str) -> Failure {
    Failure::Other(sentence.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(flags: [Option<&str>; 3], file: [Option<&str>; 3]) -> Result<Option<TlsFiles>, Failure> {
        let [tls_cert, tls_key, client_ca] = flags.map(|path| path.map(PathBuf::from));
        let args = TlsArgs { tls_cert, tls_key, client_ca };
        let [tls_cert, tls_key, client_ca] = file.map(|path| path.map(PathBuf::from));
        args.resolve(&mut File { tls_cert, tls_key, client_ca, ..File::default() })
    }

    #[test]
    fn flags_go_before_the_file() {
        let files = resolved([Some("a"), None, None], [Some("b"), Some("c"), Some("d")]).expect("they are whole").expect("TLS");
        assert_eq!(files, TlsFiles { certificate: "a".into(), key: "c".into(), client_ca: Some("d".into()) });
        assert_eq!(resolved([None; 3], [None; 3]).expect("nothing is whole"), None);
    }

    #[test]
    fn a_half_is_no_tls() {
        for half in [[Some("a"), None, None], [None, Some("a"), None], [None, None, Some("a")], [Some("a"), None, Some("b")]] {
            assert!(resolved(half, [None; 3]).is_err(), "{half:?}");
        }
    }
}
