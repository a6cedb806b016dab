//! The serving threads. Each runs one current_thread runtime with the connections that were handed to it.
//!
//! A connection never changes its worker. The acceptor gives it to the worker with the fewest connections, and takes
//! turns among those that have equally few. gRPC peers keep few connections for a long time, and strict turns would
//! leave cores idle when connections end unevenly.

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
use super::unauthenticated::UnauthenticatedPlace;
use super::{Connection, ConnectionService, Peer, PeerAddress, Report, TransportSettings};

/// The time that a worker has to end its thread after the drain deadline.
const END_OF_THREAD: Duration = Duration::from_secs(1);

/// All serving threads. They drain when this is dropped.
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
    place: UnauthenticatedPlace,
    load: LoadPlace,
}

/// A connection's place in its worker's load, released on drop.
struct LoadPlace(Arc<AtomicUsize>);

impl Workers {
    /// Starts [`TransportSettings::workers`] threads and waits until each has its runtime.
    pub(super) async fn start<S: ConnectionService>(
        service: &S,
        settings: &Arc<TransportSettings>,
    ) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let mut workers = Self {
            workers: Vec::new(),
            drain: settings.drain,
            _stop_when_dropped: stop.clone().drop_guard(),
            stop,
        };
        for index in 0..settings.workers.get() {
            let worker = Worker::start(index, service.clone(), Arc::clone(settings), workers.stop.clone());
            workers.workers.push(worker.await?);
        }
        Ok(workers)
    }

    /// Returns the number of open connections. Only the acceptor adds connections, so it can rely on this number not to
    /// grow in the meantime.
    pub(super) fn connections(&self) -> usize {
        self.workers.iter().map(Worker::load).sum()
    }

    /// Gives a connection to the worker that has the fewest.
    pub(super) fn hand_over(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        number: usize,
        place: UnauthenticatedPlace,
    ) -> io::Result<()> {
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
        let accepted = Accepted {
            socket,
            peer: PeerAddress::of(peer),
            number,
            place,
            load: LoadPlace::take(&worker.load),
        };
        worker
            .inbox
            .send(accepted)
            .map_err(|_| io::Error::other("the worker ended"))
    }

    /// Sends every connection its GOAWAY, waits for the workers, and joins their threads.
    ///
    /// Each connection keeps the drain deadline. A worker that is not done a second later is stuck in code that does
    /// not yield, and only the end of the process ends its thread.
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
    async fn start<S: ConnectionService>(
        index: usize,
        service: S,
        settings: Arc<TransportSettings>,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let (inbox, accepted) = mpsc::unbounded_channel();
        let (started, ready) = oneshot::channel();
        let (ended, done) = oneshot::channel();
        let thread = thread::Builder::new()
            .name(format!("tokend-serve-{index}"))
            .spawn(move || {
                let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        let _ = started.send(Err(error));
                        return;
                    }
                };
                let _ = started.send(Ok(()));
                let report = runtime.block_on(run(accepted, service, settings, stop));
                // Drops the remains of cut requests without waiting for their blocking tasks.
                runtime.shutdown_background();
                let _ = ended.send(report);
            })?;
        ready.await.map_err(|_| io::Error::other("the thread ended"))??;
        Ok(Self {
            inbox,
            load: Arc::default(),
            done,
            thread,
        })
    }

    fn load(&self) -> usize {
        self.load.load(Ordering::Acquire)
    }
}

/// Drives the connections that a worker is handed, until `stop` and then until all of them have ended.
async fn run<S: ConnectionService>(
    mut inbox: mpsc::UnboundedReceiver<Accepted>,
    service: S,
    settings: Arc<TransportSettings>,
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
    // Nothing was read from connections that still wait in the inbox: their clients can retry on another server.
    inbox.close();
    while inbox.try_recv().is_ok() {
        report.drained += 1;
    }
    while let Some(ended) = connections.join_next().await {
        match ended {
            Ok(Ending::Drained) => report.drained += 1,
            Ok(Ending::Cut) | Err(_) => report.cut += 1,
            // It ended before the shutdown.
            Ok(Ending::NotOpened | Ending::Closed) => {}
        }
    }
    report
}

/// Drives one connection from hand-over to end. The worker computes its TLS handshake, which delays neither accept nor
/// other workers.
async fn handle<S: ConnectionService>(
    accepted: Accepted,
    service: S,
    settings: Arc<TransportSettings>,
    stop: CancellationToken,
) -> Ending {
    let Accepted {
        socket,
        peer,
        number,
        place,
        load: _load,
    } = accepted;
    let socket = match TcpStream::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(%error, "a worker can't take a connection");
            return Ending::Closed;
        }
    };
    let age = connection::age(&settings, peer, number);
    // An evicted connection is dropped at once: nobody has authenticated on it, so that no caller's request is lost.
    let evicted = place.evicted();
    let arriving = Peer {
        address: peer,
        connection: Connection::of(place),
        certificate: None,
    };
    let driven = connection::drive(socket, arriving, age, service, &settings, &stop);
    evicted.run_until_cancelled(driven).await.unwrap_or_else(|| {
        tracing::debug!(peer = %peer.0, "connection closed: nobody has authenticated on it, and newer ones need room");
        Ending::Closed
    })
}

impl LoadPlace {
    fn take(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(load))
    }
}

impl Drop for LoadPlace {
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
    use crate::transport::unauthenticated::UnauthenticatedConnections;

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
        let settings = Arc::new(TransportSettings {
            workers: std::num::NonZeroUsize::new(3).expect("not zero"),
            ..TransportSettings::default()
        });
        let workers = Workers::start(&Unanswered, &settings).await.expect("start");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let loads = || workers.workers.iter().map(Worker::load).collect::<Vec<_>>();

        let unauthenticated = UnauthenticatedConnections::new(10, 10);
        let mut peers = Vec::new();
        // The same number each time: a plain turn would give all six to one worker.
        for _ in 0..6 {
            peers.push(TcpStream::connect(address).await.expect("connect"));
            let (socket, peer) = listener.accept().await.expect("accept");
            workers
                .hand_over(socket, peer, 0, unauthenticated.add(peer.ip().into()))
                .expect("hand over");
        }
        assert_eq!(loads(), [2, 2, 2]);

        drop(peers);
        timeout(Duration::from_secs(5), async {
            while workers.connections() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the places are released");
        assert_eq!(workers.shut_down().await, Report::default());
    }
}
