//! `TokenAdmin.CreateToken`: what is refused makes no token, what is accepted reads back exactly.

mod grants;
mod words;

use std::{collections::BTreeMap, net::Ipv6Addr};

use bytes::Bytes;
use prost::{Message, encoding::WireType};
use prost_types::{Duration, Timestamp};
use tokend_client::v1::{
    CreateTokenRequest, CreateTokenResponse, ErrorReason, IdentifyTokenRequest, Token, create_token_request::Expiry, token,
};
use tokend_tests::{Installation, on_both_databases, token_in};
use tonic::Code;

use crate::{
    case::{Aspect, Case, Expect, Rows, fields, refused},
    descriptors,
    names::chosen_names,
    run::{World, run, same},
    values::{ALL_SCOPES, Values},
};

on_both_databases!(tokens, a_request_id_makes_one_token, what_does_not_fit_is_told_at_once_and_not_without_end);

const CREATE: &str = "TokenAdmin/CreateToken";

/// The seconds of 0001-01-01 and of 10000-01-01.
const YEAR_1: i64 = -62_135_596_800;
const YEAR_10000: i64 = 253_402_300_800;
/// The longest `google.protobuf.Duration`.
const TEN_THOUSAND_YEARS: i64 = 315_576_000_000;
/// Shorter than from now to the year 10000 for a while to come.
const LONG: i64 = 251_000_000_000;

async fn tokens(installation: Installation) {
    run(installation, cases, read_back).await;
}

pub(crate) fn cases(values: &Values) -> Vec<Case> {
    let mut rows = Rows::of(CREATE, token_in(&values.acme));
    let missing = || refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
    let mut parent = rows.field("parent", |request, value: String| request.parent = value);
    chosen_names(&mut parent, values, "workspaces", &values.acme, &missing);
    words::texts(&mut rows, values);
    grants::scopes(&mut rows, values);
    grants::resources(&mut rows, values);
    expiries(&mut rows);
    grants::networks(&mut rows, values);
    words::labels(&mut rows, values);
    request_ids(&mut rows, values);
    rows.row("validate_only", Aspect::Smallest, "no", |request| request.validate_only = false, Expect::Accepted);
    rows.row("validate_only", Aspect::Largest, "yes", |request| request.validate_only = true, Expect::Rehearsed);
    let rehearse = |request: &mut CreateTokenRequest| {
        request.validate_only = true;
        request.request_id = "rehearsed".to_owned();
    };
    rows.row("validate_only", Aspect::Largest, "yes, with a request id", rehearse, Expect::Rehearsed);
    let rehearse = |request: &mut CreateTokenRequest| {
        request.validate_only = true;
        request.display_name.clear();
    };
    rows.row("validate_only", Aspect::IllFormed, "yes, without a name", rehearse, fields(&["display_name"]));
    rows.finish()
}

