//! Which server gets a call: of those that can be reached, the one with the fewest open calls.
//!
//! A server that can't be reached gets no calls until a connection in the background succeeds, so that no call waits
//! for it. That is why this is not tower's balancer: there, a server that fails at once has the fewest open calls, and
//! attracts the most.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tonic::transport::{Channel, Endpoint};

use crate::random;

/// The pauses between attempts to reach a server again.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// A server that calls may be sent to.
pub(crate) struct Server {
    /// Where the server is; nothing if its host's name is resolved with each connection.
    at: Option<SocketAddr>,
    endpoint: Endpoint,
    channel: ArcSwapOption<Channel>,
    open_calls: AtomicUsize,
    is_down: AtomicBool,
}

/// The servers.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    servers: ArcSwap<Vec<Arc<Server>>>,
    /// Where the next search begins, so that idle servers take turns.
    next: AtomicUsize,
}

/// A server that was chosen for a call. Its call is open until this is dropped.
pub(crate) struct Chosen(Arc<Server>);

impl Server {
    /// A server whose connection is opened by the first call.
    pub(crate) fn lazy(at: Option<SocketAddr>, endpoint: Endpoint) -> Self {
        let channel = endpoint.connect_lazy();
        Self::connected(at, endpoint, channel)
    }

    /// A server that gets calls once a connection to it is open.
    pub(crate) fn connecting(at: Option<SocketAddr>, endpoint: Endpoint) -> Arc<Self> {
        let server = Arc::new(Self::lazy(at, endpoint));
        server.is_down.store(true, Ordering::Relaxed);
        tokio::spawn(bring_up(Arc::downgrade(&server), Duration::ZERO));
        server
    }

    /// A server with an open connection.
    pub(crate) fn connected(at: Option<SocketAddr>, endpoint: Endpoint, channel: Channel) -> Self {
        Self {
            at,
            endpoint,
            channel: ArcSwapOption::from_pointee(channel),
            open_calls: AtomicUsize::new(0),
            is_down: AtomicBool::new(false),
        }
    }
}

impl Balance {
    pub(crate) fn new(servers: Vec<Arc<Server>>) -> Self {
        Self {
            servers: ArcSwap::from_pointee(servers),
            next: AtomicUsize::new(0),
        }
    }

    /// Chooses a server; of those that are down only if all are. Returns nothing only if there are no servers.
    pub(crate) fn choose(&self) -> Option<Chosen> {
        let servers = self.servers.load();
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = || (0..servers.len()).map(|offset| &servers[(start.wrapping_add(offset)) % servers.len()]);
        let least = |server: &&Arc<Server>| server.open_calls.load(Ordering::Relaxed);
        let up = in_turn()
            .filter(|server| !server.is_down.load(Ordering::Relaxed))
            .min_by_key(least);
        let server = up.or_else(|| in_turn().min_by_key(least))?;
        server.open_calls.fetch_add(1, Ordering::Relaxed);
        Some(Chosen(Arc::clone(server)))
    }

    /// Returns how many servers there are, and how many of them can be reached.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let servers = self.servers.load();
        let up = servers.iter().filter(|server| !server.is_down.load(Ordering::Relaxed));
        (servers.len(), up.count())
    }

    /// Replaces the servers. Those that stay keep their connections.
    pub(crate) fn replace(&self, servers: impl IntoIterator<Item = (SocketAddr, Endpoint)>) {
        let before = self.servers.load_full();
        let servers = servers.into_iter().map(|(at, endpoint)| {
            let known = before.iter().find(|server| server.at == Some(at));
            known.map_or_else(|| Arc::new(Server::lazy(Some(at), endpoint)), Arc::clone)
        });
        self.servers.store(Arc::new(servers.collect()));
    }

    /// Sends no calls to `chosen`, which could not be reached or did not respond, until a connection to it succeeds.
    pub(crate) fn take_down(&self, chosen: &Chosen) {
        let is_alone = self.servers.load().len() == 1;
        // The only server gets all calls anyway, and each call tries to connect.
        if !is_alone && !chosen.0.is_down.swap(true, Ordering::Relaxed) {
            tokio::spawn(bring_up(Arc::downgrade(&chosen.0), FIRST_PAUSE));
        }
    }
}

/// Connects until that succeeds, or the server is no longer used.
async fn bring_up(server: Weak<Server>, mut pause: Duration) {
    loop {
        tokio::time::sleep(pause.mul_f64(0.5 + random::fraction() / 2.0)).await;
        pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        let Some(endpoint) = server.upgrade().map(|server| server.endpoint.clone()) else {
            return;
        };
        let connected = endpoint.connect().await;
        let (Ok(channel), Some(server)) = (connected, server.upgrade()) else {
            continue;
        };
        server.channel.store(Some(Arc::new(channel)));
        server.is_down.store(false, Ordering::Relaxed);
        return;
    }
}

impl Chosen {
    /// Returns the connection to the server.
    pub(crate) fn channel(&self) -> Channel {
        match self.0.channel.load_full() {
            Some(channel) => (*channel).clone(),
            None => self.0.endpoint.connect_lazy(),
        }
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        self.0.open_calls.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("at", &self.at)
            .field("is_down", &self.is_down)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn at(port: u16) -> (SocketAddr, Endpoint) {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        (at, Endpoint::from_shared(format!("http://{at}")).expect("an endpoint"))
    }

    fn balance(ports: impl IntoIterator<Item = u16>) -> Balance {
        let servers = ports.into_iter().map(at);
        Balance::new(
            servers
                .map(|(at, endpoint)| Arc::new(Server::lazy(Some(at), endpoint)))
                .collect(),
        )
    }

    fn port(chosen: &Chosen) -> u16 {
        chosen.0.at.expect("an address").port()
    }

    #[tokio::test]
    async fn idle_servers_take_turns() {
        let balance = balance([1, 2, 3]);
        let mut ports: Vec<_> = (0..6).map(|_| port(&balance.choose().expect("a server"))).collect();
        ports.sort_unstable();
        assert_eq!(ports, [1, 1, 2, 2, 3, 3]);
    }

    #[tokio::test]
    async fn the_server_with_the_fewest_open_calls_is_chosen() {
        let balance = balance([1, 2, 3]);
        let mut open: Vec<_> = (0..3).map(|_| balance.choose().expect("a server")).collect();
        let free = port(&open.remove(1));
        for _ in 0..3 {
            assert_eq!(port(&balance.choose().expect("a server")), free);
        }
    }

    #[tokio::test]
    async fn a_server_that_is_down_gets_calls_only_if_all_are() {
        let balance = balance([1, 2]);
        let first = balance.choose().expect("a server");
        balance.take_down(&first);
        let down = port(&first);
        drop(first);
        assert_eq!(balance.counts(), (2, 1));
        for _ in 0..4 {
            assert_ne!(port(&balance.choose().expect("a server")), down);
        }
        balance.take_down(&balance.choose().expect("a server"));
        assert!(balance.choose().is_some());
        assert!(Balance::default().choose().is_none());
    }

    #[tokio::test]
    async fn servers_that_stay_are_kept() {
        let balance = balance([1, 2]);
        let before = balance.servers.load_full();
        balance.replace([at(2), at(3)]);
        let after = balance.servers.load_full();
        assert!(Arc::ptr_eq(&before[1], &after[0]));
        assert_eq!(after[1].at.map(|at| at.port()), Some(3));
    }
}
