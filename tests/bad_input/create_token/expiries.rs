//! Rows of expiry times and lifetimes of new tokens.

use prost::Message;
use prost_types::{Duration, Timestamp};
use tokend_client::v1::{CreateTokenRequest, create_token_request::Expiry};

use crate::case::{Aspect, Expect, Rows, fields};

/// The seconds of 0001-01-01 and of 10000-01-01.
const YEAR_1: i64 = -62_135_596_800;

const YEAR_10000: i64 = 253_402_300_800;

/// The longest `google.protobuf.Duration`.
const TEN_THOUSAND_YEARS: i64 = 315_576_000_000;

/// A lifetime that ends before the year 10000.
const LONG: i64 = 251_000_000_000;

pub(crate) fn expiries(rows: &mut Rows<'_, CreateTokenRequest>) {
    let ttl = |seconds, nanos| Some(Expiry::Ttl(Duration { seconds, nanos }));
    let at = |seconds, nanos| Some(Expiry::ExpireTime(Timestamp { seconds, nanos }));
    let (no_ttl, no_time) = (|| fields(&["ttl"]), || fields(&["expire_time"]));
    for (field, aspect, what, expiry, expect) in [
        ("ttl", Aspect::Empty, "no choice at all", None, fields(&["expiry"])),
        (
            "expire_time",
            Aspect::Empty,
            "no choice at all",
            None,
            fields(&["expiry"]),
        ),
        (
            "no_expiry",
            Aspect::Smallest,
            "false",
            Some(Expiry::NoExpiry(false)),
            fields(&["no_expiry"]),
        ),
        (
            "no_expiry",
            Aspect::Largest,
            "true",
            Some(Expiry::NoExpiry(true)),
            Expect::Accepted,
        ),
        ("ttl.seconds", Aspect::Empty, "zero", ttl(0, 0), no_ttl()),
        ("ttl.seconds", Aspect::Smallest, "one", ttl(1, 0), Expect::Accepted),
        ("ttl.seconds", Aspect::Smallest, "less than zero", ttl(-1, 0), no_ttl()),
        (
            "ttl.seconds",
            Aspect::Smallest,
            "the least",
            ttl(-TEN_THOUSAND_YEARS, 0),
            no_ttl(),
        ),
        (
            "ttl.seconds",
            Aspect::Smallest,
            "the least number",
            ttl(i64::MIN, i32::MIN),
            no_ttl(),
        ),
        (
            "ttl.seconds",
            Aspect::Largest,
            "almost to the year 10000",
            ttl(LONG, 0),
            Expect::Accepted,
        ),
        (
            "ttl.seconds",
            Aspect::TooLarge,
            "past the year 10000",
            ttl(YEAR_10000, 0),
            no_ttl(),
        ),
        (
            "ttl.seconds",
            Aspect::TooLarge,
            "ten thousand years",
            ttl(TEN_THOUSAND_YEARS, 0),
            no_ttl(),
        ),
        (
            "ttl.seconds",
            Aspect::TooLarge,
            "past ten thousand years",
            ttl(TEN_THOUSAND_YEARS + 1, 0),
            no_ttl(),
        ),
        (
            "ttl.seconds",
            Aspect::TooLarge,
            "the largest number",
            ttl(i64::MAX, 999_999_999),
            no_ttl(),
        ),
        ("ttl.nanos", Aspect::Empty, "zero", ttl(3_600, 0), Expect::Accepted),
        (
            "ttl.nanos",
            Aspect::Smallest,
            "one: less than a microsecond",
            ttl(0, 1),
            no_ttl(),
        ),
        (
            "ttl.nanos",
            Aspect::Smallest,
            "less than a microsecond",
            ttl(0, 999),
            no_ttl(),
        ),
        (
            "ttl.nanos",
            Aspect::Smallest,
            "a microsecond",
            ttl(0, 1_000),
            Expect::Accepted,
        ),
        ("ttl.nanos", Aspect::Smallest, "less than zero", ttl(0, -1), no_ttl()),
        (
            "ttl.nanos",
            Aspect::Smallest,
            "the least number",
            ttl(3_600, i32::MIN),
            no_ttl(),
        ),
        (
            "ttl.nanos",
            Aspect::Largest,
            "999,999,999",
            ttl(3_600, 999_999_999),
            Expect::Accepted,
        ),
        (
            "ttl.nanos",
            Aspect::TooLarge,
            "1,000,000,000",
            ttl(3_600, 1_000_000_000),
            no_ttl(),
        ),
        (
            "ttl.nanos",
            Aspect::TooLarge,
            "the largest number",
            ttl(3_600, i32::MAX),
            no_ttl(),
        ),
        (
            "ttl.nanos",
            Aspect::IllFormed,
            "of the other sign",
            ttl(1, -1),
            no_ttl(),
        ),
        (
            "ttl.nanos",
            Aspect::IllFormed,
            "of the other sign",
            ttl(-1, 1),
            no_ttl(),
        ),
        ("expire_time.seconds", Aspect::Empty, "zero", at(0, 0), no_time()),
        (
            "expire_time.seconds",
            Aspect::Smallest,
            "the year 1",
            at(YEAR_1, 0),
            no_time(),
        ),
        (
            "expire_time.seconds",
            Aspect::Smallest,
            "the year 0",
            at(YEAR_1 - 1, 999_999_999),
            no_time(),
        ),
        (
            "expire_time.seconds",
            Aspect::Smallest,
            "the least number",
            at(i64::MIN, 0),
            no_time(),
        ),
        (
            "expire_time.seconds",
            Aspect::IllFormed,
            "in milliseconds",
            at(1_900_000_000_000, 0),
            no_time(),
        ),
        (
            "expire_time.seconds",
            Aspect::IllFormed,
            "of this century, but past",
            at(1_600_000_000, 0),
            no_time(),
        ),
        (
            "expire_time.seconds",
            Aspect::Largest,
            "the end of the year 9999",
            at(YEAR_10000 - 1, 0),
            Expect::Accepted,
        ),
        (
            "expire_time.seconds",
            Aspect::TooLarge,
            "the year 10000",
            at(YEAR_10000, 0),
            no_time(),
        ),
        (
            "expire_time.seconds",
            Aspect::TooLarge,
            "the largest number",
            at(i64::MAX, i32::MAX),
            no_time(),
        ),
        (
            "expire_time.nanos",
            Aspect::Empty,
            "zero",
            at(4_000_000_000, 0),
            Expect::Accepted,
        ),
        (
            "expire_time.nanos",
            Aspect::Smallest,
            "one",
            at(4_000_000_000, 1),
            Expect::Accepted,
        ),
        (
            "expire_time.nanos",
            Aspect::Smallest,
            "less than zero",
            at(4_000_000_000, -1),
            no_time(),
        ),
        (
            "expire_time.nanos",
            Aspect::Smallest,
            "the least number",
            at(4_000_000_000, i32::MIN),
            no_time(),
        ),
        (
            "expire_time.nanos",
            Aspect::Largest,
            "999,999,999",
            at(4_000_000_000, 999_999_999),
            Expect::Accepted,
        ),
        (
            "expire_time.nanos",
            Aspect::Largest,
            "the last moment",
            at(YEAR_10000 - 1, 999_999_999),
            Expect::Accepted,
        ),
        (
            "expire_time.nanos",
            Aspect::TooLarge,
            "1,000,000,000",
            at(4_000_000_000, 1_000_000_000),
            no_time(),
        ),
        (
            "expire_time.nanos",
            Aspect::TooLarge,
            "the largest number",
            at(4_000_000_000, i32::MAX),
            no_time(),
        ),
    ] {
        rows.row(field, aspect, what, |request| request.expiry = expiry, expect);
    }
    // Of several choices on the wire the last one counts.
    let forever = Expiry::NoExpiry(true);
    for (field, first, last, expect) in [
        (
            "ttl",
            Expiry::Ttl(Duration { seconds: -1, nanos: 0 }),
            forever,
            Expect::Accepted,
        ),
        (
            "expire_time",
            Expiry::ExpireTime(Timestamp {
                seconds: YEAR_10000,
                nanos: 0,
            }),
            forever,
            Expect::Accepted,
        ),
        (
            "no_expiry",
            forever,
            Expiry::Ttl(Duration { seconds: -1, nanos: 0 }),
            fields(&["ttl"]),
        ),
    ] {
        let only = |expiry| {
            CreateTokenRequest {
                expiry: Some(expiry),
                ..Default::default()
            }
            .encode_to_vec()
        };
        let request = [rows.good().encode_to_vec(), only(first), only(last)].concat();
        rows.raw(field, Aspect::Duplicate, "another choice behind it", request, expect);
    }
}
