//! The limits of connections, each with its default and its range.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Duration;

use crate::tls;

/// The limits of connections.
///
/// The defaults are meant for a service behind a load balancer; tests shorten the times. [`serve`](super::serve)
/// refuses a number that is out of the range given here.
#[derive(Debug, Clone)]
pub struct TransportSettings {
    /// Serving threads, each with a runtime of its own (1 to 1024). Default: one per core that this process may use.
    pub workers: NonZeroUsize,

    /// Connections open at once, over all workers (1 or more). Those beyond are accepted and closed at once. One caller
    /// may have a quarter of them: its others count as connections on which nobody has authenticated. Default: 16,384.
    pub max_connections: usize,

    /// Connections open at once on which nobody has authenticated yet (1 or more). One more closes the oldest of them.
    /// Default: 1,024.
    pub max_unauthenticated: usize,

    /// The same from one source, an IPv4 address or an IPv6 /64 (1 or more). Behind a proxy all peers are one source.
    /// Default: 64.
    pub max_unauthenticated_per_source: usize,

    /// TLS on every connection; plaintext if absent. Default: absent.
    pub tls: Option<tls::Acceptor>,

    /// Time in which a new connection must have ended its TLS handshake, if there is one, and sent the whole HTTP/2
    /// preface (above 0). Default: 5 s.
    pub preface_timeout: Duration,

    /// Age at which a connection gets its GOAWAY, so that peers spread over replicas that came up later (above 0).
    /// Default: 5 min.
    pub connection_age: Duration,

    /// How far each connection's age may lie from `connection_age`, in percent (0 to 50), so that connections opened
    /// together do not end together. Default: 10.
    pub connection_age_jitter_percent: u8,

    /// Time that the requests of an aged connection have to end after its GOAWAY, before it is dropped (above 0).
    /// Default: 30 s.
    pub connection_age_grace: Duration,

    /// Time that all requests in flight have to end after shutdown began, before their connections are dropped (above
    /// 0). Default: 15 s, which leaves 5 of the 20 s in which the process has to be gone.
    pub drain: Duration,

    /// A connection that was sent GOAWAY and has no request in flight is dropped once no byte moved on it for this long
    /// (above 0).
    ///
    /// A live peer acknowledges the GOAWAY in one round trip and the connection ends by itself. Without this setting,
    /// every peer that is gone or mute would hold up a shutdown for the whole of `drain`. Default: 2 s.
    pub quiet: Duration,

    /// Streams that a peer may have open at once on one connection (1 or more): `SETTINGS_MAX_CONCURRENT_STREAMS`.
    /// Default: 128.
    pub max_concurrent_streams: u32,

    /// Bytes of one request's header list as counted by `SETTINGS_MAX_HEADER_LIST_SIZE` (1 or more). A longer one is
    /// answered with status 431. Default: 8 KiB.
    pub max_header_list_bytes: u32,

    /// Flow-control window of one stream, in bytes (1 to 2^31 - 1). Default: 64 KiB.
    pub stream_window_bytes: u32,

    /// Flow-control window of one connection, in bytes (65,535 to 2^31 - 1: HTTP/2 can't lower it). Default: 256 KiB.
    pub connection_window_bytes: u32,

    /// Bytes of a response that one stream may buffer for a peer that reads slowly (1 to 2^32 - 1). Default: 64 KiB.
    pub send_buffer_bytes: usize,

    /// A connection on which nothing arrived for this long is sent a PING (above 0). Default: 30 s.
    pub keepalive_interval: Duration,

    /// Time in which a PING must be answered, or else the connection is closed (above 0). Default: 10 s.
    pub keepalive_timeout: Duration,

    /// Streams that may end in an error of the peer's making, over a connection's life, before it is closed (1 or
    /// more).
    ///
    /// Bounds what malformed HEADERS can cost (the MadeYouReset and rapid reset family, CVE-2023-44487). Default:
    /// 1,024, as hyper.
    pub max_local_error_reset_streams: usize,

    /// Streams that a peer may have reset before their request was looked at, before the connection is closed (1 or
    /// more). Default: 20, as h2.
    pub max_pending_accept_reset_streams: usize,
}

