//! `TokenAdmin.RotateToken`: a refused request replaces no token, and an accepted one reads back exactly.

use bytes::Bytes;
use prost::Message;
use prost_types::{Duration, Timestamp};
use tokend_client::v1::{ErrorReason, RotateTokenRequest, RotateTokenResponse, Token, rotate_token_request::Expiry};
use tokend_tests::{Installation, on_both_databases, token_in};
use tonic::Code;

use crate::{
    case::{Aspect, Case, Expect, Rows, fields, refused},
    names::credential_names,
    run::{World, run_in, same},
    values::Values,
};

on_both_databases!(rotations);

const ROTATE: &str = "TokenAdmin/RotateToken";

/// Tokens to rotate: one for each accepted row.
const VICTIMS: usize = 160;

/// Unix seconds of 10000-01-01, a lifetime that ends after it, and the longest `google.protobuf.Duration`.
const YEAR_10000: i64 = 253_402_300_800;
const TOO_LONG: i64 = 300_000_000_000;
const TEN_THOUSAND_YEARS: i64 = 315_576_000_000;
/// The longest overlap.
const THIRTY_DAYS: i64 = 30 * 24 * 3_600;
/// A lifetime that ends before the year 10000.
const LONG: i64 = 251_000_000_000;

async fn rotations(installation: Installation) {
    let mut world = World::of(&installation).await;
    for _ in 0..VICTIMS {
        let victim = world.server.token(token_in(&world.values.acme)).await.public.name;
        world.values.victims.push(victim);
    }
    run_in(&installation, &world, cases, read_back).await;
}

pub(crate) fn cases(values: &Values) -> Vec<Case> {
    let victims = &values.victims;
    // A token can be rotated once.
    let mut rows = Rows::of(ROTATE, RotateTokenRequest::default())
        .each_fresh(|request, row| request.name.clone_from(&victims[row % victims.len()]));
    request_ids(&mut rows, values);
    spans(&mut rows);
    times(&mut rows);
    let mut no_wait = rows.field("no_wait", |request, value| request.no_wait = value);
    no_wait.good(Aspect::Smallest, "no", false);
    no_wait.good(Aspect::Largest, "yes", true);
    let cases = rows.finish();
    assert!(cases.len() < VICTIMS, "there is a token for each row: {}", cases.len());

    // These rows use one token, because a repeated request ID replays the rotation.
    let request_id = "one rotation".to_owned();
    let mut named = Rows::of(
        ROTATE,
        RotateTokenRequest {
            request_id,
            ..Default::default()
        },
    );
    let mut name = named.field("name", |request, value: String| request.name = value);
    let no_token = || refused(Code::NotFound, ErrorReason::TokenNotFound);
    credential_names(
        &mut name,
        values,
        "workspaces",
        "tokens",
        victims.last().expect("there are victims"),
        &no_token,
    );
    [cases, named.finish()].concat()
}

fn request_ids(rows: &mut Rows<'_, RotateTokenRequest>, values: &Values) {
    let mut id = rows.field("request_id", |request, value: String| request.request_id = value);
    id.good(Aspect::Empty, "none", "");
    id.good(Aspect::Smallest, "one character", "q");
    id.good(Aspect::Largest, "36 characters", "~".repeat(36));
    id.bad(Aspect::TooLarge, "37 characters", "~".repeat(37));
    for text in ["é", "a\u{7f}", "\u{a0}", "x\u{0}", "a\n", "日本"] {
        id.bad(Aspect::IllFormed, format!("{text:?}"), text);
    }
    id.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    id.last_counts("\u{1b}", "the-last-one");
    id.hostile(&["{}"], |value, _| {
        let fits = value.len() <= 36 && value.chars().all(|char| matches!(char, ' '..='~'));
        if fits {
            Expect::Accepted
        } else {
            fields(&["request_id"])
        }
    });
}

