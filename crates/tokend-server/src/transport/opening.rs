//! How a connection opens: the TLS handshake, if TLS is served, then the HTTP/2 preface.

use std::future::pending;
use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::{Connection, PeerAddress, preface};
use crate::tls::{Acceptor, ClientCertificate};

/// A connection's bytes, in clear.
pub(super) type Io = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// What is known of whoever is at the other end. Clones are the same peer.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) address: PeerAddress,
    pub(super) connection: Connection,
    /// The client certificate, once it was asked for and given.
    pub(super) certificate: Option<Arc<ClientCertificate>>,
}

/// Makes the handshake and reads the preface. Has no deadline of its own.
pub(super) async fn open(socket: TcpStream, tls: Option<&Acceptor>) -> io::Result<(Io, Option<Arc<ClientCertificate>>)> {
    let (mut io, certificate) = match tls {
        None => (Either::Left(socket), None),
        Some(tls) => {
            let (stream, certificate) = tls.accept(socket).await?;
            (Either::Right(Box::new(stream)), certificate.map(Arc::new))
        }
    };
    preface::read(&mut io).await?;
    Ok((io, certificate))
}

impl Peer {
    /// Completes when what the peer was let in for is no longer trusted: its client CA has been replaced.
    pub(super) async fn distrusted(&self) {
        match &self.certificate {
            Some(certificate) => certificate.distrusted().await,
            None => pending().await,
        }
    }
}
