//! The TLS configuration that is built from one version of the files.

use std::{fmt, io, sync::Arc};

use tokend_core::time::{Clock, Timestamp};
use tokio::{net::TcpStream, sync::watch};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, CertificateError, InconsistentKeys, RootCertStore, ServerConfig,
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem, pem::PemObject},
        server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
        time_provider::TimeProvider,
    },
    server::TlsStream,
};
use tokio_util::sync::CancellationToken;

use super::{
    contents::{Contents, Part, TlsError, TlsFiles},
    identity::{self, ClientCertificate},
};

/// The ALPN name of HTTP/2, the only protocol that is served (RFC 9113 section 3.1).
const H2: &[u8] = b"h2";

/// A TLS configuration, and what is known of its files.
#[derive(Clone)]
pub(super) struct Generation {
    config: Arc<ServerConfig>,
    /// The first moment at which the server's certificate is no longer valid.
    pub(super) expire_time: Timestamp,
    /// Whether the server's certificate is a CA certificate.
    pub(super) is_ca: bool,
    /// Cancelled when the client CA is replaced.
    pub(super) client_ca_replaced: CancellationToken,
}

/// Accepts TLS connections with the current generation. Cheap to clone.
#[derive(Clone)]
pub struct Acceptor(pub(super) watch::Receiver<Generation>);

impl Acceptor {
    /// Reads the files once, and ignores later changes. `tokend serve` re-reads them instead.
    ///
    /// # Errors
    /// [`TlsError`], one sentence for the operator.
    pub fn new(files: &TlsFiles, clock: &Clock) -> Result<Self, TlsError> {
        let generation = Generation::build(files, &files.look()?, clock)?;
        Ok(Self(watch::Sender::new(generation).subscribe()))
    }

    /// Performs the handshake. Callers set the deadline.
    pub(crate) async fn accept(
        &self,
        socket: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<ClientCertificate>)> {
        let Generation {
            config,
            client_ca_replaced,
            ..
        } = self.0.borrow().clone();
        let stream = TlsAcceptor::from(config).accept(socket).await?;
        let (_, session) = stream.get_ref();
        // The handshake has refused a client that offers other protocols only. This one offered none.
        if session.alpn_protocol() != Some(H2) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the client did not ask for HTTP/2 by ALPN",
            ));
        }
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let certificate =
            certificate.and_then(|certificate| ClientCertificate::of_verified(certificate, client_ca_replaced));
        Ok((stream, certificate))
    }
}

impl Generation {
    /// Builds the configuration from the contents of the files.
    pub(super) fn build(files: &TlsFiles, contents: &Contents, clock: &Clock) -> Result<Self, TlsError> {
        let Contents {
            certificate,
            key,
            client_ca,
        } = contents;
        let chain = certificates(Part::Certificate, &files.certificate, certificate)?;
        let key = private_key(&files.key, key)?;
        let expire_time = identity::expire_time(&chain[0])
            .ok_or_else(|| unusable(Part::Certificate, files, "it is not an X.509 certificate"))?;

        let is_ca = identity::is_ca(&chain[0], expire_time);
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(Wall(clock.clone())))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| unusable(Part::Certificate, files, error))?;
        let builder = match (&files.client_ca, client_ca) {
            (Some(path), Some(client_ca)) => {
                let roots = certificates(Part::ClientCa, path, client_ca)?;
                builder.with_client_cert_verifier(
                    verifier(roots, provider).map_err(|error| unusable(Part::ClientCa, files, error))?,
                )
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch {
                certificate: files.certificate.clone(),
                key: files.key.clone(),
            },
            rustls::Error::InvalidCertificate(CertificateError::BadEncoding) => {
                unusable(Part::Certificate, files, "it is not an X.509 certificate")
            }
            rustls::Error::InvalidCertificate(_) => unusable(Part::Certificate, files, error),
            _ => unusable(Part::Key, files, error),
        })?;
        config.alpn_protocols = vec![H2.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self {
            config: Arc::new(config),
            expire_time,
            is_ca,
            client_ca_replaced: CancellationToken::new(),
        })
    }
}

/// Returns a verifier that accepts certificates of these CAs, and clients without one: they have a caller key.
fn verifier(
    roots: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Box<dyn std::error::Error>> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root)?;
    }
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider)
        .allow_unauthenticated()
        .build()?)
}

/// Returns the certificates in a file, at least one.
fn certificates(part: Part, path: &std::path::Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let path = || path.to_owned();
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(TlsError::Empty { part, path: path() }),
        Ok(certificates) => Ok(certificates),
        Err(source) => Err(TlsError::NotPem {
            part,
            path: path(),
            source,
        }),
    }
}

fn private_key(path: &std::path::Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|source| match source {
        pem::Error::NoItemsFound => TlsError::Empty {
            part: Part::Key,
            path: path.to_owned(),
        },
        _ => TlsError::NotPem {
            part: Part::Key,
            path: path.to_owned(),
            source,
        },
    })
}

fn unusable(part: Part, files: &TlsFiles, problem: impl fmt::Display) -> TlsError {
    let path = match part {
        Part::Certificate => &files.certificate,
        Part::Key => &files.key,
        Part::ClientCa => files.client_ca.as_ref().unwrap_or(&files.certificate),
    };
    TlsError::Unusable {
        part,
        path: path.clone(),
        problem: problem.to_string(),
    }
}

/// The machine's wall clock, which decides in a handshake whether certificates are valid. The database's clock is not
/// known at that point.
pub(crate) struct Wall(pub(crate) Clock);

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.wall_time().unix_micros()).ok()? / 1_000_000;
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

impl fmt::Debug for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wall")
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor")
    }
}
