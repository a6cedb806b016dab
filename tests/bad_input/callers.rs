//! `CallerAdmin`: making callers and their keys.

use bytes::Bytes;
use prost::{Message, encoding::WireType};
use prost_types::{Duration, Timestamp};
use tokend_client::v1::{
    Caller, CreateCallerKeyRequest, CreateCallerKeyResponse, CreateCallerRequest, CreateCallerResponse, DeleteCallerRequest,
    ErrorReason, GetCallerRequest, ListCallerKeysRequest, RevokeCallerKeyRequest, Role, Selection,
};
use tokend_tests::{Installation, on_both_databases};
use tonic::Code;

use crate::{
    case::{Aspect, Case, Expect, Rows, fields, refused, undecodable},
    descriptors,
    hostile::Class,
    names::chosen_names,
    run::{World, run, same},
    values::Values,
    workspaces::chosen_ids,
};

on_both_databases!(callers);

const CREATE: &str = "CallerAdmin/CreateCaller";
const CREATE_KEY: &str = "CallerAdmin/CreateCallerKey";

async fn callers(installation: Installation) {
    run(installation, cases, read_back).await;
}

pub(crate) fn cases(values: &Values) -> Vec<Case> {
    [of_callers(values), of_keys(values)].concat()
}

fn of_callers(values: &Values) -> Vec<Case> {
    let mut rows =
        Rows::of(CREATE, Values::new_caller("fresh")).each_fresh(|request, row| request.caller_id = format!("fresh-{row}"));
    let mut id = rows.field("caller_id", |request, value: String| request.caller_id = value);
    chosen_ids(&mut id, values);
    id.row(
        Aspect::Duplicate,
        "one that is taken",
        "gateway".to_owned(),
        refused(Code::AlreadyExists, ErrorReason::CallerAlreadyExists),
    );
    id.last_counts("Nobody", "the-last-one");

    let mut role = rows.field("role", |request: &mut CreateCallerRequest, value: i32| request.role = value);
    role.bad(Aspect::Empty, "none", Role::Unspecified);
    for (aspect, known) in [
        (Aspect::Smallest, Role::Admin),
        (Aspect::Largest, Role::WorkspaceAdmin),
        (Aspect::Largest, Role::Revoker),
        (Aspect::Largest, Role::Auditor),
        (Aspect::Largest, Role::Verifier),
    ] {
        role.good(aspect, known.as_str_name(), known);
    }
    role.bad(Aspect::TooLarge, "6", 6);
    for number in [-1, i32::MIN, i32::MAX, 1 << 8, 1 << 16] {
        role.bad(Aspect::IllFormed, number, number);
    }
    // Numbers of more than 32 bits lose the upper ones, as protobuf has it.
    for (what, bytes, expect) in [
        ("2^32", &[0x80, 0x80, 0x80, 0x80, 0x10][..], fields(&["role"])),
        ("2^32 + 1", &[0x81, 0x80, 0x80, 0x80, 0x10], Expect::Accepted),
        ("past 2^64", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], undecodable()),
    ] {
        let bytes = descriptors::field(CREATE, "role").encode_as(WireType::Varint, bytes);
        rows.raw("role", Aspect::TooLarge, what, [rows.good().encode_to_vec(), bytes].concat(), expect);
    }
    selections(&mut rows, values);
    certificate_sans(&mut rows, &values.token.secret);
    rows.finish()
}