fn expiries(rows: &mut Rows<'_, CreateTokenRequest>) {
    let ttl = |seconds, nanos| Some(Expiry::Ttl(Duration { seconds, nanos }));
    let at = |seconds, nanos| Some(Expiry::ExpireTime(Timestamp { seconds, nanos }));
    let (no_ttl, no_time) = (|| fields(&["ttl"]), || fields(&["expire_time"]));
    for (field, aspect, what, expiry, expect) in [
        ("ttl", Aspect::Empty, "no choice at all", None, fields(&["expiry"])),
        ("expire_time", Aspect::Empty, "no choice at all", None, fields(&["expiry"])),
        ("no_expiry", Aspect::Smallest, "false", Some(Expiry::NoExpiry(false)), fields(&["no_expiry"])),
        ("no_expiry", Aspect::Largest, "true", Some(Expiry::NoExpiry(true)), Expect::Accepted),
        ("ttl.seconds", Aspect::Empty, "zero", ttl(0, 0), no_ttl()),
        ("ttl.seconds", Aspect::Smallest, "one", ttl(1, 0), Expect::Accepted),
        ("ttl.seconds", Aspect::Smallest, "less than zero", ttl(-1, 0), no_ttl()),
        ("ttl.seconds", Aspect::Smallest, "the least", ttl(-TEN_THOUSAND_YEARS, 0), no_ttl()),
        ("ttl.seconds", Aspect::Smallest, "the least number", ttl(i64::MIN, i32::MIN), no_ttl()),
        ("ttl.seconds", Aspect::Largest, "almost to the year 10000", ttl(LONG, 0), Expect::Accepted),
        ("ttl.seconds", Aspect::TooLarge, "past the year 10000", ttl(YEAR_10000, 0), no_ttl()),
        ("ttl.seconds", Aspect::TooLarge, "ten thousand years", ttl(TEN_THOUSAND_YEARS, 0), no_ttl()),
        ("ttl.seconds", Aspect::TooLarge, "past ten thousand years", ttl(TEN_THOUSAND_YEARS + 1, 0), no_ttl()),
        ("ttl.seconds", Aspect::TooLarge, "the largest number", ttl(i64::MAX, 999_999_999), no_ttl()),
        ("ttl.nanos", Aspect::Empty, "zero", ttl(3_600, 0), Expect::Accepted),
        ("ttl.nanos", Aspect::Smallest, "one: less than a microsecond", ttl(0, 1), no_ttl()),
        ("ttl.nanos", Aspect::Smallest, "less than a microsecond", ttl(0, 999), no_ttl()),
        ("ttl.nanos", Aspect::Smallest, "a microsecond", ttl(0, 1_000), Expect::Accepted),
        ("ttl.nanos", Aspect::Smallest, "less than zero", ttl(0, -1), no_ttl()),
        ("ttl.nanos", Aspect::Smallest, "the least number", ttl(3_600, i32::MIN), no_ttl()),
        ("ttl.nanos", Aspect::Largest, "999,999,999", ttl(3_600, 999_999_999), Expect::Accepted),
        ("ttl.nanos", Aspect::TooLarge, "1,000,000,000", ttl(3_600, 1_000_000_000), no_ttl()),
        ("ttl.nanos", Aspect::TooLarge, "the largest number", ttl(3_600, i32::MAX), no_ttl()),
        ("ttl.nanos", Aspect::IllFormed, "of the other sign", ttl(1, -1), no_ttl()),
        ("ttl.nanos", Aspect::IllFormed, "of the other sign", ttl(-1, 1), no_ttl()),
        ("expire_time.seconds", Aspect::Empty, "zero", at(0, 0), no_time()),
        ("expire_time.seconds", Aspect::Smallest, "the year 1", at(YEAR_1, 0), no_time()),
        ("expire_time.seconds", Aspect::Smallest, "the year 0", at(YEAR_1 - 1, 999_999_999), no_time()),
        ("expire_time.seconds", Aspect::Smallest, "the least number", at(i64::MIN, 0), no_time()),
        ("expire_time.seconds", Aspect::IllFormed, "in milliseconds", at(1_900_000_000_000, 0), no_time()),
        ("expire_time.seconds", Aspect::IllFormed, "of this century, but past", at(1_600_000_000, 0), no_time()),
        ("expire_time.seconds", Aspect::Largest, "the end of the year 9999", at(YEAR_10000 - 1, 0), Expect::Accepted),
        ("expire_time.seconds", Aspect::TooLarge, "the year 10000", at(YEAR_10000, 0), no_time()),
        ("expire_time.seconds", Aspect::TooLarge, "the largest number", at(i64::MAX, i32::MAX), no_time()),
        ("expire_time.nanos", Aspect::Empty, "zero", at(4_000_000_000, 0), Expect::Accepted),
        ("expire_time.nanos", Aspect::Smallest, "one", at(4_000_000_000, 1), Expect::Accepted),
        ("expire_time.nanos", Aspect::Smallest, "less than zero", at(4_000_000_000, -1), no_time()),
        ("expire_time.nanos", Aspect::Smallest, "the least number", at(4_000_000_000, i32::MIN), no_time()),
        ("expire_time.nanos", Aspect::Largest, "999,999,999", at(4_000_000_000, 999_999_999), Expect::Accepted),
        ("expire_time.nanos", Aspect::Largest, "the last moment", at(YEAR_10000 - 1, 999_999_999), Expect::Accepted),
        ("expire_time.nanos", Aspect::TooLarge, "1,000,000,000", at(4_000_000_000, 1_000_000_000), no_time()),
        ("expire_time.nanos", Aspect::TooLarge, "the largest number", at(4_000_000_000, i32::MAX), no_time()),
    ] {
        rows.row(field, aspect, what, |request| request.expiry = expiry, expect);
    }
    // Of several choices on the wire the last one counts.
    let forever = Expiry::NoExpiry(true);
    for (field, first, last, expect) in [
        ("ttl", Expiry::Ttl(Duration { seconds: -1, nanos: 0 }), forever, Expect::Accepted),
        ("expire_time", Expiry::ExpireTime(Timestamp { seconds: YEAR_10000, nanos: 0 }), forever, Expect::Accepted),
        ("no_expiry", forever, Expiry::Ttl(Duration { seconds: -1, nanos: 0 }), fields(&["ttl"])),
    ] {
        let only = |expiry| CreateTokenRequest { expiry: Some(expiry), ..Default::default() }.encode_to_vec();
        let request = [rows.good().encode_to_vec(), only(first), only(last)].concat();
        rows.raw(field, Aspect::Duplicate, "another choice behind it", request, expect);
    }
}

