//! Drives one connection from its first byte to its end.
//!
//! Its life has three parts, each with a deadline: opening (the TLS handshake and the preface), serving (up to the
//! connection's age), and closing, which begins with a GOAWAY. hyper then ends the connection as soon as the peer has
//! acknowledged the GOAWAY and every request in flight is answered. A connection that outlives the deadline is dropped.

use std::future::poll_fn;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::pin::{Pin, pin};
use std::task::Context;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use super::opening;
use super::poll_clock::PollClock;
use super::preface::Opened;
use super::{ConnectionService, Peer, PeerAddress, TransportSettings};

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Its handshake or its preface was wrong or took too long.
    NotOpened,
    /// The peer left or broke the protocol, or did not answer a keepalive PING.
    Closed,
    /// After a GOAWAY, with nothing in flight.
    Drained,
    /// After a GOAWAY, at its deadline.
    Cut,
}

/// Serves one connection until it ends.
pub(super) async fn drive<S: ConnectionService>(
    socket: TcpStream,
    mut peer: Peer,
    age: Duration,
    service: S,
    settings: &TransportSettings,
    stop: &CancellationToken,
) -> Ending {
    let address = peer.address;
    let opened = tokio::select! {
        biased;
        () = stop.cancelled() => return Ending::Drained,
        opened = timeout(settings.preface_timeout, opening::open(socket, settings.tls.as_ref())) => opened,
    };
    let io = match opened {
        Ok(Ok((io, certificate))) => {
            peer.certificate = certificate;
            io
        }
        Ok(Err(error)) => {
            tracing::debug!(peer = %address.0, %error, "connection closed: it did not open");
            return Ending::NotOpened;
        }
        Err(_) => {
            tracing::debug!(peer = %address.0, "connection closed: it did not open in time");
            return Ending::NotOpened;
        }
    };

    let activity = Activity::default();
    let io = TokioIo::new(Opened::new(io, activity.clone()));
    let service = service.of(peer.clone());
    let clock = PollClock::new();
    let builder = builder(settings, activity.clone(), clock.clone());
    let mut connection = pin!(builder.serve_connection(io, service));
    let poll = |connection: Pin<&mut _>, cx: &mut Context<'_>| {
        clock.read();
        Future::poll(connection, cx)
    };

    let closing = tokio::select! {
        ended = poll_fn(|cx| poll(connection.as_mut(), cx)) => {
            if let Err(error) = ended {
                tracing::debug!(peer = %address.0, %error, "connection ended");
            }
            return Ending::Closed;
        }
        () = sleep(age) => Closing::OfAge,
        () = peer.distrusted() => Closing::Distrusted,
        () = stop.cancelled() => Closing::ShuttingDown,
    };

    connection.as_mut().graceful_shutdown();
    let ending = tokio::select! {
        _ended = poll_fn(|cx| poll(connection.as_mut(), cx)) => Ending::Drained,
        () = activity.quiet(settings.quiet) => Ending::Drained,
        () = closing.time_over(settings, stop) => Ending::Cut,
    };
    tracing::debug!(peer = %address.0, ?closing, ?ending, "connection ended");
    ending
}

/// Returns the age at which a connection gets its GOAWAY: [`TransportSettings::connection_age`] with jitter.
///
/// Jitter must spread out connections that were opened together, but need not be unpredictable. So it is a hash of the
/// peer's address and of the connection's number instead of a random number, and the same on every run.
pub(super) fn age(settings: &TransportSettings, peer: PeerAddress, number: usize) -> Duration {
    const STEPS: u64 = 2_000;
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((peer, number));
    let spread = (hash % (STEPS + 1)) as f64 / (STEPS / 2) as f64 - 1.0;
    let jitter = f64::from(settings.connection_age_jitter_percent) / 100.0;
    settings.connection_age.mul_f64(1.0 + jitter * spread)
}

/// The reason for a connection's GOAWAY.
#[derive(Debug, Clone, Copy)]
enum Closing {
    OfAge,
    /// The CA of its client certificate has been replaced: the peer has to reconnect with a certificate of the new one.
    Distrusted,
    ShuttingDown,
}

impl Closing {
    /// Completes when the connection must be dropped. A shutdown never lengthens the grace of an aged connection.
    async fn time_over(self, settings: &TransportSettings, stop: &CancellationToken) {
        let drained = async {
            stop.cancelled().await;
            sleep(settings.drain).await;
        };
        match self {
            Self::ShuttingDown => drained.await,
            Self::OfAge | Self::Distrusted => tokio::select! {
                () = sleep(settings.connection_age_grace) => {}
                () = drained => {}
            },
        }
    }
}

fn builder(settings: &TransportSettings, activity: Activity, clock: PollClock) -> http2::Builder<Activity> {
    let mut builder = http2::Builder::new(activity);
    builder
        .timer(clock)
        .adaptive_window(false)
        .initial_stream_window_size(settings.stream_window_bytes)
        .initial_connection_window_size(settings.connection_window_bytes)
        .max_concurrent_streams(settings.max_concurrent_streams)
        .max_header_list_size(settings.max_header_list_bytes)
        .max_send_buf_size(settings.send_buffer_bytes)
        .keep_alive_interval(settings.keepalive_interval)
        .keep_alive_timeout(settings.keepalive_timeout)
        .max_local_error_reset_streams(settings.max_local_error_reset_streams)
        .max_pending_accept_reset_streams(settings.max_pending_accept_reset_streams);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_keep_within_the_jitter_and_spread_over_it() {
        let settings = TransportSettings::default();
        let peer = PeerAddress(([127, 0, 0, 1], 4321).into());
        let ages: Vec<f64> = (0..1_000)
            .map(|number| age(&settings, peer, number).as_secs_f64())
            .collect();
        assert!(ages.iter().all(|age| (270.0..=330.0).contains(age)));
        assert!(ages.iter().any(|age| *age < 275.0));
        assert!(ages.iter().any(|age| *age > 325.0));
    }

    #[test]
    fn without_jitter_every_connection_gets_the_same_age() {
        let settings = TransportSettings {
            connection_age_jitter_percent: 0,
            ..TransportSettings::default()
        };
        let peer = PeerAddress(([127, 0, 0, 1], 4321).into());
        assert_eq!(age(&settings, peer, 7), settings.connection_age);
    }
}
