//! A server on a free port, and the service that it runs.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Frame;
use tokend_server::transport::{PeerAddress, Report, TransportError, TransportSettings, serve};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

/// Longer than any expected event takes, and shorter than the settings that must not be its cause.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// Waits for an event that must happen soon.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("the event happens in time")
}

/// Settings under which nothing times out during a test.
pub(crate) fn patient() -> TransportSettings {
    const LONG: Duration = Duration::from_secs(60);
    TransportSettings {
        preface_timeout: LONG,
        connection_age: LONG,
        connection_age_jitter_percent: 0,
        connection_age_grace: LONG,
        drain: LONG,
        quiet: LONG,
        keepalive_interval: LONG,
        keepalive_timeout: LONG,
        ..TransportSettings::default()
    }
}

/// A running transport.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) service: Paths,
    stop: CancellationToken,
    done: JoinHandle<Result<Report, TransportError>>,
}

impl Server {
    pub(crate) async fn start(settings: TransportSettings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let service = Paths::default();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let done = tokio::spawn(serve(listener, service.clone(), settings, stopped));
        Self {
            address,
            service,
            stop,
            done,
        }
    }

    pub(crate) fn begin_shutdown(&self) {
        self.stop.cancel();
    }

    /// Drops the serving future.
    pub(crate) fn forget(&self) {
        self.done.abort();
    }

    /// Shuts down, unless a shutdown has begun, and returns the result.
    pub(crate) async fn shut_down(self) -> Report {
        self.stop.cancel();
        soon(self.done).await.expect("no panic").expect("served")
    }
}

/// A service that behaves as the path of the request demands.
#[derive(Clone)]
pub(crate) struct Paths {
    /// Requests to `/gated` are answered once this is true.
    pub(crate) gate: watch::Sender<bool>,
    /// Requests that are being handled.
    pub(crate) running: watch::Sender<usize>,
    /// Threads that `/blocks` has blocked. Each continues after one message to `unblock`.
    blocked: Arc<AtomicUsize>,
    pub(crate) unblock: mpsc::Sender<()>,
    unblocked: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Default for Paths {
    fn default() -> Self {
        let (unblock, unblocked) = mpsc::channel();
        Self {
            gate: watch::Sender::new(false),
            running: watch::Sender::new(0),
            blocked: Arc::default(),
            unblock,
            unblocked: Arc::new(Mutex::new(unblocked)),
        }
    }
}

impl Paths {
    pub(crate) async fn running(&self, count: usize) {
        soon(self.running.subscribe().wait_for(|running| *running == count))
            .await
            .expect("the sender lives");
    }

    pub(crate) async fn blocked(&self) {
        soon(async {
            while self.blocked.load(Ordering::Acquire) == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    fn block(&self) {
        self.blocked.fetch_add(1, Ordering::AcqRel);
        let _ = self.unblocked.lock().expect("lock").recv();
    }

    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let _running = Running::begin(&self.running);
        let body = match request.uri().path() {
            "/peer" => {
                let peer = request.extensions().get::<PeerAddress>();
                Body::new(peer.expect("an address").0.to_string())
            }
            "/gated" => {
                let mut gate = self.gate.subscribe();
                gate.wait_for(|open| *open).await.expect("the sender lives");
                Body::empty()
            }
            "/unanswered" => pending().await,
            "/panics" => panic!("a panic in the handler"),
            "/endless" => Body::new(Repeat(None)),
            "/flood" => Body::new(Repeat(Some(Bytes::from_static(&[0; 16 * 1024])))),
            "/blocks" => {
                self.block();
                Body::empty()
            }
            "/blocks-another-thread" => {
                let _ = tokio::task::spawn_blocking(move || self.block()).await;
                Body::empty()
            }
            _ => Body::empty(),
        };
        Ok(Response::new(body))
    }
}

impl Service<Request<Body>> for Paths {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

/// Counts a request while its handler is alive.
struct Running(watch::Sender<usize>);

impl Running {
    fn begin(running: &watch::Sender<usize>) -> Self {
        running.send_modify(|count| *count += 1);
        Self(running.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// A body that never ends: it repeats the same piece, or sends nothing.
struct Repeat(Option<Bytes>);

impl hyper::body::Body for Repeat {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match &self.0 {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece.clone())))),
            None => Poll::Pending,
        }
    }
}