fn request_ids(rows: &mut Rows<'_, CreateTokenRequest>, values: &Values) {
    let mut id = rows.field("request_id", |request, value: String| request.request_id = value);
    id.good(Aspect::Empty, "none", "");
    id.good(Aspect::Smallest, "one character", "x");
    id.good(Aspect::Largest, "36 characters", "~".repeat(36));
    id.good(Aspect::Largest, "a UUID", "0190b1a4-6c1e-7cc3-9d4f-0a1b2c3d4e5f");
    id.good(Aspect::Largest, "a blank", " ");
    id.bad(Aspect::TooLarge, "37 characters", "~".repeat(37));
    id.bad(Aspect::TooLarge, "a UUID in braces", "{0190b1a4-6c1e-7cc3-9d4f-0a1b2c3d4e5f}");
    for text in ["é", "a\u{7f}", "\u{1f}", "\u{a0}", "x\u{0}", "a\n", "\t", "日本"] {
        id.bad(Aspect::IllFormed, format!("{text:?}"), text);
    }
    id.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    id.last_counts("\u{1b}", "the-last-one");
    id.hostile(&["{}"], |value, _| {
        let fits = value.len() <= 36 && value.chars().all(|char| matches!(char, ' '..='~'));
        if fits { Expect::Accepted } else { fields(&["request_id"]) }
    });
}

async fn read_back(world: &World, Case { request, expect, .. }: &Case, answer: Bytes) -> Result<(), String> {
    let asked = CreateTokenRequest::decode(request.clone()).expect("a request");
    let CreateTokenResponse { token, secret } = CreateTokenResponse::decode(answer).expect("an answer");
    let told = token.ok_or("it is not told")?;
    let is_rehearsal = matches!(expect, Expect::Rehearsed);
    let created = told.create_time.ok_or("it was never made")?;
    let ends = match asked.expiry.ok_or("it has no end")? {
        Expiry::NoExpiry(_) => None,
        Expiry::ExpireTime(Timestamp { seconds, nanos }) => Some(Timestamp { seconds, nanos: cut(nanos) }),
        Expiry::Ttl(Duration { seconds, nanos }) => {
            let nanos = created.nanos + cut(nanos);
            Some(Timestamp { seconds: created.seconds + seconds + i64::from(nanos / 1_000_000_000), nanos: nanos % 1_000_000_000 })
        }
    };
    let wanted = Token {
        workspace: asked.parent.clone(),
        resource: if asked.resource.is_empty() { asked.parent.clone() } else { asked.resource },
        display_name: asked.display_name,
        description: asked.description,
        scopes: ALL_SCOPES.iter().map(ToString::to_string).filter(|scope| asked.scopes.contains(scope)).collect(),
        allowed_cidrs: asked.allowed_cidrs.iter().map(|text| canonical(text)).collect(),
        labels: asked.labels,
        creator: told.creator.clone(),
        expire_time: ends,
        requested_expire_time: ends,
        // What the service adds.
        name: told.name.clone(),
        hint: told.hint.clone(),
        state: told.state,
        effective_scopes: told.effective_scopes.clone(),
        create_time: told.create_time,
        ..Default::default()
    };
    same("what was made", &told, &wanted)?;
    same("whether there is a secret", secret.is_empty(), is_rehearsal)?;
    same("whether there is a name", told.name.is_empty(), is_rehearsal)?;
    if is_rehearsal {
        return Ok(());
    }
    // A microsecond may be over by now.
    let without_state = |token: Token| Token { state: token::State::Unspecified.into(), ..token };
    let got = world.server.get_token(&told.name).await;
    same("what GetToken tells", without_state(got), without_state(told.clone()))?;
    let identified = world.server.admin().token_admin().identify_token(IdentifyTokenRequest { secret }).await;
    let identified = identified.map_err(|status| status.to_string())?.into_inner().token.ok_or("it is not told")?;
    same("what IdentifyToken tells", without_state(identified), without_state(told))
}

