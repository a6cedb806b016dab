//! Turns bytes into requests: the accept loop, the serving threads, and the limits of a connection.
//!
//! 1. [`serve`] starts one thread per core (`worker`), each with a current_thread runtime of its own. They share
//!    nothing but a service that each clones. Measured on this kind of load, that costs half the CPU of one
//!    multi_thread runtime: a request never changes threads and nothing is stolen.
//! 2. One acceptor (`acceptor`), in the caller's runtime, takes connections and hands each to the worker with the
//!    fewest. `SO_REUSEPORT` would do without an acceptor, but would also let a second process share the port silently.
//! 3. The worker drives each connection (`connection`): the TLS handshake, if TLS is served, and the HTTP/2 preface
//!    must end in time (`opening`, `preface`), then hyper serves it until the peer leaves, the connection's age is
//!    reached, its client certificate is distrusted, or the server shuts down. The last three send a GOAWAY, let
//!    requests in flight end, and drop the connection when their time is over.
//! 4. A connection on which nobody has authenticated yet is closed when newer ones need its place (`unauthenticated`).
//!
//! Why not tonic's own server: it leaves silent connections open for ever, never finishes a graceful shutdown while one
//! is open, switches hyper's limits on resets off by default, and ends aged connections without a GOAWAY. hyper itself
//! has no deadline for the preface.
//!
//! Nothing here waits for a peer without a deadline. Whatever peers do, [`serve`] returns within
//! [`TransportSettings::drain`] and a second.

mod acceptor;
mod activity;
mod connection;
mod opening;
mod peer;
mod per_request;
mod poll_clock;
mod preface;
mod settings;
mod source;
mod unauthenticated;

mod worker;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tonic::{Status, body::Body};
use tower::Service;

pub use self::peer::{Connection, InFlight, Peer};
pub use self::settings::{OutOfRange, TransportSettings};
pub use self::source::Source;
use self::unauthenticated::UnauthenticatedConnections;
use self::worker::Workers;

/// The address from which a request came, as the socket reports it. It is an extension of every request.
///
/// An IPv4 address stays one even on a socket for both families. Behind a proxy it is the proxy's address. It is never
/// taken from a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddress(pub SocketAddr);

impl PeerAddress {
    /// Turns `::ffff:a.b.c.d`, by which a socket for both families names an IPv4 peer, into `a.b.c.d`.
    fn of(socket: SocketAddr) -> Self {
        Self(SocketAddr::new(socket.ip().to_canonical(), socket.port()))
    }
}

/// A tower service over HTTP requests, which each worker and each connection clones.
///
/// Every type that fits implements it.
pub trait RequestService: Clone + Send + 'static
where
    Self: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
}

/// Serves connections, each with a service of its own, which lives as long as the connection.
///
/// Every [`RequestService`] implements it: a clone serves each connection, and finds the peer's [`PeerAddress`],
/// [`Connection`] and client certificate among the extensions of each request.
pub trait ConnectionService: Clone + Send + 'static {
    /// The body of an answer.
    type Body: hyper::body::Body<Data = Bytes, Error = Status> + Send + 'static;
    /// The service of one connection.
    type OfConnection: hyper::service::Service<
            Request<Incoming>,
            Response = Response<Self::Body>,
            Error = Infallible,
            Future: Send + 'static,
        > + Send
        + 'static;

    /// Returns the service of a connection that was opened.
    fn of(&self, peer: Peer) -> Self::OfConnection;
}

impl<S> RequestService for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// The result of a shutdown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Connections that ended with nothing in flight.
    pub drained: usize,
    /// Connections that were dropped at the drain deadline with requests in flight, or with a peer that did not
    /// acknowledge the GOAWAY.
    pub cut: usize,
    /// Workers that panicked, or whose thread was blocked past the deadline. Nothing waits for these threads: they end
    /// with the process.
    pub lost_workers: usize,
}

/// The transport did not start.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// A setting is out of its range.
    #[error(transparent)]
    Settings(#[from] OutOfRange),
    /// A serving thread or its runtime could not be started.
    #[error("can't start a serving thread: {0}")]
    Worker(#[source] io::Error),
}

/// Serves HTTP/2 by prior knowledge on `listener` until `shutdown` completes, then drains.
///
/// Once `shutdown` is complete the listener is closed, every connection is sent a GOAWAY, and requests in flight have
/// [`TransportSettings::drain`] to end. If the returned future is dropped instead, the workers still drain.
///
/// # Errors
///
/// A setting is out of its range, or a thread can't be started. In both cases nothing was accepted. A failing accept is
/// logged and retried.
pub async fn serve<S>(
    listener: TcpListener,
    service: S,
    settings: TransportSettings,
    shutdown: impl Future<Output = ()>,
) -> Result<Report, TransportError>
where
    S: ConnectionService,
{
    settings.check()?;
    let settings = Arc::new(settings);
    let workers = Workers::start(&service, &settings)
        .await
        .map_err(TransportError::Worker)?;
    let unauthenticated =
        UnauthenticatedConnections::new(settings.max_unauthenticated, settings.max_unauthenticated_per_source);
    tokio::select! {
        () = shutdown => {}
        () = acceptor::run(|cx| listener.poll_accept(cx), &workers, settings.max_connections, &unauthenticated) => {}
    }
    drop(listener);
    let report = workers.shut_down().await;
    tracing::info!(
        drained = report.drained,
        cut = report.cut,
        lost_workers = report.lost_workers,
        "transport closed"
    );
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_peer_of_an_ipv6_socket_has_its_ipv4_address() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        assert_eq!(
            PeerAddress::of(address("[::ffff:192.0.2.7]:443")).0,
            address("192.0.2.7:443")
        );
        assert_eq!(
            PeerAddress::of(address("[2001:db8::7]:443")).0,
            address("[2001:db8::7]:443")
        );
    }
}
