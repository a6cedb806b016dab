use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// A TCP proxy on this machine that can delay new connections, redirect them, cut the open ones, or hold back what is
/// sent over them.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    route: Mutex<Route>,
    /// The streams of both sides of each connection.
    open: Mutex<Vec<TcpStream>>,
    order: Mutex<Order>,
    /// Signals that there is a new order.
    reordered: Condvar,
    has_ended: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Route {
    to: SocketAddr,
    delay: Duration,
}

/// The current order to hold something back.
#[derive(Debug, Default)]
struct Order {
    /// The number of orders so far. What an earlier one held back is free.
    number: u64,
    /// What a client must send, in this order, for its connection to be held.
    texts: Vec<String>,
    direction: Direction,
    /// The number of connections that are held.
    held: usize,
}

/// The direction in which nothing is sent on a connection that is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Direction {
    #[default]
    ToServer,
    ToClient,
}

/// The search for the texts of an order on one connection.
#[derive(Default)]
struct Search {
    order: u64,
    /// The number of texts that were found.
    found: usize,
    /// The last bytes, in which the next text may begin.
    end: Vec<u8>,
}

/// Whether a connection is held: by which order, and in which direction.
type Hold = Mutex<Option<(u64, Direction)>>;

/// More than the length of any text in an order.
const LONGEST_TEXT: usize = 64;

impl Proxy {
    /// Starts a proxy that connects its clients to `to` after `delay`.
    ///
    /// # Panics
    /// If there is no free port.
    #[must_use]
    pub fn start(to: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("the listener has an address");
        let route = Mutex::new(Route { to, delay });
        let shared = Arc::new(Shared {
            route,
            open: Mutex::default(),
            order: Mutex::default(),
            reordered: Condvar::new(),
            has_ended: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(&listener));
        Self { address, shared }
    }

    /// Returns the address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends new connections to `to`.
    pub fn lead_to(&self, to: SocketAddr) {
        lock(&self.shared.route).to = to;
    }

    /// Cuts the connections that are open. What was held back on them is lost, and nothing is held back any more.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// From now on, holds a connection once its client has sent these texts, one after the other: the server gets what
    /// the client sends, and nothing that the server sends afterwards reaches the client.
    pub fn hold_answers_to(&self, texts: &[&str]) {
        self.shared.give_order(texts, Direction::ToClient);
    }

    /// From now on, holds a connection once its client has sent these texts, one after the other: the server gets
    /// neither the last text nor what follows it.
    pub fn hold_requests_with(&self, texts: &[&str]) {
        self.shared.give_order(texts, Direction::ToServer);
    }

    /// Returns the number of connections that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        lock(&self.shared.order).held
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Release);
        self.shared.cut();
        // One more connection wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for accepted in listener.incoming() {
            if self.has_ended.load(Ordering::Acquire) {
                return;
            }
            let (Ok(client), shared) = (accepted, Arc::clone(self)) else {
                continue;
            };
            thread::spawn(move || shared.connect(client));
        }
    }

    /// Connects a client. An error means that one side was closed, which closes the other.
    fn connect(&self, client: TcpStream) {
        let Route { to, delay } = *lock(&self.route);
        thread::sleep(delay);
        let Ok(server) = TcpStream::connect(to) else { return };
        let copies = || Ok::<_, io::Error>((client.try_clone()?, server.try_clone()?));
        let (Ok(kept), Ok(upwards)) = (copies(), copies()) else {
            return;
        };
        lock(&self.open).extend([kept.0, kept.1]);
        let hold = Hold::default();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut search = Search::default();
                pass(upwards.0, upwards.1, |bytes| {
                    self.look_for_texts(&mut search, bytes, &hold);
                    self.wait_while_held(&hold, Direction::ToServer);
                });
            });
            pass(server, client, |_| self.wait_while_held(&hold, Direction::ToClient));
        });
    }

    /// Holds the connection if these bytes complete the texts of the current order.
    fn look_for_texts(&self, search: &mut Search, bytes: &[u8], hold: &Hold) {
        let order = &mut *lock(&self.order);
        if search.order != order.number {
            *search = Search {
                order: order.number,
                ..Search::default()
            };
        }
        search.end.extend_from_slice(bytes);
        while let Some(text) = order.texts.get(search.found)
            && let Some(at) = position(&search.end, text.as_bytes())
        {
            search.end.drain(..at + text.len());
            search.found += 1;
            if search.found == order.texts.len() {
                *lock(hold) = Some((order.number, order.direction));
                order.held += 1;
            }
        }
        search.end.drain(..search.end.len().saturating_sub(LONGEST_TEXT));
    }

    /// Waits until the connection is not held in this direction.
    fn wait_while_held(&self, hold: &Hold, direction: Direction) {
        let mut order = lock(&self.order);
        while *lock(hold) == Some((order.number, direction)) {
            order = self.reordered.wait(order).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_order(&self, texts: &[&str], direction: Direction) {
        let mut order = lock(&self.order);
        *order = Order {
            number: order.number + 1,
            texts: texts.iter().map(ToString::to_string).collect(),
            direction,
            held: 0,
        };
        self.reordered.notify_all();
    }

    fn cut(&self) {
        for stream in lock(&self.open).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // After the connections are closed, so that nothing gets through.
        self.give_order(&[], Direction::ToClient);
    }
}

/// Forwards bytes until one side closes, then closes the other. Calls `before` with the bytes before it sends them.
fn pass(mut from: TcpStream, mut to: TcpStream, mut before: impl FnMut(&[u8])) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        before(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

fn position(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|found| found == text)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
