//! The serving threads: each runs one current_thread runtime and the connections that were handed to it.
//!
//! A connection stays with its worker for life, so the acceptor chooses well: the worker with the fewest connections, in turn
//! where that is a tie. gRPC peers keep few connections for long, and taking strict turns would leave cores idle when
//! connections end unevenly.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::connection::{self, Ending};
use super::opening::Peer;
use super::strangers::Stranger;
use super::{Connection, PeerAddress, Report, RequestService, Settings};

/// What a worker gets on top of the drain deadline to end its thread.
const END_OF_THREAD: Duration = Duration::from_secs(1);

/// All serving threads. Dropping it makes them drain by themselves.
pub(super) struct Workers {
    workers: Vec<Worker>,
    stop: CancellationToken,
    drain: Duration,
    _stop_when_dropped: DropGuard,
}

struct Worker {
    inbox: mpsc::UnboundedSender<Accepted>,
    /// Connections handed over and not ended yet.
    load: Arc<AtomicUsize>,
    done: oneshot::Receiver<Report>,
    thread: JoinHandle<()>,
}

/// A connection on its way to a worker, taken out of the acceptor's runtime.
struct Accepted {
    socket: std::net::TcpStream,
    peer: PeerAddress,
    /// How many connections the acceptor had taken, this one included.
    number: usize,
    stranger: Stranger,
    place: Place,
}

/// A connection's place in its worker's load, given back on drop.
struct Place(Arc<AtomicUsize>);

impl Workers {
    /// Starts [`Settings::workers`] threads and waits until each has its runtime.
    pub(super) async fn start<S: RequestService>(service: &S, settings: &Arc<Settings>) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let mut workers = Self { workers: Vec::new(), drain: settings.drain, _stop_when_dropped: stop.clone().drop_guard(), stop };
        for index in 0..settings.workers.get() {
            let worker = Worker::start(index, service.clone(), Arc::clone(settings), workers.stop.clone());
            workers.workers.push(worker.await?);
        }
        Ok(workers)
    }

    /// Connections open now. Only the acceptor adds to them, so it may rely on this number not growing behind its back.
    pub(super) fn connections(&self) -> usize {
        self.workers.iter().map(Worker::load).sum()
    }

    /// Gives a connection to the worker with the fewest.
    pub(super) fn hand_over(&self, socket: TcpStream, peer: SocketAddr, number: usize, stranger: Stranger) -> io::Result<()> {
        // Small frames go out as they are written: nothing here gains from Nagle's algorithm.
        socket.set_nodelay(true)?;
        let socket = socket.into_std()?;
        let count = self.workers.len();
        let first = number % count;
        let worker = (first..first + count)
            .map(|index| &self.workers[index % count])
            .filter(|worker| !worker.inbox.is_closed())
            .min_by_key(|worker| worker.load())
            .ok_or_else(|| io::Error::other("no worker is alive"))?;
        let accepted = Accepted { socket, peer: PeerAddress::of(peer), number, stranger, place: Place::take(&worker.load) };
        worker.inbox.send(accepted).map_err(|_| io::Error::other("the worker ended"))
    }

    /// Sends every connection its GOAWAY, waits for the workers, and joins their threads.
    ///
    /// The connections keep the drain deadline by themselves. A worker that is not done a second later is stuck in code that
    /// does not yield; no one can end its thread but the process.
    pub(super) async fn shut_down(self) -> Report {
        let mut deadline = pin!(sleep(self.drain + END_OF_THREAD));
        self.stop.cancel();
        let mut report = Report::default();
        for (index, worker) in self.workers.into_iter().enumerate() {
            drop(worker.inbox);
            let done = tokio::select! {
                biased;
                done = worker.done => done.ok(),
                () = deadline.as_mut() => None,
            };
            let Some(done) = done else {
                tracing::error!(worker = index, "a worker is stuck or has panicked");
                report.lost_workers += 1;
                continue;
            };
            report.drained += done.drained;
            report.cut += done.cut;
            if worker.thread.join().is_err() {
                report.lost_workers += 1;
            }
        }
        report
    }
}

