//! `CallerAdmin`: `CreateCaller` and `CreateCallerKey`.

use bytes::Bytes;
use prost::{Message, encoding::WireType};
use prost_types::{Duration, Timestamp};
use tokend_client::v1::{
    Caller, CreateCallerKeyRequest, CreateCallerKeyResponse, CreateCallerRequest, CreateCallerResponse,
    DeleteCallerRequest, ErrorReason, GetCallerRequest, ListCallerKeysRequest, RevokeCallerKeyRequest, Role, Selection,
};
use tokend_tests::{Installation, on_both_databases};
use tonic::Code;

use crate::{
    caller_keys::of_keys,
    case::{Aspect, Case, Expect, Rows, fields, refused, undecodable},
    certificate_sans::certificate_sans,
    descriptors,
    run::{World, run, same},
    values::Values,
    workspaces::chosen_ids,
};

on_both_databases!(callers);

const CREATE: &str = "CallerAdmin/CreateCaller";

async fn callers(installation: Installation) {
    run(installation, cases, read_back).await;
}

pub(crate) fn cases(values: &Values) -> Vec<Case> {
    [of_callers(values), of_keys(values)].concat()
}

fn of_callers(values: &Values) -> Vec<Case> {
    let mut rows = Rows::of(CREATE, Values::new_caller("fresh"))
        .each_fresh(|request, row| request.caller_id = format!("fresh-{row}"));
    let mut id = rows.field("caller_id", |request, value: String| request.caller_id = value);
    chosen_ids(&mut id, values);
    id.row(
        Aspect::Duplicate,
        "one that is taken",
        "gateway".to_owned(),
        refused(Code::AlreadyExists, ErrorReason::CallerAlreadyExists),
    );
    id.last_counts("Nobody", "the-last-one");

    let mut role = rows.field("role", |request: &mut CreateCallerRequest, value: i32| {
        request.role = value
    });
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
    // Numbers of more than 32 bits lose the upper bits, as protobuf specifies.
    for (what, bytes, expect) in [
        ("2^32", &[0x80, 0x80, 0x80, 0x80, 0x10][..], fields(&["role"])),
        ("2^32 + 1", &[0x81, 0x80, 0x80, 0x80, 0x10], Expect::Accepted),
        (
            "past 2^64",
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            undecodable(),
        ),
    ] {
        let bytes = descriptors::field(CREATE, "role").encode_as(WireType::Varint, bytes);
        rows.raw(
            "role",
            Aspect::TooLarge,
            what,
            [rows.good().encode_to_vec(), bytes].concat(),
            expect,
        );
    }
    selections(&mut rows, values);
    certificate_sans(&mut rows, &values.token.secret);
    rows.finish()
}

fn selections(rows: &mut Rows<'_, CreateCallerRequest>, values: &Values) {
    let list = |only: &[&str]| -> Vec<String> { only.iter().map(ToString::to_string).collect() };
    let many = |count: usize| -> Vec<String> { (0..count).map(|n| format!("workspaces/w{n}")).collect() };
    let longest: Vec<_> = (100..900)
        .map(|n| format!("workspaces/w{}{n}", "-".repeat(59)))
        .collect();
    let (all, only) = (
        |all| Some(Selection { all, only: Vec::new() }),
        |only| Some(Selection { all: false, only }),
    );
    let (verifier, whole, first) = (Role::Verifier, "workspaces", "workspaces.only[0]");
    for (field, aspect, what, role, selection, expect) in [
        ("workspaces", Aspect::Empty, "none", verifier, None, fields(&[whole])),
        (
            "workspaces",
            Aspect::Empty,
            "neither all nor only",
            verifier,
            all(false),
            fields(&[whole]),
        ),
        (
            "workspaces.all",
            Aspect::Smallest,
            "no",
            verifier,
            all(false),
            fields(&[whole]),
        ),
        (
            "workspaces.all",
            Aspect::Largest,
            "yes",
            verifier,
            all(true),
            Expect::Accepted,
        ),
        (
            "workspaces.all",
            Aspect::IllFormed,
            "all and only",
            verifier,
            Some(Selection {
                all: true,
                only: many(1),
            }),
            fields(&[whole]),
        ),
        (
            "workspaces.only",
            Aspect::Empty,
            "none",
            verifier,
            only(vec![]),
            fields(&[whole]),
        ),
        (
            "workspaces.only",
            Aspect::Smallest,
            "one",
            verifier,
            only(many(1)),
            Expect::Accepted,
        ),
        (
            "workspaces.only",
            Aspect::Smallest,
            "one, for a workspace's admin",
            Role::WorkspaceAdmin,
            only(many(1)),
            Expect::Accepted,
        ),
        (
            "workspaces.only",
            Aspect::IllFormed,
            "one, for an admin",
            Role::Admin,
            only(many(1)),
            fields(&[whole]),
        ),
        (
            "workspaces.only",
            Aspect::IllFormed,
            "one, for an auditor",
            Role::Auditor,
            only(many(1)),
            fields(&[whole]),
        ),
        (
            "workspaces.only",
            Aspect::IllFormed,
            "one, for a revoker",
            Role::Revoker,
            only(many(1)),
            fields(&[whole]),
        ),
        (
            "workspaces.only",
            Aspect::Largest,
            "1,000",
            verifier,
            only(many(1_000)),
            Expect::Accepted,
        ),
        (
            "workspaces.only",
            Aspect::Largest,
            "800 of the longest",
            verifier,
            only(longest),
            Expect::Accepted,
        ),
        (
            "workspaces.only",
            Aspect::TooLarge,
            "1,001",
            verifier,
            only(many(1_001)),
            fields(&[whole]),
        ),
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
        request.workspaces = Some(Selection {
            all: false,
            only: vec![value],
        });
    };
    let mut name = rows.field("workspaces.only", set).named(first);
    name.bad(Aspect::Empty, "empty", "");
    name.good(Aspect::Smallest, "the shortest", "workspaces/ab");
    name.good(Aspect::Largest, "the longest", format!("workspaces/{}", "z".repeat(63)));
    name.bad(
        Aspect::TooLarge,
        "an id of 64",
        format!("workspaces/{}", "z".repeat(64)),
    );
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
    name.bad(
        Aspect::Secret,
        "a token as the id",
        format!("workspaces/{}", values.token.secret),
    );
    name.hostile_is_bad(&["{}", "workspaces/{}", "workspaces/acme{}"]);
}

