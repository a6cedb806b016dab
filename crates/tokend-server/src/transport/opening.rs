//! Opens a connection: the TLS handshake, if TLS is served, then the HTTP/2 preface.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::preface;
use crate::tls::{Acceptor, ClientCertificate};

/// A connection's bytes, decrypted.
pub(super) type Io = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Performs the handshake and reads the preface. Callers set the deadline.
pub(super) async fn open(
    socket: TcpStream,
    tls: Option<&Acceptor>,
) -> io::Result<(Io, Option<Arc<ClientCertificate>>)> {
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
