//! `TokenAdmin.CreateToken`: a refused request creates no token, and an accepted one reads back exactly.

use std::{collections::BTreeMap, net::Ipv6Addr};

use bytes::Bytes;
use prost::{Message, encoding::WireType};
use prost_types::{Duration, Timestamp};
use tokend_client::v1::{
    CreateTokenRequest, CreateTokenResponse, ErrorReason, IdentifyTokenRequest, Token, create_token_request::Expiry,
    token,
};
use tokend_tests::{Installation, on_both_databases, token_in};
use tonic::Code;

use crate::{
    case::{Aspect, Case, Expect, Rows, fields, refused},
    create_token::expiries::expiries,
    descriptors,
    names::chosen_names,
    run::{World, run, same},
    values::{ALL_SCOPES, Values},
};

mod expiries;
mod grants;

mod words;

on_both_databases!(
    tokens,
    a_request_id_creates_one_token,
    all_invalid_fields_are_reported_in_a_bounded_message,
);

const CREATE: &str = "TokenAdmin/CreateToken";

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
    rows.row(
        "validate_only",
        Aspect::Smallest,
        "no",
        |request| request.validate_only = false,
        Expect::Accepted,
    );
    rows.row(
        "validate_only",
        Aspect::Largest,
        "yes",
        |request| request.validate_only = true,
        Expect::DryRun,
    );
    let dry_run = |request: &mut CreateTokenRequest| {
        request.validate_only = true;
        request.request_id = "rehearsed".to_owned();
    };
    rows.row(
        "validate_only",
        Aspect::Largest,
        "yes, with a request id",
        dry_run,
        Expect::DryRun,
    );
    let dry_run = |request: &mut CreateTokenRequest| {
        request.validate_only = true;
        request.display_name.clear();
    };
    rows.row(
        "validate_only",
        Aspect::IllFormed,
        "yes, without a name",
        dry_run,
        fields(&["display_name"]),
    );
    rows.finish()
}