/// The service returns DNS names in lower case, and URIs unchanged.
fn spelling(san: String) -> String {
    if san.contains(':') { san } else { san.to_lowercase() }
}

async fn read_back(world: &World, Case { rpc, request, .. }: &Case, answer: Bytes) -> Result<(), String> {
    let mut admin = world.server.admin().caller_admin();
    let request = request.clone();
    if *rpc == CREATE {
        let asked = CreateCallerRequest::decode(request).expect("the request decodes");
        let returned = CreateCallerResponse::decode(answer)
            .expect("the response decodes")
            .caller
            .ok_or("the response has no caller")?;
        let mut workspaces = asked.workspaces;
        workspaces
            .iter_mut()
            .for_each(|selection| selection.only.sort_unstable());
        let wanted = Caller {
            name: format!("callers/{}", asked.caller_id),
            role: asked.role,
            workspaces,
            certificate_sans: asked.certificate_sans.into_iter().map(spelling).collect(),
            create_time: returned.create_time,
            keys_expire_time: None,
        };
        same("the created caller", &returned, &wanted)?;
        let name = wanted.name.clone();
        let got = admin
            .get_caller(GetCallerRequest { name: name.clone() })
            .await
            .map_err(|status| status.to_string())?;
        same("the caller from GetCaller", got.into_inner().caller, Some(wanted))?;
        // The next row needs the name again.
        return admin
            .delete_caller(DeleteCallerRequest { name, no_wait: false })
            .await
            .map(|_| ())
            .map_err(|status| status.to_string());
    }
    let asked = CreateCallerKeyRequest::decode(request).expect("the request decodes");
    let CreateCallerKeyResponse { key, secret } =
        CreateCallerKeyResponse::decode(answer).expect("the response decodes");
    let key = key.ok_or("the response has no key")?;
    same("whether there is a secret", secret.starts_with("tkdc_"), true)?;
    let created = key.create_time.ok_or("the key has no create_time")?;
    let Duration { seconds, nanos } = asked.ttl.unwrap_or(Duration {
        seconds: 90 * 24 * 60 * 60,
        nanos: 0,
    });
    let nanos = created.nanos + nanos / 1_000 * 1_000;
    let end = Timestamp {
        seconds: created.seconds + seconds + i64::from(nanos / 1_000_000_000),
        nanos: nanos % 1_000_000_000,
    };
    same("its end", key.expire_time, Some(end))?;
    let request = ListCallerKeysRequest {
        parent: asked.parent,
        page_size: 1,
        ..Default::default()
    };
    let newest = admin
        .list_caller_keys(request)
        .await
        .map_err(|status| status.to_string())?
        .into_inner()
        .keys
        .pop();
    // The state may change: a lifetime can be one microsecond.
    same(
        "the key from ListCallerKeys",
        newest.map(|key| (key.name, key.expire_time)),
        Some((key.name.clone(), key.expire_time)),
    )?;
    // The next row needs the name again.
    admin
        .revoke_caller_key(RevokeCallerKeyRequest {
            name: key.name,
            no_wait: false,
        })
        .await
        .map(|_| ())
        .map_err(|s| s.to_string())
}