/// Nanoseconds as the service keeps them.
const fn cut(nanos: i32) -> i32 {
    nanos / 1_000 * 1_000
}

/// A network as the service tells it: IPv6 as RFC 5952 has it, IPv4-mapped ones as IPv4.
fn canonical(text: &str) -> String {
    let (address, length) = text.split_once('/').expect("it was accepted");
    let Ok(v6) = address.parse::<Ipv6Addr>() else { return text.to_owned() };
    let length: u8 = length.parse().expect("it was accepted");
    match (v6.to_ipv4_mapped(), length.checked_sub(96)) {
        (Some(v4), Some(length)) => format!("{v4}/{length}"),
        _ => format!("{v6}/{length}"),
    }
}

async fn a_request_id_makes_one_token(installation: Installation) {
    let world = World::of(&installation).await;
    let create = async |request: &CreateTokenRequest| {
        let answer = world.send(CREATE, request.encode_to_vec().into()).await;
        answer.map(|answer| CreateTokenResponse::decode(answer).expect("an answer"))
    };
    let first = CreateTokenRequest { request_id: "' OR 1=1; --".to_owned(), ..token_in(&world.values.acme) };
    let made = create(&first).await.expect("it is made");
    let again = create(&first).await.expect("it is told again");
    assert_eq!((again.token, again.secret.as_str()), (made.token, ""));
    // Fields that tokend does not know of do not make it another request.
    let unknown = [first.encode_to_vec(), descriptors::keyed(1_000, WireType::Varint, &[1])].concat();
    world.send(CREATE, unknown.into()).await.expect("it is told again");

    let changes: [fn(&mut CreateTokenRequest); 8] = [
        |request| request.display_name.push('x'),
        |request| request.description.push('x'),
        |request| request.scopes.push("webhook".to_owned()),
        |request| request.resource = "workspaces/acme/site".to_owned(),
        |request| request.expiry = Some(Expiry::NoExpiry(true)),
        |request| request.allowed_cidrs.push("::/0".to_owned()),
        |request| drop(request.labels.insert("a".to_owned(), String::new())),
        |request| request.scopes.swap_remove(0).clear(),
    ];
    let (mut ok, mut secrets) = (0, Vec::new());
    for change in changes {
        let mut other = CreateTokenRequest { scopes: vec!["runner".to_owned(), "repository:write".to_owned()], ..first.clone() };
        change(&mut other);
        match create(&other).await {
            Ok(made) => {
                ok += 1;
                secrets.push(made.secret);
            }
            Err(status) => {
                let named = vec!["request_id".to_owned()];
                let reason = ErrorReason::RequestIdReused;
                crate::refusal::check(&status, Code::InvalidArgument, reason, &named, world.values.secrets())
                    .expect("it is refused");
            }
        }
    }
    // The last change asks for what the first request asked for.
    assert_eq!((ok, secrets.concat().as_str()), (1, ""));
}

async fn what_does_not_fit_is_told_at_once_and_not_without_end(installation: Installation) {
    let world = World::of(&installation).await;
    let request = CreateTokenRequest {
        parent: "\u{202e}".repeat(100),
        display_name: "\u{1b}".repeat(100),
        description: "\u{1b}".repeat(1_000),
        scopes: vec!["\u{202e}".repeat(1_000)],
        resource: "\u{1b}".repeat(1_000),
        expiry: None,
        allowed_cidrs: vec!["\u{202e}".repeat(250); 64],
        labels: BTreeMap::from([("\u{202e}".repeat(1_000), String::new())]),
        request_id: "\u{1b}".repeat(1_000),
        validate_only: false,
    };
    let status = world.send(CREATE, request.encode_to_vec().into()).await.expect_err("nothing of it fits");
    let failure = tokend_client::Failure::from(status.clone());
    let named: Vec<_> = failure.fields.iter().map(|violation| violation.field.clone()).collect();
    let (reason, secrets) = (ErrorReason::InvalidField, world.values.secrets());
    crate::refusal::check(&status, Code::InvalidArgument, reason, &named, secrets).expect("it is short enough for a header");
    assert!(named.len() > 6, "{named:?}");
    assert!(named.iter().any(|field| field == "allowed_cidrs[0]"), "{named:?}");
}