fn request_ids(rows: &mut Rows<'_, CreateTokenRequest>, values: &Values) {
    let mut id = rows.field("request_id", |request, value: String| request.request_id = value);
    id.good(Aspect::Empty, "none", "");
    id.good(Aspect::Smallest, "one character", "x");
    id.good(Aspect::Largest, "36 characters", "~".repeat(36));
    id.good(Aspect::Largest, "a UUID", "0190b1a4-6c1e-7cc3-9d4f-0a1b2c3d4e5f");
    id.good(Aspect::Largest, "a blank", " ");
    id.bad(Aspect::TooLarge, "37 characters", "~".repeat(37));
    id.bad(
        Aspect::TooLarge,
        "a UUID in braces",
        "{0190b1a4-6c1e-7cc3-9d4f-0a1b2c3d4e5f}",
    );
    for text in ["é", "a\u{7f}", "\u{1f}", "\u{a0}", "x\u{0}", "a\n", "\t", "日本"] {
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

async fn read_back(world: &World, Case { request, expect, .. }: &Case, answer: Bytes) -> Result<(), String> {
    let asked = CreateTokenRequest::decode(request.clone()).expect("the request decodes");
    let CreateTokenResponse { token, secret } = CreateTokenResponse::decode(answer).expect("the response decodes");
    let created = token.ok_or("the response has no token")?;
    let is_dry_run = matches!(expect, Expect::DryRun);
    let create_time = created.create_time.ok_or("the token has no create_time")?;
    let ends = match asked.expiry.ok_or("the request has no expiry")? {
        Expiry::NoExpiry(_) => None,
        Expiry::ExpireTime(Timestamp { seconds, nanos }) => Some(Timestamp {
            seconds,
            nanos: cut(nanos),
        }),
        Expiry::Ttl(Duration { seconds, nanos }) => {
            let nanos = create_time.nanos + cut(nanos);
            Some(Timestamp {
                seconds: create_time.seconds + seconds + i64::from(nanos / 1_000_000_000),
                nanos: nanos % 1_000_000_000,
            })
        }
    };
    let wanted = Token {
        workspace: asked.parent.clone(),
        resource: if asked.resource.is_empty() {
            asked.parent.clone()
        } else {
            asked.resource
        },
        display_name: asked.display_name,
        description: asked.description,
        scopes: ALL_SCOPES
            .iter()
            .map(ToString::to_string)
            .filter(|scope| asked.scopes.contains(scope))
            .collect(),
        allowed_cidrs: asked.allowed_cidrs.iter().map(|text| canonical(text)).collect(),
        labels: asked.labels,
        creator: created.creator.clone(),
        expire_time: ends,
        requested_expire_time: ends,
        // Fields that the service sets.
        name: created.name.clone(),
        hint: created.hint.clone(),
        state: created.state,
        effective_scopes: created.effective_scopes.clone(),
        create_time: created.create_time,
        ..Default::default()
    };
    same("the created token", &created, &wanted)?;
    same("whether there is a secret", secret.is_empty(), is_dry_run)?;
    same("whether there is a name", created.name.is_empty(), is_dry_run)?;
    if is_dry_run {
        return Ok(());
    }
    // The state may change: a lifetime can be one microsecond.
    let without_state = |token: Token| Token {
        state: token::State::Unspecified.into(),
        ..token
    };
    let got = world.server.get_token(&created.name).await;
    same(
        "the token from GetToken",
        without_state(got),
        without_state(created.clone()),
    )?;
    let identified = world
        .server
        .admin()
        .token_admin()
        .identify_token(IdentifyTokenRequest { secret })
        .await;
    let identified = identified
        .map_err(|status| status.to_string())?
        .into_inner()
        .token
        .ok_or("the response has no token")?;
    same(
        "the token from IdentifyToken",
        without_state(identified),
        without_state(created),
    )
}

/// Truncates nanoseconds to microseconds, as the service does.
const fn cut(nanos: i32) -> i32 {
    nanos / 1_000 * 1_000
}

/// Returns a network as the service returns it: IPv6 in the form of RFC 5952, IPv4-mapped addresses as IPv4.
fn canonical(text: &str) -> String {
    let (address, length) = text.split_once('/').expect("the service accepted the network");
    let Ok(v6) = address.parse::<Ipv6Addr>() else {
        return text.to_owned();
    };
    let length: u8 = length.parse().expect("the service accepted the network");
    match (v6.to_ipv4_mapped(), length.checked_sub(96)) {
        (Some(v4), Some(length)) => format!("{v4}/{length}"),
        _ => format!("{v6}/{length}"),
    }
}

async fn a_request_id_creates_one_token(installation: Installation) {
    let world = World::of(&installation).await;
    let create = async |request: &CreateTokenRequest| {
        let answer = world.send(CREATE, request.encode_to_vec().into()).await;
        answer.map(|answer| CreateTokenResponse::decode(answer).expect("the response decodes"))
    };
    let first = CreateTokenRequest {
        request_id: "' OR 1=1; --".to_owned(),
        ..token_in(&world.values.acme)
    };
    let created = create(&first).await.expect("CreateToken succeeds");
    let again = create(&first).await.expect("the repeated call succeeds");
    assert_eq!((again.token, again.secret.as_str()), (created.token, ""));
    // Unknown fields do not count as a different request.
    let unknown = [first.encode_to_vec(), descriptors::keyed(1_000, WireType::Varint, &[1])].concat();
    world
        .send(CREATE, unknown.into())
        .await
        .expect("the repeated call succeeds");

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
        let mut other = CreateTokenRequest {
            scopes: vec!["runner".to_owned(), "repository:write".to_owned()],
            ..first.clone()
        };
        change(&mut other);
        match create(&other).await {
            Ok(created) => {
                ok += 1;
                secrets.push(created.secret);
            }
            Err(status) => {
                let named = vec!["request_id".to_owned()];
                let reason = ErrorReason::RequestIdReused;
                crate::refusal::check(&status, Code::InvalidArgument, reason, &named, world.values.secrets())
                    .expect("the error is complete");
            }
        }
    }
    // The last change asks for what the first request asked for.
    assert_eq!((ok, secrets.concat().as_str()), (1, ""));
}

async fn all_invalid_fields_are_reported_in_a_bounded_message(installation: Installation) {
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
    let status = world
        .send(CREATE, request.encode_to_vec().into())
        .await
        .expect_err("the fields are invalid");
    let failure = tokend_client::CallError::from(status.clone());
    let named: Vec<_> = failure.fields.iter().map(|violation| violation.field.clone()).collect();
    let (reason, secrets) = (ErrorReason::InvalidField, world.values.secrets());
    crate::refusal::check(&status, Code::InvalidArgument, reason, &named, secrets)
        .expect("the error fits into a header");
    assert!(named.len() > 6, "{named:?}");
    assert!(named.iter().any(|field| field == "allowed_cidrs[0]"), "{named:?}");
}