fn selections(rows: &mut Rows<'_, CreateCallerRequest>, values: &Values) {
    let list = |only: &[&str]| -> Vec<String> { only.iter().map(ToString::to_string).collect() };
    let many = |count: usize| -> Vec<String> { (0..count).map(|n| format!("workspaces/w{n}")).collect() };
    let longest: Vec<_> = (100..900).map(|n| format!("workspaces/w{}{n}", "-".repeat(59))).collect();
    let (all, only) = (|all| Some(Selection { all, only: Vec::new() }), |only| Some(Selection { all: false, only }));
    let (verifier, whole, first) = (Role::Verifier, "workspaces", "workspaces.only[0]");
    for (field, aspect, what, role, selection, expect) in [
        ("workspaces", Aspect::Empty, "none", verifier, None, fields(&[whole])),
        ("workspaces", Aspect::Empty, "neither all nor only", verifier, all(false), fields(&[whole])),
        ("workspaces.all", Aspect::Smallest, "no", verifier, all(false), fields(&[whole])),
        ("workspaces.all", Aspect::Largest, "yes", verifier, all(true), Expect::Accepted),
        (
            "workspaces.all",
            Aspect::IllFormed,
            "all and only",
            verifier,
            Some(Selection { all: true, only: many(1) }),
            fields(&[whole]),
        ),
        ("workspaces.only", Aspect::Empty, "none", verifier, only(vec![]), fields(&[whole])),
        ("workspaces.only", Aspect::Smallest, "one", verifier, only(many(1)), Expect::Accepted),
        (
            "workspaces.only",
            Aspect::Smallest,
            "one, for a workspace's admin",
            Role::WorkspaceAdmin,
            only(many(1)),
            Expect::Accepted,
        ),
        ("workspaces.only", Aspect::IllFormed, "one, for an admin", Role::Admin, only(many(1)), fields(&[whole])),
        ("workspaces.only", Aspect::IllFormed, "one, for an auditor", Role::Auditor, only(many(1)), fields(&[whole])),
        ("workspaces.only", Aspect::IllFormed, "one, for a revoker", Role::Revoker, only(many(1)), fields(&[whole])),
        ("workspaces.only", Aspect::Largest, "1,000", verifier, only(many(1_000)), Expect::Accepted),
        ("workspaces.only", Aspect::Largest, "800 of the longest", verifier, only(longest), Expect::Accepted),
        ("workspaces.only", Aspect::TooLarge, "1,001", verifier, only(many(1_001)), fields(&[whole])),
        (
            "workspaces.only",
            Aspect::TooLarge,
            "20,000 that are none",
            verifier,
            only(vec!["x".to_owned(); 20_000]),
            fields(&[whole]),
        ),
        (
            "workspaces.only",
            Aspect::Duplicate,
            "the same twice",
            verifier,
            only(list(&["workspaces/acme", "workspaces/acme"])),
            fields(&["workspaces.only[1]"]),
        ),
        (
            "workspaces.only",
            Aspect::IllFormed,
            "two of three",
            verifier,
            only(list(&["acme", "workspaces/acme", "*"])),
            fields(&[first, "workspaces.only[2]"]),
        ),
    ] {
        let change = |request: &mut CreateCallerRequest| {
            request.role = role.into();
            request.workspaces = selection;
        };
        rows.row(field, aspect, what, change, expect);
    }
    let set = |request: &mut CreateCallerRequest, value: String| {
        request.role = Role::Verifier.into();
        request.workspaces = Some(Selection { all: false, only: vec![value] });
    };
    let mut name = rows.field("workspaces.only", set).named(first);
    name.bad(Aspect::Empty, "empty", "");
    name.good(Aspect::Smallest, "the shortest", "workspaces/ab");
    name.good(Aspect::Largest, "the longest", format!("workspaces/{}", "z".repeat(63)));
    name.bad(Aspect::TooLarge, "an id of 64", format!("workspaces/{}", "z".repeat(64)));
    for text in [
        "acme",
        "*",
        "-",
        "workspaces/*",
        "workspaces/-",
        "workspaces/",
        "workspaces/Acme",
        "workspaces/acme/",
        "workspaces/acme/tokens/x",
        "organizations/acme",
        "callers/acme",
        "all",
        " workspaces/acme",
    ] {
        name.bad(Aspect::IllFormed, text, text);
    }
    name.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    name.bad(Aspect::Secret, "a token as the id", format!("workspaces/{}", values.token.secret));
    name.hostile_is_bad(&["{}", "workspaces/{}", "workspaces/acme{}"]);
}

