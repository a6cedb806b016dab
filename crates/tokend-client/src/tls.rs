//! TLS settings of a connection, and readable causes of failed connections.

use std::{error::Error, fmt, io};

use rustls::{
    AlertDescription, CertificateError, InconsistentKeys, OtherError, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    sign::CertifiedKey,
};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// The TLS settings of a connection. By default, it trusts the CAs of the system and has no client certificate.
#[derive(Clone, Default)]
pub struct Tls {
    ca: Option<Certificate>,
    identity: Option<Identity>,
}

/// The error for unusable PEM. It does not quote the PEM.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsMaterialError {
    /// The PEM does not contain this kind of item.
    #[error("it contains no {0} in PEM")]
    Missing(&'static str),
    /// The item can't be used.
    #[error("the {what} in it can't be used: {problem}")]
    Unusable {
        /// The certificate, the key or the CA certificates.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The private key does not match the certificate.
    #[error("the private key does not match the first client certificate")]
    Mismatch,
}

impl TlsMaterialError {
    /// Returns whether the error is about the private key.
    #[must_use]
    pub fn is_about_the_key(&self) -> bool {
        match self {
            Self::Missing(what) | Self::Unusable { what, problem: _ } => *what == KEY,
            Self::Mismatch => false,
        }
    }
}

/// The message for a peer that closes the connection without an error.
const CLOSED: &str = "it closed the connection; write the address as https://HOST:PORT if it serves TLS, and without \
                      https:// if it does not; if the address is right, it rejects this client";

const CA: &str = "CA certificate";
const CERTIFICATE: &str = "client certificate";
const KEY: &str = "unencrypted private key";

impl Tls {
    /// Trusts these CAs instead of the system's. The PEM has one or more certificates.
    ///
    /// # Errors
    /// [`TlsMaterialError`] if the PEM can't be used.
    pub fn trust_only(self, ca_pem: &[u8]) -> Result<Self, TlsMaterialError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(CA, ca_pem)? {
            roots.add(certificate).map_err(|error| unusable(CA, error))?;
        }
        Ok(Self {
            ca: Some(Certificate::from_pem(ca_pem)),
            ..self
        })
    }

    /// Authenticates with a client certificate, followed by its issuers, and its private key, both in PEM.
    ///
    /// # Errors
    /// [`TlsMaterialError`] if the PEM can't be used.
    pub fn identity(self, certificate_pem: &[u8], key_pem: &[u8]) -> Result<Self, TlsMaterialError> {
        let chain = certificates(CERTIFICATE, certificate_pem)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsMaterialError::Missing(KEY),
            error => unusable(KEY, error),
        })?;
        // tonic makes the same checks, but only when it connects.
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsMaterialError::Mismatch,
            rustls::Error::InvalidCertificate(error) => unusable(CERTIFICATE, error),
            error => unusable(KEY, error),
        })?;
        Ok(Self {
            identity: Some(Identity::from_pem(certificate_pem, key_pem)),
            ..self
        })
    }

    /// Returns whether there is a client certificate.
    #[must_use]
    pub const fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// Returns whether the settings ask for TLS if the address has no scheme.
    pub(crate) const fn is_chosen(&self) -> bool {
        self.ca.is_some() || self.identity.is_some()
    }

    /// Returns tonic's configuration for a server with this name.
    pub(crate) fn config(&self, host: &str) -> ClientTlsConfig {
        let config = ClientTlsConfig::new().domain_name(host).timeout(crate::CONNECT_TIMEOUT);
        let config = match &self.ca {
            Some(ca) => config.ca_certificate(ca.clone()),
            None => config.with_native_roots(),
        };
        match &self.identity {
            Some(identity) => config.identity(identity.clone()),
            None => config,
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ca, identity } = self;
        f.debug_struct("Tls")
            .field("ca", &ca.is_some())
            .field("identity", &identity.is_some())
            .finish()
    }
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsMaterialError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(TlsMaterialError::Missing(what)),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unusable(what, error)),
    }
}

fn unusable(what: &'static str, problem: impl fmt::Display) -> TlsMaterialError {
    TlsMaterialError::Unusable {
        what,
        problem: problem.to_string(),
    }
}

/// Returns why a connection failed: the TLS error if there is one, else the root cause, such as "connection refused"
/// rather than "transport error".
pub(crate) fn cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    loop {
        if let Some(error) = tls_error(cause) {
            return describe(error);
        }
        match cause.source() {
            Some(deeper) => cause = deeper,
            None => return root_cause(cause),
        }
    }
}

/// Returns the TLS error that `error` is or wraps. `source` does not return the error that an `io::Error` wraps.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.downcast_ref().or_else(|| wrapped?.downcast_ref())
}

fn describe(error: &rustls::Error) -> String {
    use CertificateError as C;
    match error {
        rustls::Error::InvalidCertificate(problem) => match problem {
            C::BadSignature | C::UnknownIssuer => {
                "its certificate is from a CA that is not trusted here; trust that CA if it is the right one".to_owned()
            }
            C::Expired | C::ExpiredContext { .. } => "its certificate has expired".to_owned(),
            C::NotValidYet | C::NotValidYetContext { .. } => {
                "its certificate is not valid yet; is a clock wrong?".to_owned()
            }
            C::NotValidForName | C::NotValidForNameContext { .. } => {
                format!("its certificate is for another name than the address has ({problem})")
            }
            C::Other(OtherError(problem)) if problem.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity) => {
                "its certificate is a CA certificate (basicConstraints CA:TRUE), which a server can't use; issue one \
                 with \
                 CA:FALSE, as `openssl req -x509 -addext basicConstraints=critical,CA:FALSE ...` does"
                    .to_owned()
            }
            problem => format!("its certificate is invalid: {problem}"),
        },
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA => "it does not trust the CA of this client's certificate".to_owned(),
            AlertDescription::CertificateExpired => "it says that this client's certificate has expired".to_owned(),
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied => format!("it rejects this client's certificate ({alert:?})"),
            AlertDescription::ProtocolVersion => "it supports no TLS version that this client supports".to_owned(),
            AlertDescription::NoApplicationProtocol => "it does not serve HTTP/2".to_owned(),
            alert => format!("it aborted the TLS connection ({alert:?})"),
        },
        rustls::Error::InvalidMessage(_) => "the server at this address does not speak TLS".to_owned(),
        error => error.to_string(),
    }
}

fn root_cause(cause: &(dyn Error + 'static)) -> String {
    // A TLS server answers a client without TLS with an alert, whose first bytes read as the length of a huge HTTP/2
    // frame.
    if cause.downcast_ref::<h2::Error>().and_then(h2::Error::reason) == Some(h2::Reason::FRAME_SIZE_ERROR) {
        return "the server at this address does not speak HTTP/2 without TLS; write https://HOST:PORT if it serves TLS"
            .to_owned();
    }
    match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
            CLOSED.to_owned()
        }
        _ => cause.to_string(),
    }
}
