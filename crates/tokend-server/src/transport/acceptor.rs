//! Takes connections from the listener and hands them to the workers.
//!
//! No error of accept ends the loop. An error about one connection is ignored. Any other, such as too many open files,
//! would recur at once, so the loop pauses before it tries again. Log lines about refused connections and failures are
//! rate-limited: a peer that causes them could otherwise fill the disk.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::TcpStream;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::unauthenticated::UnauthenticatedConnections;
use super::worker::Workers;

/// The first pause after a failed accept; it doubles up to [`LONGEST_PAUSE`].
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The shortest time between two log lines of one kind.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Accepts connections until it is dropped. `poll_accept` is the listener's own; a test passes a failing one.
pub(super) async fn run(
    mut poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>>,
    workers: &Workers,
    max_connections: usize,
    unauthenticated: &Arc<UnauthenticatedConnections>,
) {
    let mut refusals = LogLimit::new();
    let mut failures = LogLimit::new();
    let mut pause = SHORTEST_PAUSE;
    let mut accepted: usize = 0;
    loop {
        match poll_fn(&mut poll_accept).await {
            Ok((socket, peer)) => {
                pause = SHORTEST_PAUSE;
                if workers.connections() >= max_connections {
                    if let Some(more) = refusals.permit() {
                        tracing::warn!(%peer, more, max_connections, "connection refused: too many are open");
                    }
                    continue;
                }
                accepted = accepted.wrapping_add(1);
                let place = unauthenticated.add(peer.ip().into());
                if let Err(error) = workers.hand_over(socket, peer, accepted, place)
                    && let Some(more) = failures.permit()
                {
                    tracing::warn!(%peer, more, %error, "connection could not be handed to a worker");
                }
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if let Some(more) = failures.permit() {
                    tracing::error!(more, %error, "accept failed");
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Returns whether the error is about the connection that was to be accepted, so that the next accept may succeed.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Lets one log line through per [`LOG_INTERVAL`] and counts the others.
struct LogLimit {
    lines: Interval,
    withheld: u64,
}

impl LogLimit {
    fn new() -> Self {
        let mut lines = interval(LOG_INTERVAL);
        lines.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { lines, withheld: 0 }
    }

    /// Returns how many lines were withheld before this one, or `None` if this one must be withheld, too.
    fn permit(&mut self) -> Option<u64> {
        if self.lines.tick().now_or_never().is_none() {
            self.withheld += 1;
            return None;
        }
        Some(std::mem::take(&mut self.withheld))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;
    use crate::transport::TransportSettings;
    use crate::transport::worker::tests::Unanswered;

    const EMFILE: i32 = 24;

    #[tokio::test(start_paused = true)]
    async fn without_file_descriptors_it_waits_and_then_goes_on() {
        let settings = Arc::new(TransportSettings::default());
        let workers = Workers::start(&Unanswered, &settings).await.expect("workers start");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let attempts = Cell::new(0);
        let exhausted = Cell::new(true);
        let accept = |cx: &mut Context<'_>| {
            attempts.set(attempts.get() + 1);
            assert!(attempts.get() < 1_000, "the loop spins");
            if exhausted.get() {
                Poll::Ready(Err(io::Error::from_raw_os_error(EMFILE)))
            } else {
                listener.poll_accept(cx)
            }
        };
        let unauthenticated = UnauthenticatedConnections::new(10, 10);
        let mut acceptor = std::pin::pin!(run(accept, &workers, 10, &unauthenticated));

        let minute = timeout(Duration::from_secs(60), acceptor.as_mut()).await;
        assert!(minute.is_err(), "the loop ended");
        let tried = attempts.get();
        assert!((60..=70).contains(&tried), "{tried} attempts in a minute");

        exhausted.set(false);
        let _peer = TcpStream::connect(address).await.expect("connect");
        tokio::select! {
            () = acceptor => unreachable!("the loop ended"),
            () = async {
                while workers.connections() == 0 {
                    sleep(Duration::from_millis(1)).await;
                }
            } => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_gets_one_line_per_interval() {
        let mut limit = LogLimit::new();
        assert_eq!(limit.permit(), Some(0));
        assert_eq!(limit.permit(), None);
        assert_eq!(limit.permit(), None);
        tokio::time::advance(LOG_INTERVAL).await;
        assert_eq!(limit.permit(), Some(2));
        assert_eq!(limit.permit(), None);
    }
}