fn certificate_sans(rows: &mut Rows<'_, CreateCallerRequest>, secret: &str) {
    let list = |sans: &[&str]| -> Vec<String> { sans.iter().map(ToString::to_string).collect() };
    let many = |count: usize| -> Vec<String> { (0..count).map(|n| format!("{n}.example.com")).collect() };
    for (aspect, what, sans, expect) in [
        (Aspect::Empty, "none", vec![], Expect::Accepted),
        (Aspect::Smallest, "one", many(1), Expect::Accepted),
        (Aspect::Largest, "16", many(16), Expect::Accepted),
        (Aspect::TooLarge, "17", many(17), fields(&["certificate_sans"])),
        (Aspect::TooLarge, "20,000", vec![String::new(); 20_000], fields(&["certificate_sans"])),
        (Aspect::Duplicate, "the same twice", list(&["a.example", "b.example", "a.example"]), fields(&["certificate_sans[2]"])),
        (Aspect::IllFormed, "two of three", list(&["", "a.example", " "]), fields(&["certificate_sans[0]", "certificate_sans[2]"])),
    ] {
        rows.row("certificate_sans", aspect, what, |request| request.certificate_sans = sans, expect);
    }
    let mut san =
        rows.field("certificate_sans", |request: &mut CreateCallerRequest, value: String| request.certificate_sans = vec![value]);
    san = san.named("certificate_sans[0]");
    san.bad(Aspect::Empty, "empty", "");
    san.good(Aspect::Smallest, "one character", "a");
    for text in
        ["gateway.example.com", "Gateway.Example.COM", "spiffe://example.com/ns/web/sa/gateway", "urn:uuid:0190b1a4-6c1e-7cc3-9d4f"]
    {
        san.good(Aspect::Smallest, text, text);
    }
    san.good(Aspect::Largest, "a URI of 255 characters", format!("urn:{}", "a".repeat(251)));
    san.bad(Aspect::TooLarge, "a URI of 256 characters", format!("urn:{}", "a".repeat(252)));
    san.good(Aspect::Largest, "a DNS name of 253 characters", ["a".repeat(63).as_str(); 4].join(".")[..253].to_owned());
    san.bad(Aspect::TooLarge, "a DNS name of 255 characters", ["a".repeat(63).as_str(); 4].join("."));
    san.bad(Aspect::TooLarge, "a label of 64 characters", "a".repeat(64));
    for text in ["*.example.com", "*", "a.", ".a", "a..b", "-a.example", "a/b", "urn:", ":a", "1a:b"] {
        san.bad(Aspect::IllFormed, text, text);
    }
    for text in ["a b", " a", "a ", "<a>", "\"a\"", "a\\b", "a^b", "a`b", "{a}", "a|b", "\u{e4}.example", "xn--\u{e4}"] {
        san.bad(Aspect::IllFormed, text, text);
    }
    // Whatever a URI may be written with (RFC 3986) can be in a certificate.
    let fits = |value: &str| {
        let of_a_uri = |char: char| char.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(char);
        value.len() <= 255 && value.chars().all(of_a_uri)
    };
    san.bad(Aspect::Secret, "a token as a DNS name", secret);
    san.bad(Aspect::Secret, "a token in a URI", format!("spiffe://example.com/{secret}"));
    san.hostile(&["spiffe://example.com/{}", "{}.example.com"], |value, hostile| {
        let label = |label: &str| {
            (1..=63).contains(&label.len()) && label.chars().all(|char| char.is_ascii_alphanumeric() || "-_".contains(char))
        };
        let is_dns = value.split('.').all(label);
        let good = (fits(value) && value.starts_with("spiffe:") || is_dns) && hostile.class == Class::Printable;
        if good { Expect::Accepted } else { fields(&["certificate_sans[0]"]) }
    });
}