/// A setting outside its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the limit `{name}` must be {range}")]
pub struct OutOfRange {
    /// The field's name in [`TransportSettings`].
    pub name: &'static str,
    /// The range, in words.
    pub range: &'static str,
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self {
            workers: available_parallelism().unwrap_or(NonZeroUsize::MIN),
            max_connections: 16_384,
            max_unauthenticated: 1_024,
            max_unauthenticated_per_source: 64,
            tls: None,
            preface_timeout: Duration::from_secs(5),
            connection_age: Duration::from_secs(5 * 60),
            connection_age_jitter_percent: 10,
            connection_age_grace: Duration::from_secs(30),
            drain: Duration::from_secs(15),
            quiet: Duration::from_secs(2),
            max_concurrent_streams: 128,
            max_header_list_bytes: 8 * 1024,
            stream_window_bytes: 64 * 1024,
            connection_window_bytes: 256 * 1024,
            send_buffer_bytes: 64 * 1024,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            max_local_error_reset_streams: 1024,
            max_pending_accept_reset_streams: 20,
        }
    }
}

impl TransportSettings {
    /// Checks every range.
    ///
    /// # Errors
    ///
    /// Names the first field that is out of its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        const MAX_WINDOW: u32 = (1 << 31) - 1;
        let durations = [
            ("preface_timeout", self.preface_timeout),
            ("connection_age", self.connection_age),
            ("connection_age_grace", self.connection_age_grace),
            ("drain", self.drain),
            ("quiet", self.quiet),
            ("keepalive_interval", self.keepalive_interval),
            ("keepalive_timeout", self.keepalive_timeout),
        ]
        .map(|(name, time)| (name, "above 0", !time.is_zero()));
        let counts = [
            ("max_connections", self.max_connections),
            ("max_unauthenticated", self.max_unauthenticated),
            ("max_unauthenticated_per_source", self.max_unauthenticated_per_source),
            ("max_concurrent_streams", self.max_concurrent_streams as usize),
            ("max_header_list_bytes", self.max_header_list_bytes as usize),
            ("max_local_error_reset_streams", self.max_local_error_reset_streams),
            (
                "max_pending_accept_reset_streams",
                self.max_pending_accept_reset_streams,
            ),
        ]
        .map(|(name, count)| (name, "1 or more", count > 0));
        let ranges = [
            ("workers", "1 to 1024", self.workers.get() <= 1024),
            (
                "connection_age_jitter_percent",
                "0 to 50",
                self.connection_age_jitter_percent <= 50,
            ),
            (
                "stream_window_bytes",
                "1 to 2^31 - 1",
                (1..=MAX_WINDOW).contains(&self.stream_window_bytes),
            ),
            (
                "connection_window_bytes",
                "65,535 to 2^31 - 1",
                (65_535..=MAX_WINDOW).contains(&self.connection_window_bytes),
            ),
            (
                "send_buffer_bytes",
                "1 to 2^32 - 1",
                self.send_buffer_bytes > 0 && u32::try_from(self.send_buffer_bytes).is_ok(),
            ),
        ];
        durations
            .into_iter()
            .chain(counts)
            .chain(ranges)
            .find(|(_, _, holds)| !holds)
            .map_or(Ok(()), |(name, range, _)| Err(OutOfRange { name, range }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_range() {
        assert_eq!(TransportSettings::default().check(), Ok(()));
    }

    #[test]
    fn a_number_out_of_range_is_named() {
        let refused = |settings: TransportSettings| settings.check().map_err(|error| error.name);
        let zero_drain = TransportSettings {
            drain: Duration::ZERO,
            ..TransportSettings::default()
        };
        assert_eq!(refused(zero_drain), Err("drain"));
        let huge_window = TransportSettings {
            stream_window_bytes: 1 << 31,
            ..TransportSettings::default()
        };
        assert_eq!(refused(huge_window), Err("stream_window_bytes"));
        let no_connections = TransportSettings {
            max_connections: 0,
            ..TransportSettings::default()
        };
        assert_eq!(refused(no_connections), Err("max_connections"));
    }
}
