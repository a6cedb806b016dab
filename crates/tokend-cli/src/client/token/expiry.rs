//! The flags that choose when a token expires.

use prost_types::{Duration, Timestamp};
use tokend_client::v1::{create_token_request, rotate_token_request};

use crate::client::parse;

/// When the token expires. If no flag is given, none is sent, and the service applies its default.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub(super) struct Expiry {
    /// The token expires after this time, such as 30d, 12h or 90m
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    ttl: Option<Duration>,
    /// The token expires at this time in RFC 3339, such as 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    expire_time: Option<Timestamp>,
    /// The token never expires
    #[arg(long)]
    no_expiry: bool,
}

impl Expiry {
    pub(super) fn for_creation(self) -> Option<create_token_request::Expiry> {
        use create_token_request::Expiry as Chosen;
        let Self {
            ttl,
            expire_time,
            no_expiry,
        } = self;
        // clap accepts at most one of them.
        ttl.map(Chosen::Ttl)
            .or(expire_time.map(Chosen::ExpireTime))
            .or(no_expiry.then_some(Chosen::NoExpiry(true)))
    }

    pub(super) fn for_rotation(self) -> Option<rotate_token_request::Expiry> {
        use create_token_request::Expiry as Created;
        use rotate_token_request::Expiry as Rotated;
        self.for_creation().map(|chosen| match chosen {
            Created::Ttl(ttl) => Rotated::Ttl(ttl),
            Created::ExpireTime(time) => Rotated::ExpireTime(time),
            Created::NoExpiry(choice) => Rotated::NoExpiry(choice),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_flag_no_expiry_is_sent() {
        use create_token_request::Expiry as Created;
        use rotate_token_request::Expiry as Rotated;
        let span = Duration { seconds: 60, nanos: 0 };
        let end = Timestamp { seconds: 60, nanos: 0 };
        let expiry = |ttl, expire_time, no_expiry| Expiry {
            ttl,
            expire_time,
            no_expiry,
        };
        for (expiry, created, rotated) in [
            ((None, None, false), None, None),
            (
                (Some(span), None, false),
                Some(Created::Ttl(span)),
                Some(Rotated::Ttl(span)),
            ),
            (
                (None, Some(end), false),
                Some(Created::ExpireTime(end)),
                Some(Rotated::ExpireTime(end)),
            ),
            (
                (None, None, true),
                Some(Created::NoExpiry(true)),
                Some(Rotated::NoExpiry(true)),
            ),
        ]
        .map(|((ttl, time, none), created, rotated)| {
            ([expiry(ttl, time, none), expiry(ttl, time, none)], created, rotated)
        }) {
            let [one, other] = expiry;
            assert_eq!(one.for_creation(), created);
            assert_eq!(other.for_rotation(), rotated);
        }
    }
}
