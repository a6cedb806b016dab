use std::{
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// A TCP proxy on this machine, which delays new connections, sends them elsewhere, or cuts those that are open.
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
    has_ended: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Route {
    to: SocketAddr,
    delay: Duration,
}

impl Proxy {
    /// A proxy whose connections lead to `to` after `delay`.
    ///
    /// # Panics
    /// If there is no free port.
    #[must_use]
    pub fn start(to: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let address = listener.local_addr().expect("it has an address");
        let route = Mutex::new(Route { to, delay });
        let shared = Arc::new(Shared { route, open: Mutex::default(), has_ended: AtomicBool::new(false) });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(&listener));
        Self { address, shared }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends new connections to `to`.
    pub fn lead_to(&self, to: SocketAddr) {
        lock(&self.shared.route).to = to;
    }

    /// Cuts the connections that are open.
    pub fn cut(&self) {
        self.shared.cut();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Release);
        self.shared.cut();
        // The listener notices by one more connection.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for accepted in listener.incoming() {
            if self.has_ended.load(Ordering::Acquire) {
                return;
            }
            let (Ok(client), shared) = (accepted, Arc::clone(self)) else { continue };
            thread::spawn(move || shared.connect(client));
        }
    }

    /// Connects a client. An error means that one side has gone, which closes the other.
    fn connect(&self, client: TcpStream) {
        let Route { to, delay } = *lock(&self.route);
        thread::sleep(delay);
        let Ok(server) = TcpStream::connect(to) else { return };
        let copies = || Ok::<_, io::Error>((client.try_clone()?, server.try_clone()?));
        let (Ok(kept), Ok(upwards)) = (copies(), copies()) else { return };
        lock(&self.open).extend([kept.0, kept.1]);
        let upwards = thread::spawn(move || pass(upwards.0, upwards.1));
        pass(server, client);
        let _ = upwards.join();
    }

    fn cut(&self) {
        for stream in lock(&self.open).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Passes bytes on until one side closes, then closes the other.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
