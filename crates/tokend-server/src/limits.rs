//! Every number that governs what callers are granted, with its default and its range. What connections are granted is in
//! [`transport::Settings`](crate::transport::Settings), how patient the store is in [`tokend_store::Settings`].

use std::time::Duration;

use crate::transport::OutOfRange;

/// What callers are granted, and for how long. [`Server::bind`](crate::server::Server::bind) refuses numbers outside the ranges given
/// here.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Time for a Verify or BatchVerify, from its head to the head of its answer (above 0). A client that gives less time, by
    /// `grpc-timeout`, gets that. Default: 1 s.
    pub verify_deadline: Duration,

    /// Time for any other call, and for the head of a stream (above 0), likewise. Default: 5 s.
    pub admin_deadline: Duration,

    /// Time for a call that revokes: RevokeToken, BatchRevokeTokens, RevokeLeakedTokens, RevokeCallerKey, DeleteCaller (above
    /// 0), likewise. Longer, because such a call is worth waiting for. Default: 30 s.
    pub revocation_deadline: Duration,

    /// Time in which the message of a call must have arrived once the caller is known (above 0); the call's own deadline holds besides.
    /// Until then a call takes no room from others. Default: 2 s.
    pub body_deadline: Duration,

    /// Calls under way on one connection (1 or more). More are RESOURCE_EXHAUSTED. Default: 64.
    pub max_in_flight_per_connection: usize,

    /// Calls under way in all, but for those that revoke, streams and health checks (1 or more); one caller may have three quarters of
    /// them. A call about many things counts as four. More are UNAVAILABLE. Default: 1,024.
    pub max_in_flight: usize,

    /// Calls that revoke under way in all (1 or more); one caller may have half of them, and a quarter is kept for ADMINs. They count
    /// nowhere else. More are UNAVAILABLE. Default: 256.
    pub max_revocations_in_flight: usize,

    /// Streams open in all, until they end: watches and reflection (1 or more); one caller may have half of them. They count nowhere
    /// else. More are UNAVAILABLE.
    /// Default: 10,000.
    pub max_streams: usize,

    /// Health watches open in all (1 or more). Apart from other streams, because nobody has to authenticate for one; a quarter is kept
    /// for connections on which somebody has. More are UNAVAILABLE. Default: 1,000.
    pub max_health_watches: usize,

    /// The same from one source, an IPv4 address or an IPv6 /64 (1 or more). Behind a proxy all peers are one source. Default: 100.
    pub max_health_watches_per_source: usize,

    /// Failed authentications that a source, an IPv4 address or an IPv6 /64, may have at once (1 or more). Its further ones are
    /// RESOURCE_EXHAUSTED; a right credential passes whatever its source did. Default: 500, more than a deployment with a key
    /// that has just expired makes before it notices.
    pub failed_authentications: u32,

    /// How many of them are forgiven in a minute (1 or more). Default: 60.
    pub failed_authentications_forgiven_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            verify_deadline: Duration::from_secs(1),
            admin_deadline: Duration::from_secs(5),
            revocation_deadline: Duration::from_secs(30),
            body_deadline: Duration::from_secs(2),
            max_in_flight_per_connection: 64,
            max_in_flight: 1_024,
            max_revocations_in_flight: 256,
            max_streams: 10_000,
            max_health_watches: 1_000,
            max_health_watches_per_source: 100,
            failed_authentications: 500,
            failed_authentications_forgiven_per_minute: 60,
        }
    }
}

impl Limits {
    /// Checks every range.
    ///
    /// # Errors
    /// Names the first field that is out of its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let Self {
            verify_deadline,
            admin_deadline,
            revocation_deadline,
            body_deadline,
            max_in_flight_per_connection,
            max_in_flight,
            max_revocations_in_flight,
            max_streams,
            max_health_watches,
            max_health_watches_per_source,
            failed_authentications,
            failed_authentications_forgiven_per_minute,
        } = self;
        let durations = [
            ("verify_deadline", verify_deadline),
            ("admin_deadline", admin_deadline),
            ("revocation_deadline", revocation_deadline),
            ("body_deadline", body_deadline),
        ]
        .map(|(name, time)| (name, "above 0", !time.is_zero()));
        let counts = [
            ("max_in_flight_per_connection", *max_in_flight_per_connection),
            ("max_in_flight", *max_in_flight),
            ("max_revocations_in_flight", *max_revocations_in_flight),
            ("max_streams", *max_streams),
            ("max_health_watches", *max_health_watches),
            ("max_health_watches_per_source", *max_health_watches_per_source),
        ]
        .map(|(name, count)| (name, "1 to 2^61 - 1", (1..1 << 61).contains(&count)));
        let rates = [
            ("failed_authentications", *failed_authentications),
            ("failed_authentications_forgiven_per_minute", *failed_authentications_forgiven_per_minute),
        ]
        .map(|(name, count)| (name, "1 or more", count > 0));
        let all = durations.into_iter().chain(counts).chain(rates);
        all.into_iter().find(|(_, _, holds)| !holds).map_or(Ok(()), |(name, range, _)| Err(OutOfRange { name, range }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_range() {
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn a_number_out_of_range_is_named() {
        let refused = |limits: Limits| limits.check().map_err(|error| error.name);
        assert_eq!(refused(Limits { admin_deadline: Duration::ZERO, ..Limits::default() }), Err("admin_deadline"));
        assert_eq!(refused(Limits { max_streams: 0, ..Limits::default() }), Err("max_streams"));
        assert_eq!(refused(Limits { max_in_flight: usize::MAX, ..Limits::default() }), Err("max_in_flight"));
        assert_eq!(refused(Limits { failed_authentications: 0, ..Limits::default() }), Err("failed_authentications"));
    }
}
