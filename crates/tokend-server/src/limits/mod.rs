//! The limits on callers and their calls, each with its default and its range.
//!
//! The limits on connections are in [`TransportSettings`](crate::transport::TransportSettings), those on the database
//! in [`tokend_store::StoreSettings`], and those on the size of messages in the table of
//! [operations](crate::operation).

pub(crate) mod room;

use std::time::Duration;

use crate::transport::OutOfRange;

/// The limits on callers and their calls. [`Server::bind`](crate::server::Server::bind) refuses numbers outside
/// the ranges given here.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most time for a Verify or BatchVerify, from its head to the head of its answer (above 0). A client may set a
    /// shorter time in `grpc-timeout`. Default: 1 s.
    pub verify_deadline: Duration,

    /// Most time for any other call, and for the head of a stream (above 0). A client may set a shorter time. Default:
    /// 5 s.
    pub admin_deadline: Duration,

    /// Most time for a call that revokes, which is every operation whose traffic is
    /// [`Revocation`](crate::operation::Traffic::Revocation) (above 0). A client may set a shorter time. It is longer
    /// than the others because such a call is worth waiting for. Default: 30 s.
    pub revocation_deadline: Duration,

    /// Most time for the message of a call to arrive, counted from when the caller is known (above 0). The call's own
    /// deadline applies as well. Until its message is there, a call takes no room from others. Default: 2 s.
    pub body_deadline: Duration,

    /// Most calls at once on one connection (1 or more). Further ones fail with RESOURCE_EXHAUSTED. Default: 64.
    pub max_in_flight_per_connection: usize,

    /// Most calls at once in all, except revocations, streams and health checks (1 or more). One caller may have three
    /// quarters of them. A batch counts as four calls. Further ones fail with UNAVAILABLE. Default: 1,024.
    pub max_in_flight: usize,

    /// Most revocations at once in all (1 or more). One caller may have half of them, and a quarter is reserved for
    /// ADMINs. They count against no other limit. Further ones fail with UNAVAILABLE. Default: 256.
    pub max_revocations_in_flight: usize,

    /// Most open streams in all, which are watches and reflection (1 or more). One caller may have half of them. They
    /// count against no other limit. Further ones fail with UNAVAILABLE. Default: 10,000.
    pub max_streams: usize,

    /// Most open health watches in all (1 or more). They are limited apart from other streams, because nobody has to
    /// authenticate for one. A quarter is reserved for connections on which a caller has authenticated. Further ones
    /// fail with UNAVAILABLE. Default: 1,000.
    pub max_health_watches: usize,

    /// Most open health watches from one source, which is an IPv4 address or an IPv6 /64 (1 or more). Behind a proxy
    /// all peers are one source. Default: 100.
    pub max_health_watches_per_source: usize,

    /// Most failed authentications of one source at once (1 or more). Further ones fail with RESOURCE_EXHAUSTED. A
    /// valid credential is accepted whatever its source did before. Default: 500, more than a deployment whose key has
    /// just expired makes before somebody notices.
    pub failed_authentications: u32,

    /// Failed authentications of one source that stop counting each minute (1 or more). Default: 60.
    pub failed_authentications_forgiven_per_minute: u32,

    /// Most bytes that tokens take in memory (1 or more). Those that were not used for longest are forgotten first, and
    /// read from the database again. Default: 256 MiB.
    pub max_cache_bytes: usize,
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
            max_cache_bytes: 256 << 20,
        }
    }
}

/// Revocations wait longer than a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "with this lease, revocations take {wait:?}, and {deadline} allows a call only {allowed:?}; choose a shorter lease \
     (`tokend lease set`), or raise {deadline}_ms under [limits] on every server"
)]
pub struct WaitTooLong {
    wait: Duration,
    deadline: &'static str,
    allowed: Duration,
}

impl Limits {
    /// Checks that calls may take as long as changes wait.
    ///
    /// # Errors
    /// Names the deadline that is too short.
    pub fn check_wait(&self, wait: Duration) -> Result<(), WaitTooLong> {
        let deadlines = [
            ("admin_deadline", self.admin_deadline),
            ("revocation_deadline", self.revocation_deadline),
        ];
        match deadlines.into_iter().find(|(_, allowed)| *allowed <= wait) {
            None => Ok(()),
            Some((deadline, allowed)) => Err(WaitTooLong {
                wait,
                deadline,
                allowed,
            }),
        }
    }

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
            max_cache_bytes,
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
            ("max_cache_bytes", *max_cache_bytes),
        ]
        .map(|(name, count)| (name, "1 to 2^61 - 1", (1..1 << 61).contains(&count)));
        let rates = [
            ("failed_authentications", *failed_authentications),
            (
                "failed_authentications_forgiven_per_minute",
                *failed_authentications_forgiven_per_minute,
            ),
        ]
        .map(|(name, count)| (name, "1 or more", count > 0));
        let all = durations.into_iter().chain(counts).chain(rates);
        all.into_iter()
            .find(|(_, _, holds)| !holds)
            .map_or(Ok(()), |(name, range, _)| Err(OutOfRange { name, range }))
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
        assert_eq!(
            refused(Limits {
                admin_deadline: Duration::ZERO,
                ..Limits::default()
            }),
            Err("admin_deadline")
        );
        assert_eq!(
            refused(Limits {
                max_streams: 0,
                ..Limits::default()
            }),
            Err("max_streams")
        );
        assert_eq!(
            refused(Limits {
                max_in_flight: usize::MAX,
                ..Limits::default()
            }),
            Err("max_in_flight")
        );
        assert_eq!(
            refused(Limits {
                failed_authentications: 0,
                ..Limits::default()
            }),
            Err("failed_authentications")
        );
    }
}