/// Rows of the lifetime and the overlap; only the overlap may be zero.
fn spans(rows: &mut Rows<'_, RotateTokenRequest>) {
    let set_overlap = |request: &mut RotateTokenRequest, span| request.overlap = span;
    let set_ttl = |request: &mut RotateTokenRequest, span: Option<Duration>| request.expiry = span.map(Expiry::Ttl);
    for (field, may_be_zero, most, set) in [
        (
            "overlap",
            true,
            THIRTY_DAYS,
            set_overlap as fn(&mut RotateTokenRequest, Option<Duration>),
        ),
        ("ttl", false, LONG, set_ttl),
    ] {
        let of_zero = || {
            if may_be_zero {
                Expect::Accepted
            } else {
                fields(&[field])
            }
        };
        let bad = || fields(&[field]);
        let of_long = |field| {
            if field == "overlap" {
                fields(&[field])
            } else {
                Expect::Accepted
            }
        };
        let (seconds, nanos) = (format!("{field}.seconds"), format!("{field}.nanos"));
        rows.row(
            field,
            Aspect::Empty,
            "not chosen",
            |request| set(request, None),
            Expect::Accepted,
        );
        for (part, aspect, what, span, expect) in [
            (&seconds, Aspect::Empty, "zero", (0, 0), of_zero()),
            (&seconds, Aspect::Smallest, "one", (1, 0), Expect::Accepted),
            (&seconds, Aspect::Smallest, "less than zero", (-1, 0), bad()),
            (
                &seconds,
                Aspect::Smallest,
                "the least number",
                (i64::MIN, i32::MIN),
                bad(),
            ),
            (
                &seconds,
                Aspect::Largest,
                "as long as it may be",
                (most, 0),
                Expect::Accepted,
            ),
            (
                &seconds,
                Aspect::TooLarge,
                "longer than any overlap",
                (THIRTY_DAYS + 1, 0),
                of_long(field),
            ),
            (
                &nanos,
                Aspect::TooLarge,
                "a microsecond longer than any overlap",
                (THIRTY_DAYS, 1_000),
                of_long(field),
            ),
            (&seconds, Aspect::TooLarge, "past the year 10000", (TOO_LONG, 0), bad()),
            (
                &seconds,
                Aspect::TooLarge,
                "past ten thousand years",
                (TEN_THOUSAND_YEARS + 1, 0),
                bad(),
            ),
            (
                &seconds,
                Aspect::TooLarge,
                "the largest number",
                (i64::MAX, 999_999_999),
                bad(),
            ),
            (&nanos, Aspect::Empty, "zero", (60, 0), Expect::Accepted),
            (&nanos, Aspect::Smallest, "less than a microsecond", (0, 999), of_zero()),
            (&nanos, Aspect::Smallest, "a microsecond", (0, 1_000), Expect::Accepted),
            (&nanos, Aspect::Smallest, "less than zero", (60, -1), bad()),
            (
                &nanos,
                Aspect::Largest,
                "999,999,999",
                (60, 999_999_999),
                Expect::Accepted,
            ),
            (&nanos, Aspect::TooLarge, "1,000,000,000", (60, 1_000_000_000), bad()),
            (&nanos, Aspect::TooLarge, "the largest number", (60, i32::MAX), bad()),
        ] {
            let span = Duration {
                seconds: span.0,
                nanos: span.1,
            };
            rows.row(part, aspect, what, |request| set(request, Some(span)), expect);
        }
    }
}

fn times(rows: &mut Rows<'_, RotateTokenRequest>) {
    let at = |seconds, nanos| Some(Expiry::ExpireTime(Timestamp { seconds, nanos }));
    let bad = || fields(&["expire_time"]);
    for (field, aspect, what, expiry, expect) in [
        ("expire_time", Aspect::Empty, "no choice at all", None, Expect::Accepted),
        ("expire_time.seconds", Aspect::Empty, "zero", at(0, 0), bad()),
        (
            "expire_time.seconds",
            Aspect::Smallest,
            "of this century, but past",
            at(1_600_000_000, 0),
            bad(),
        ),
        (
            "expire_time.seconds",
            Aspect::Smallest,
            "the least number",
            at(i64::MIN, 0),
            bad(),
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
            bad(),
        ),
        (
            "expire_time.seconds",
            Aspect::TooLarge,
            "the largest number",
            at(i64::MAX, i32::MAX),
            bad(),
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
            "less than zero",
            at(4_000_000_000, -1),
            bad(),
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
            Aspect::TooLarge,
            "1,000,000,000",
            at(4_000_000_000, 1_000_000_000),
            bad(),
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
    ] {
        rows.row(field, aspect, what, |request| request.expiry = expiry, expect);
    }
}

async fn read_back(world: &World, Case { request, .. }: &Case, answer: Bytes) -> Result<(), String> {
    let asked = RotateTokenRequest::decode(request.clone()).expect("the request decodes");
    let RotateTokenResponse {
        token,
        predecessor,
        revision,
        ..
    } = RotateTokenResponse::decode(answer).expect("the response decodes");
    let (new, old) = (
        token.ok_or("the response has no token")?,
        predecessor.ok_or("the response has no predecessor")?,
    );
    same("whether there is a revision", revision.is_some(), true)?;
    same(
        "the predecessor",
        (&old.name, &old.rotated_to),
        (&asked.name, &new.name),
    )?;
    same(
        "the new token",
        (&new.rotated_from, &new.scopes),
        (&old.name, &old.scopes),
    )?;
    match asked.expiry {
        Some(Expiry::NoExpiry(_)) => same("the expiry", new.expire_time, None)?,
        Some(Expiry::ExpireTime(Timestamp { seconds, nanos })) => {
            same(
                "the expiry",
                new.expire_time,
                Some(Timestamp {
                    seconds,
                    nanos: nanos / 1_000 * 1_000,
                }),
            )?;
        }
        Some(Expiry::Ttl(Duration { seconds, nanos })) => same("the lifetime", span(&new)?, micros(seconds, nanos))?,
        None => same("the lifetime", span(&new)?, micros(3_600, 0))?,
    }
    let got = world.server.get_token(&new.name).await;
    // The state may change: a lifetime can be one microsecond.
    same(
        "the new token from GetToken",
        (&got.name, got.expire_time),
        (&new.name, new.expire_time),
    )?;
    same(
        "the predecessor from GetToken",
        world.server.get_token(&old.name).await.rotated_to,
        new.name,
    )
}

fn span(token: &Token) -> Result<i64, String> {
    let (start, end) = token
        .create_time
        .zip(token.expire_time)
        .ok_or("the token has no lifetime")?;
    Ok(micros(end.seconds, end.nanos) - micros(start.seconds, start.nanos))
}

const fn micros(seconds: i64, nanos: i32) -> i64 {
    seconds * 1_000_000 + nanos as i64 / 1_000
}
