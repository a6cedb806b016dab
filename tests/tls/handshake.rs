//! TLS handshakes that an ordinary client does not offer, and their outcomes.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustls::{
    ClientConfig, HandshakeKind, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    client::ResolvesClientCert,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    sign::CertifiedKey,
};
use tokend_tests::Server;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::authority::{Authority, Pair};

/// The longest wait for a prompt event on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

static TLS_1_3: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

/// A TLS client that offers exactly these parameters.
pub(crate) struct Offer<'a> {
    pub(crate) trusts: &'a Authority,
    pub(crate) versions: &'a [&'static SupportedProtocolVersion],
    pub(crate) protocols: &'a [&'a [u8]],
    pub(crate) certificate: Option<&'a Pair>,
}

impl<'a> Offer<'a> {
    /// Returns the offer of an ordinary gRPC client.
    pub(crate) fn ordinary(trusts: &'a Authority) -> Self {
        Self {
            trusts,
            versions: &TLS_1_3,
            protocols: &[b"h2"],
            certificate: None,
        }
    }

    /// Connects to the server.
    pub(crate) async fn handshake(&self, server: &Server) -> io::Result<TlsStream<TcpStream>> {
        self.handshake_with(server, None).await
    }

    /// Connects to the server, and returns whether it requested a client certificate.
    pub(crate) async fn was_asked_for_certificate(&self, server: &Server) -> bool {
        let asked = Arc::new(Asked(AtomicBool::new(false), None));
        self.handshake_with(server, Some(Arc::clone(&asked)))
            .await
            .expect("the handshake succeeds");
        asked.0.load(Ordering::Relaxed)
    }

    /// Connects twice, as a client that keeps session tickets. Returns the kind of each handshake.
    pub(crate) async fn kinds_of_two(&self, server: &Server) -> [Option<HandshakeKind>; 2] {
        let config = Arc::new(self.config(None));
        let mut kinds = [None; 2];
        for kind in &mut kinds {
            let mut stream = connect(Arc::clone(&config), server)
                .await
                .expect("the handshake succeeds");
            // Session tickets arrive after the handshake and before the server's first frame.
            stream
                .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
                .await
                .expect("the bytes are sent");
            stream.read_exact(&mut [0; 9]).await.expect("a frame arrives");
            *kind = stream.get_ref().1.handshake_kind();
        }
        kinds
    }

    async fn handshake_with(&self, server: &Server, asked: Option<Arc<Asked>>) -> io::Result<TlsStream<TcpStream>> {
        connect(Arc::new(self.config(asked)), server).await
    }

    fn config(&self, asked: Option<Arc<Asked>>) -> ClientConfig {
        let Self {
            trusts,
            versions,
            protocols,
            certificate,
        } = self;
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(trusts.pem().as_bytes()).expect("the text is PEM"))
            .expect("the certificate is valid");
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("the versions are supported");
        let certified = certificate.map(|Pair { certificate, key }| {
            let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
                .collect::<Result<_, _>>()
                .expect("the text is PEM");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("the text is PEM");
            Arc::new(CertifiedKey::from_der(chain, key, &provider).expect("the key fits the certificate"))
        });
        let resolver = asked.unwrap_or_else(|| Arc::new(Asked(AtomicBool::new(false), certified)));
        let mut config = builder
            .with_root_certificates(roots)
            .with_client_cert_resolver(resolver);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        config
    }
}

async fn connect(config: Arc<ClientConfig>, server: &Server) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(server.grpc_address()).await?;
    let name = ServerName::try_from("localhost").expect("the name is valid");
    timeout(SOON, TlsConnector::from(config).connect(name, socket))
        .await
        .expect("the handshake ends in time")
}

/// Returns the certificate that the server presents to new connections, as DER.
pub(crate) async fn served_certificate(server: &Server, trusts: &Authority) -> io::Result<Vec<u8>> {
    let stream = Offer::ordinary(trusts).handshake(server).await?;
    let (_, session) = stream.get_ref();
    Ok(session.peer_certificates().expect("the server has a certificate")[0].to_vec())
}

/// Returns the certificate of a pair, as DER.
pub(crate) fn der(pair: &Pair) -> Vec<u8> {
    CertificateDer::from_pem_slice(pair.certificate.as_bytes())
        .expect("the text is PEM")
        .to_vec()
}

/// Returns the error with which the server closes the connection: in the handshake, or after it, because in TLS 1.3 the
/// client completes first.
pub(crate) async fn rejection(outcome: io::Result<TlsStream<TcpStream>>) -> io::Error {
    match outcome {
        Err(error) => error,
        Ok(mut stream) => {
            let mut byte = [0];
            match timeout(SOON, stream.read_exact(&mut byte))
                .await
                .expect("the handshake ends in time")
            {
                Ok(_) => panic!("the server goes on"),
                Err(error) => error,
            }
        }
    }
}

/// Records whether the server requests a client certificate, and presents this one.
struct Asked(AtomicBool, Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Asked {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        self.1.clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked")
    }
}
