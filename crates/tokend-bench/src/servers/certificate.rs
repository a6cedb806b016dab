//! A certificate for the servers under test, which the driver trusts.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::PathBuf, sync::Arc};

use tempfile::TempDir;
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer, version::TLS13},
};

use crate::BoxError;

/// A certificate for `localhost`, and its key, in a directory of their own.
pub struct Certificate {
    directory: TempDir,
    trusted: CertificateDer<'static>,
}

impl Certificate {
    /// Creates a certificate that nobody else trusts.
    ///
    /// # Errors
    /// It can't be written.
    pub fn new() -> Result<Self, BoxError> {
        let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let directory = tempfile::tempdir()?;
        let this = Self {
            directory,
            trusted: cert.der().clone(),
        };
        fs::write(this.certificate(), cert.pem())?;
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(this.key())?
            .write_all(signing_key.serialize_pem().as_bytes())?;
        Ok(this)
    }

    /// Returns the path of the certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    /// Returns the path of the private key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    /// Returns a connector that trusts this certificate alone, and offers TLS 1.3 and HTTP/2 alone.
    ///
    /// # Errors
    /// The certificate can't be used.
    pub fn connector(&self) -> Result<TlsConnector, BoxError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusted.clone())?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }
}