fn of_keys(values: &Values) -> Vec<Case> {
    let base = CreateCallerKeyRequest { parent: values.keyless.clone(), ttl: None };
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
    // Numbers as in 0001-01-01, 10000-01-01 and the longest duration.
    let span = |seconds, nanos| Some(Duration { seconds, nanos });
    let no_ttl = || fields(&["ttl"]);
    for (field, aspect, what, ttl, expect) in [
        ("ttl", Aspect::Empty, "none: 90 days", None, Expect::Accepted),
        ("ttl.seconds", Aspect::Empty, "zero", span(0, 0), no_ttl()),
        ("ttl.seconds", Aspect::Smallest, "one", span(1, 0), Expect::Accepted),
        ("ttl.seconds", Aspect::Smallest, "less than zero", span(-1, 0), no_ttl()),
        ("ttl.seconds", Aspect::Smallest, "the least number", span(i64::MIN, 0), no_ttl()),
        ("ttl.seconds", Aspect::Largest, "almost to the year 10000", span(251_000_000_000, 0), Expect::Accepted),
        ("ttl.seconds", Aspect::TooLarge, "past the year 10000", span(253_402_300_800, 0), no_ttl()),
        ("ttl.seconds", Aspect::TooLarge, "ten thousand years", span(315_576_000_000, 0), no_ttl()),
        ("ttl.seconds", Aspect::TooLarge, "past ten thousand years", span(315_576_000_001, 0), no_ttl()),
        ("ttl.seconds", Aspect::TooLarge, "the largest number", span(i64::MAX, i32::MAX), no_ttl()),
        ("ttl.nanos", Aspect::Empty, "zero", span(60, 0), Expect::Accepted),
        ("ttl.nanos", Aspect::Smallest, "less than a microsecond", span(0, 999), no_ttl()),
        ("ttl.nanos", Aspect::Smallest, "a microsecond", span(0, 1_000), Expect::Accepted),
        ("ttl.nanos", Aspect::Smallest, "less than zero", span(60, -1), no_ttl()),
        ("ttl.nanos", Aspect::Smallest, "the least number", span(60, i32::MIN), no_ttl()),
        ("ttl.nanos", Aspect::Largest, "999,999,999", span(60, 999_999_999), Expect::Accepted),
        ("ttl.nanos", Aspect::TooLarge, "1,000,000,000", span(60, 1_000_000_000), no_ttl()),
        ("ttl.nanos", Aspect::TooLarge, "the largest number", span(60, i32::MAX), no_ttl()),
        ("ttl.nanos", Aspect::IllFormed, "of the other sign", span(-1, 1), no_ttl()),
    ] {
        rows.row(field, aspect, what, |request| request.ttl = ttl, expect);
    }
    rows.finish()
}

/// DNS names are told in lower case, URIs as they are.
fn spelling(san: String) -> String {
    if san.contains(':') { san } else { san.to_lowercase() }
}

async fn read_back(world: &World, Case { rpc, request, .. }: &Case, answer: Bytes) -> Result<(), String> {
    let mut admin = world.server.admin().caller_admin();
    let request = request.clone();
    if *rpc == CREATE {
        let asked = CreateCallerRequest::decode(request).expect("a request");
        let told = CreateCallerResponse::decode(answer).expect("an answer").caller.ok_or("it is not told")?;
        let mut workspaces = asked.workspaces;
        workspaces.iter_mut().for_each(|selection| selection.only.sort_unstable());
        let wanted = Caller {
            name: format!("callers/{}", asked.caller_id),
            role: asked.role,
            workspaces,
            certificate_sans: asked.certificate_sans.into_iter().map(spelling).collect(),
            create_time: told.create_time,
            keys_expire_time: None,
        };
        same("what was made", &told, &wanted)?;
        let name = wanted.name.clone();
        let got = admin.get_caller(GetCallerRequest { name: name.clone() }).await.map_err(|status| status.to_string())?;
        same("what GetCaller tells", got.into_inner().caller, Some(wanted))?;
        // For the next row.
        return admin
            .delete_caller(DeleteCallerRequest { name, no_wait: false })
            .await
            .map(|_| ())
            .map_err(|status| status.to_string());
    }
    let asked = CreateCallerKeyRequest::decode(request).expect("a request");
    let CreateCallerKeyResponse { key, secret } = CreateCallerKeyResponse::decode(answer).expect("an answer");
    let key = key.ok_or("it is not told")?;
    same("whether there is a secret", secret.starts_with("tkdc_"), true)?;
    let created = key.create_time.ok_or("it was never made")?;
    let Duration { seconds, nanos } = asked.ttl.unwrap_or(Duration { seconds: 90 * 24 * 60 * 60, nanos: 0 });
    let nanos = created.nanos + nanos / 1_000 * 1_000;
    let end = Timestamp { seconds: created.seconds + seconds + i64::from(nanos / 1_000_000_000), nanos: nanos % 1_000_000_000 };
    same("its end", key.expire_time, Some(end))?;
    let request = ListCallerKeysRequest { parent: asked.parent, page_size: 1, ..Default::default() };
    let newest = admin.list_caller_keys(request).await.map_err(|status| status.to_string())?.into_inner().keys.pop();
    // A microsecond may be over by now.
    same("what ListCallerKeys tells", newest.map(|key| (key.name, key.expire_time)), Some((key.name.clone(), key.expire_time)))?;
    // For the next row.
    admin.revoke_caller_key(RevokeCallerKeyRequest { name: key.name, no_wait: false }).await.map(|_| ()).map_err(|s| s.to_string())
}
