//! A TCP proxy between a server and its database, or between clients and a server. Its connections can be cut, held and
//! delayed, each direction alone.
//!
//! In front of a database, the proxy tells the connection on which a server polls the feed from the others by its first statement, so that a
//! fault can concern only one of them: without the feed, leases lapse; without the others, they do not.
//!
//! It runs on a thread of its own, so that clients that keep the run's thread busy do not slow the database down.

#[cfg(test)]
mod tests;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::sleep,
};

use crate::clock::{Moment, Stopwatch};

/// The text by which a poll of the feed is recognized.
const FEED_POLL: &[u8] = br#"LEFT JOIN "feed_log""#;
/// The number of chunks of a connection in which to look for it.
const CHUNKS_SEARCHED: usize = 64;
/// The number of chunks that may be on their way in one direction of a connection.
const QUEUE: usize = 256;
const CHUNK_BYTES: usize = 16 * 1024;

/// The connections that a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connections {
    All,
    /// The one that polls the feed.
    Feed,
    Others,
}

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the side that opened the connection.
    Requests,
    /// To the side that opened the connection.
    Answers,
}

/// What happens to bytes of some connections in one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disturbance {
    pub(crate) connections: Connections,
    pub(crate) direction: Direction,
    /// `None` holds bytes until the disturbance ends.
    pub(crate) delay: Option<Duration>,
}

#[derive(Clone, Debug)]
struct Conditions {
    /// Where new connections lead.
    to: SocketAddr,
    refuses: bool,
    disturbances: Vec<Disturbance>,
    /// Raised to cut connections.
    cuts_of_feed: u64,
    cuts_of_others: u64,
    has_ended: bool,
}

/// The proxy. Dropping it closes all connections.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    conditions: watch::Sender<Conditions>,
    feeds: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// One connection.
struct Link {
    is_feed: AtomicBool,
    /// Counts the connections that poll the feed.
    feeds: Arc<AtomicUsize>,
    conditions: watch::Receiver<Conditions>,
    stopwatch: Stopwatch,
}

