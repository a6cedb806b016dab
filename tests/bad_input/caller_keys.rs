//! `CallerAdmin.CreateCallerKey`: which fields are refused.

use prost_types::Duration;
use tokend_client::v1::{CreateCallerKeyRequest, ErrorReason};
use tonic::Code;

use crate::{
    case::{Aspect, Case, Expect, Rows, fields, refused},
    names::chosen_names,
    values::Values,
};

const CREATE_KEY: &str = "CallerAdmin/CreateCallerKey";

pub(crate) fn of_keys(values: &Values) -> Vec<Case> {
    let base = CreateCallerKeyRequest {
        parent: values.keyless.clone(),
        ttl: None,
    };
    let mut rows = Rows::of(CREATE_KEY, base);
    let mut parent = rows.field("parent", |request, value: String| request.parent = value);
    let missing = || refused(Code::NotFound, ErrorReason::CallerNotFound);
    chosen_names(&mut parent, values, "callers", &values.keyless, &missing);
    parent.row(
        Aspect::Largest,
        "a caller with two keys",
        values.caller.clone(),
        refused(Code::ResourceExhausted, ErrorReason::TooManyCallerKeys),
    );
    // Seconds of 0001-01-01, 10000-01-01 and the longest duration.
    let span = |seconds, nanos| Some(Duration { seconds, nanos });
    let no_ttl = || fields(&["ttl"]);
    for (field, aspect, what, ttl, expect) in [
        ("ttl", Aspect::Empty, "none: 90 days", None, Expect::Accepted),
        ("ttl.seconds", Aspect::Empty, "zero", span(0, 0), no_ttl()),
        ("ttl.seconds", Aspect::Smallest, "one", span(1, 0), Expect::Accepted),
        ("ttl.seconds", Aspect::Smallest, "less than zero", span(-1, 0), no_ttl()),
        (
            "ttl.seconds",
            Aspect::Smallest,
            "the least number",
            span(i64::MIN, 0),
            no_ttl(),
        ),
        (
            "ttl.seconds",
            Aspect::Largest,
            "almost to the year 10000",
            span(251_000_000_000, 0),
            Expect::Accepted,
        ),
        (
            "ttl.seconds",
            Aspect::TooLarge,
            "past the year 10000",
            span(253_402_300_800, 0),
            no_ttl(),
        ),
        (
            "ttl.seconds",
            Aspect::TooLarge,
            "ten thousand years",
            span(315_576_000_000, 0),
            no_ttl(),
        ),
        (
            "ttl.seconds",
            Aspect::TooLarge,
            "past ten thousand years",
            span(315_576_000_001, 0),
            no_ttl(),
        ),
        (
            "ttl.seconds",
            Aspect::TooLarge,
            "the largest number",
            span(i64::MAX, i32::MAX),
            no_ttl(),
        ),
        ("ttl.nanos", Aspect::Empty, "zero", span(60, 0), Expect::Accepted),
        (
            "ttl.nanos",
            Aspect::Smallest,
            "less than a microsecond",
            span(0, 999),
            no_ttl(),
        ),
        (
            "ttl.nanos",
            Aspect::Smallest,
            "a microsecond",
            span(0, 1_000),
            Expect::Accepted,
        ),
        ("ttl.nanos", Aspect::Smallest, "less than zero", span(60, -1), no_ttl()),
        (
            "ttl.nanos",
            Aspect::Smallest,
            "the least number",
            span(60, i32::MIN),
            no_ttl(),
        ),
        (
            "ttl.nanos",
            Aspect::Largest,
            "999,999,999",
            span(60, 999_999_999),
            Expect::Accepted,
        ),
        (
            "ttl.nanos",
            Aspect::TooLarge,
            "1,000,000,000",
            span(60, 1_000_000_000),
            no_ttl(),
        ),
        (
            "ttl.nanos",
            Aspect::TooLarge,
            "the largest number",
            span(60, i32::MAX),
            no_ttl(),
        ),
        (
            "ttl.nanos",
            Aspect::IllFormed,
            "of the other sign",
            span(-1, 1),
            no_ttl(),
        ),
    ] {
        rows.row(field, aspect, what, |request| request.ttl = ttl, expect);
    }
    rows.finish()
}
