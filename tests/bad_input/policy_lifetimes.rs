//! `WorkspaceAdmin.UpdateTokenPolicy`: which lifetimes are refused.

use prost_types::Duration;
use tokend_client::v1::UpdateTokenPolicyRequest;

use crate::{
    case::{Aspect, Expect, Rows, fields},
    policy_selections::policy,
};

pub(crate) fn lifetimes(rows: &mut Rows<'_, UpdateTokenPolicyRequest>) {
    const MOST: i64 = 36_500 * 24 * 60 * 60;
    type Set = fn(&mut UpdateTokenPolicyRequest, Option<Duration>);
    let max: Set = |request, span| policy(request).max_lifetime = span;
    let default: Set = |request, span| {
        policy(request).max_lifetime = None;
        policy(request).default_lifetime = span;
    };
    let span = |seconds, nanos| Some(Duration { seconds, nanos });
    let spans = [
        ("", Aspect::Empty, "none", None, true),
        (".seconds", Aspect::Empty, "zero", span(0, 0), false),
        (".seconds", Aspect::Smallest, "one", span(1, 0), true),
        (".seconds", Aspect::Smallest, "less than zero", span(-1, 0), false),
        (
            ".seconds",
            Aspect::Smallest,
            "the least number",
            span(i64::MIN, 0),
            false,
        ),
        (".seconds", Aspect::Largest, "36,500 days", span(MOST, 0), true),
        (".seconds", Aspect::TooLarge, "a second more", span(MOST + 1, 0), false),
        (
            ".seconds",
            Aspect::TooLarge,
            "ten thousand years",
            span(315_576_000_000, 0),
            false,
        ),
        (
            ".seconds",
            Aspect::TooLarge,
            "the largest number",
            span(i64::MAX, i32::MAX),
            false,
        ),
        (".nanos", Aspect::Empty, "zero", span(60, 0), true),
        (
            ".nanos",
            Aspect::Smallest,
            "less than a microsecond",
            span(0, 999),
            false,
        ),
        (".nanos", Aspect::Smallest, "a microsecond", span(0, 1_000), true),
        (".nanos", Aspect::Smallest, "less than zero", span(60, -1), false),
        (
            ".nanos",
            Aspect::Smallest,
            "the least number",
            span(60, i32::MIN),
            false,
        ),
        (".nanos", Aspect::Largest, "999,999,999", span(60, 999_999_999), true),
        (
            ".nanos",
            Aspect::TooLarge,
            "1,000,000,000",
            span(60, 1_000_000_000),
            false,
        ),
        (
            ".nanos",
            Aspect::TooLarge,
            "a microsecond more than 36,500 days",
            span(MOST, 1_000),
            false,
        ),
        (
            ".nanos",
            Aspect::TooLarge,
            "the largest number",
            span(60, i32::MAX),
            false,
        ),
        (".nanos", Aspect::IllFormed, "of the other sign", span(-1, 1), false),
    ];
    for (field, set) in [("policy.max_lifetime", max), ("policy.default_lifetime", default)] {
        for (part, aspect, what, span, fits) in spans {
            let expect = if fits { Expect::Accepted } else { fields(&[field]) };
            rows.row(
                &format!("{field}{part}"),
                aspect,
                what,
                |request| set(request, span),
                expect,
            );
        }
    }
    for (what, seconds, expect) in [
        ("as long as the longest", 60, Expect::Accepted),
        ("longer than the longest", 61, fields(&["policy.default_lifetime"])),
    ] {
        let change = |request: &mut UpdateTokenPolicyRequest| {
            let policy = policy(request);
            (policy.max_lifetime, policy.default_lifetime) = (span(60, 0), span(seconds, 0));
        };
        rows.row("policy.default_lifetime.seconds", Aspect::Largest, what, change, expect);
    }
}