impl Proxy {
    /// Starts a proxy to this address.
    pub(crate) fn start(to: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        listener.set_nonblocking(true).expect("the listener is set up");
        let address = listener.local_addr().expect("the listener has an address");
        let (conditions, seen) = watch::channel(Conditions {
            to,
            refuses: false,
            disturbances: Vec::new(),
            cuts_of_feed: 0,
            cuts_of_others: 0,
            has_ended: false,
        });
        let feeds = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&feeds);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime starts");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("the listener is set up");
                accept(&listener, &counted, seen).await;
            });
        });
        Self {
            address,
            conditions,
            feeds,
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of connections so far that polled the feed.
    pub(crate) fn feeds(&self) -> usize {
        self.feeds.load(Ordering::Relaxed)
    }

    /// Sends new connections to another address.
    pub(crate) fn lead_to(&self, to: SocketAddr) {
        self.conditions.send_modify(|conditions| conditions.to = to);
    }

    /// Disturbs connections from now on, also those that are opened later.
    pub(crate) fn disturb(&self, disturbances: Vec<Disturbance>) {
        self.conditions
            .send_modify(|conditions| conditions.disturbances = disturbances);
    }

    /// Cuts connections that are open.
    pub(crate) fn cut(&self, which: Connections) {
        self.conditions.send_modify(|conditions| {
            conditions.cuts_of_feed += u64::from(which != Connections::Others);
            conditions.cuts_of_others += u64::from(which != Connections::Feed);
        });
    }

    /// Cuts all connections and refuses new ones.
    pub(crate) fn refuse(&self) {
        self.conditions.send_modify(|conditions| conditions.refuses = true);
        self.cut(Connections::All);
    }

    /// Ends all disturbances.
    pub(crate) fn heal(&self) {
        self.conditions.send_modify(|conditions| {
            conditions.refuses = false;
            conditions.disturbances.clear();
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.conditions.send_modify(|conditions| conditions.has_ended = true);
        if let Some(thread) = self.thread.take() {
            // A panic of the proxy has been printed.
            let _ = thread.join();
        }
    }
}

/// Accepts connections until the proxy is dropped.
async fn accept(listener: &TcpListener, feeds: &Arc<AtomicUsize>, mut conditions: watch::Receiver<Conditions>) {
    let stopwatch = Stopwatch::start();
    let seen = conditions.clone();
    let accepting = async {
        loop {
            let Ok((client, _)) = listener.accept().await else {
                continue;
            };
            let conditions = seen.borrow().clone();
            // A refused connection is closed when it is dropped.
            if !conditions.refuses {
                let link = Link {
                    is_feed: AtomicBool::new(false),
                    feeds: Arc::clone(feeds),
                    conditions: seen.clone(),
                    stopwatch: stopwatch.clone(),
                };
                tokio::spawn(link.carry(client, conditions));
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        _ = conditions.wait_for(|conditions| conditions.has_ended) => {}
    }
}

impl Link {
    /// Forwards both directions until both are closed or the connection is cut. `conditions` are those of its beginning.
    async fn carry(self, client: TcpStream, conditions: Conditions) {
        let Ok(server) = TcpStream::connect(conditions.to).await else {
            return;
        };
        for stream in [&client, &server] {
            // Only the delay suffers if it can't be set.
            let _ = stream.set_nodelay(true);
        }
        let link = Arc::new(self);
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let carried = async {
            tokio::join!(
                link.pass(from_client, to_server, Direction::Requests),
                link.pass(from_server, to_client, Direction::Answers),
            )
        };
        tokio::select! {
            _ = carried => {}
            () = link.is_cut(conditions) => {}
        }
    }

    /// Waits until the connection is cut.
    async fn is_cut(&self, mut before: Conditions) {
        let cuts = |conditions: &Conditions| {
            if self.is_feed.load(Ordering::Relaxed) {
                conditions.cuts_of_feed
            } else {
                conditions.cuts_of_others
            }
        };
        let mut conditions = self.conditions.clone();
        loop {
            let now = conditions.borrow_and_update().clone();
            if cuts(&now) != cuts(&before) {
                return;
            }
            before = now;
            // The sender outlives the proxy's thread.
            if conditions.changed().await.is_err() {
                return;
            }
        }
    }

    /// Forwards one direction. Bytes that were read before the sender closed are delivered nevertheless.
    async fn pass(&self, from: OwnedReadHalf, to: OwnedWriteHalf, direction: Direction) {
        let (queue, queued) = mpsc::channel(QUEUE);
        tokio::join!(self.read(from, queue, direction), self.write(to, queued, direction));
    }

    async fn read(&self, mut from: OwnedReadHalf, queue: mpsc::Sender<(Moment, Vec<u8>)>, direction: Direction) {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut chunks = 0;
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let bytes = &buffer[..length];
            if direction == Direction::Requests && chunks < CHUNKS_SEARCHED {
                chunks += 1;
                let is_poll = bytes.windows(FEED_POLL.len()).any(|window| window == FEED_POLL);
                if is_poll && !self.is_feed.swap(true, Ordering::Relaxed) {
                    self.feeds.fetch_add(1, Ordering::Relaxed);
                }
            }
            if queue.send((self.stopwatch.now(), bytes.to_vec())).await.is_err() {
                return;
            }
        }
    }

    async fn write(&self, mut to: OwnedWriteHalf, mut queued: mpsc::Receiver<(Moment, Vec<u8>)>, direction: Direction) {
        let mut conditions = self.conditions.clone();
        while let Some((arrived, bytes)) = queued.recv().await {
            loop {
                let disturbance = self.disturbance(&conditions.borrow_and_update(), direction);
                let Some(delay) = disturbance else { break };
                let left = delay.map(|delay| arrived.plus(delay).since(self.stopwatch.now()));
                match left {
                    Some(Duration::ZERO) => break,
                    Some(left) => tokio::select! {
                        () = sleep(left) => {}
                        _ = conditions.changed() => {}
                    },
                    None if conditions.changed().await.is_err() => return,
                    None => {}
                }
            }
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The other side may have closed first.
        let _ = to.shutdown().await;
    }

    /// Returns the delay of bytes in this direction, if there is a disturbance.
    fn disturbance(&self, conditions: &Conditions, direction: Direction) -> Option<Option<Duration>> {
        let is_feed = self.is_feed.load(Ordering::Relaxed);
        let concerned = |disturbance: &&Disturbance| {
            disturbance.direction == direction
                && match disturbance.connections {
                    Connections::All => true,
                    Connections::Feed => is_feed,
                    Connections::Others => !is_feed,
                }
        };
        conditions
            .disturbances
            .iter()
            .find(concerned)
            .map(|disturbance| disturbance.delay)
    }
}