impl Worker {
    async fn start<S: RequestService>(
        index: usize,
        service: S,
        settings: Arc<Settings>,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let (inbox, accepted) = mpsc::unbounded_channel();
        let (started, ready) = oneshot::channel();
        let (ended, done) = oneshot::channel();
        let thread = thread::Builder::new().name(format!("tokend-serve-{index}")).spawn(move || {
            let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = started.send(Err(error));
                    return;
                }
            };
            let _ = started.send(Ok(()));
            let report = runtime.block_on(run(accepted, service, settings, stop));
            // Drops what is left of cut requests, without waiting for blocking tasks that they may have begun.
            runtime.shutdown_background();
            let _ = ended.send(report);
        })?;
        ready.await.map_err(|_| io::Error::other("the thread ended"))??;
        Ok(Self { inbox, load: Arc::default(), done, thread })
    }

    fn load(&self) -> usize {
        self.load.load(Ordering::Acquire)
    }
}

/// A worker's life: drives what it is handed until told to stop, then until all of it has ended.
async fn run<S: RequestService>(
    mut inbox: mpsc::UnboundedReceiver<Accepted>,
    service: S,
    settings: Arc<Settings>,
    stop: CancellationToken,
) -> Report {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_ended) = connections.join_next() => {}
            accepted = inbox.recv() => {
                let Some(accepted) = accepted else { break };
                let (service, settings, stop) = (service.clone(), Arc::clone(&settings), stop.clone());
                connections.spawn(handle(accepted, service, settings, stop));
            }
        }
    }
    let mut report = Report::default();
    // Whoever still waits in the inbox has not been heard yet, and can try elsewhere.
    inbox.close();
    while inbox.try_recv().is_ok() {
        report.drained += 1;
    }
    while let Some(ended) = connections.join_next().await {
        match ended {
            Ok(Ending::Drained) => report.drained += 1,
            Ok(Ending::Cut) | Err(_) => report.cut += 1,
            // Over before the shutdown, and not looked at until now.
            Ok(Ending::NotOpened | Ending::Closed) => {}
        }
    }
    report
}

/// One connection from hand-over to end. Its TLS handshake is computed here, on the worker, and holds up no other worker nor accept.
async fn handle<S: RequestService>(accepted: Accepted, service: S, settings: Arc<Settings>, stop: CancellationToken) -> Ending {
    let Accepted { socket, peer, number, stranger, place: _place } = accepted;
    let socket = match TcpStream::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(%error, "a worker can't take a connection");
            return Ending::Closed;
        }
    };
    let age = connection::age(&settings, peer, number);
    // Told to go, it goes at once: nobody whose call it would end has authenticated on it.
    let told_to_go = stranger.told_to_go();
    let arriving = Peer { address: peer, connection: Connection::of(stranger), certificate: None };
    let driven = connection::drive(socket, arriving, age, service, &settings, &stop);
    told_to_go.run_until_cancelled(driven).await.unwrap_or_else(|| {
        tracing::debug!(peer = %peer.0, "connection closed: nobody has authenticated on it, and others wait");
        Ending::Closed
    })
}

impl Place {
    fn take(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(load))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::convert::Infallible;
    use std::future::{Pending, pending};
    use std::task::{Context, Poll};

    use http::{Request, Response};
    use tokio::net::TcpListener;
    use tokio::time::timeout;
    use tonic::body::Body;
    use tower::Service;

    use super::*;
    use crate::transport::strangers::Strangers;

    /// A service that never answers.
    #[derive(Clone)]
    pub(in crate::transport) struct Unanswered;

    impl Service<Request<Body>> for Unanswered {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Pending<Result<Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            pending()
        }
    }

    #[tokio::test]
    async fn a_connection_goes_to_the_worker_with_the_fewest() {
        let settings = Arc::new(Settings { workers: std::num::NonZeroUsize::new(3).expect("not zero"), ..Settings::default() });
        let workers = Workers::start(&Unanswered, &settings).await.expect("start");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let loads = || workers.workers.iter().map(Worker::load).collect::<Vec<_>>();

        let strangers = Strangers::new(10, 10);
        let mut peers = Vec::new();
        // The same number each time: a plain turn would give all six to one worker.
        for _ in 0..6 {
            peers.push(TcpStream::connect(address).await.expect("connect"));
            let (socket, peer) = listener.accept().await.expect("accept");
            workers.hand_over(socket, peer, 0, strangers.take_in(peer.ip().into())).expect("hand over");
        }
        assert_eq!(loads(), [2, 2, 2]);

        drop(peers);
        timeout(Duration::from_secs(5), async {
            while workers.connections() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the places are given back");
        assert_eq!(workers.shut_down().await, Report::default());
    }
}
