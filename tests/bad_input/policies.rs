//! `WorkspaceAdmin`: showing and setting token policies.

use bytes::Bytes;
use prost::Message;
use prost_types::{Duration, Timestamp};
use tokend_client::v1::{
    ErrorReason, GetTokenPolicyRequest, GetTokenPolicyResponse, Selection, TokenPolicy, UpdateTokenPolicyRequest,
    UpdateTokenPolicyResponse,
    token_policy::ExistingTokens::{Apply, Keep},
};
use tokend_tests::{Installation, on_both_databases};
use tonic::Code;

use crate::{
    case::{Aspect, Case, Expect, FieldRows, Rows, fields, refused},
    run::{World, run, same},
    values::{ALL_SCOPES, Values},
};

on_both_databases!(policies);

const GET: &str = "WorkspaceAdmin/GetTokenPolicy";
const UPDATE: &str = "WorkspaceAdmin/UpdateTokenPolicy";

async fn policies(installation: Installation) {
    run(installation, cases, read_back).await;
}

pub(crate) fn cases(values: &Values) -> Vec<Case> {
    let mut get = Rows::of(GET, GetTokenPolicyRequest { name: format!("{}/tokenPolicy", values.acme) });
    names(&mut get.field("name", |request, value: String| request.name = value), values);

    let mut rows = Rows::of(UPDATE, Values::new_policy(&values.acme));
    rows.row("policy", Aspect::Empty, "none", |request| request.policy = None, fields(&["policy"]));
    let name = |request: &mut UpdateTokenPolicyRequest, value: String| policy(request).name = value;
    names(&mut rows.field("policy.name", name).named("policy.name"), values);
    flags(&mut rows);
    lifetimes(&mut rows);
    scopes(&mut rows, values);
    networks(&mut rows, values);
    caps(&mut rows);
    what_is_told_only(&mut rows);
    etags(&mut rows, values);
    [get.finish(), rows.finish()].concat()
}

fn policy(request: &mut UpdateTokenPolicyRequest) -> &mut TokenPolicy {
    request.policy.as_mut().expect("it is there")
}

fn names<R: Message + Clone, S: Fn(&mut R, String)>(name: &mut FieldRows<'_, '_, R, S>, values: &Values) {
    let of = |owner: &str| format!("{owner}/tokenPolicy");
    let (acme, initech) = (of(&values.acme), of(&values.organization));
    name.bad(Aspect::Empty, "empty", "");
    name.bad(Aspect::Smallest, "an id of one", of("workspaces/z"));
    for (collection, reason) in
        [("workspaces", ErrorReason::WorkspaceNotFound), ("organizations", ErrorReason::OrganizationNotFound)]
    {
        let not_found = || refused(Code::NotFound, reason);
        name.row(Aspect::Smallest, "the shortest", of(&format!("{collection}/zz")), not_found());
        name.row(Aspect::Largest, "the longest", of(&format!("{collection}/z{}", "-".repeat(62))), not_found());
        name.bad(Aspect::TooLarge, "an id of 64", of(&format!("{collection}/z{}", "-".repeat(63))));
    }
    name.good(Aspect::Largest, "a workspace's", acme.as_str());
    name.good(Aspect::Largest, "an organization's", initech.as_str());
    for text in [
        values.acme.clone(),
        "tokenPolicy".to_owned(),
        "/tokenPolicy".to_owned(),
        of("acme"),
        of("workspaces"),
        of("workspaces/"),
        of("workspaces/-"),
        of("workspaces/*"),
        of("workspaces//acme"),
        of("workspaces/acme/tokens"),
        of("workspaces/ACME"),
        of("callers/gateway"),
        of(&acme),
        format!("{acme}/"),
        format!("{acme}/x"),
        format!("{acme} "),
        format!(" {acme}"),
        format!("/{acme}"),
        acme.to_lowercase(),
        acme.to_uppercase(),
    ] {
        name.bad(Aspect::IllFormed, &text, text.clone());
    }
    name.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    name.bad(Aspect::Secret, "a token as the id", of(&format!("workspaces/{}", values.token.secret)));
    name.last_counts("nobody", &acme);
    name.hostile_is_bad(&["{}", "workspaces/{}/tokenPolicy", "workspaces/acme{}/tokenPolicy", "workspaces/acme/tokenPolicy{}"]);
}

fn flags(rows: &mut Rows<'_, UpdateTokenPolicyRequest>) {
    for (aspect, what, value) in [(Aspect::Smallest, "no", false), (Aspect::Largest, "yes", true)] {
        rows.row("policy.require_expiry", aspect, what, |request| policy(request).require_expiry = value, Expect::Accepted);
        rows.row("no_wait", aspect, what, |request| request.no_wait = value, Expect::Accepted);
        let expect = if value { Expect::Rehearsed } else { Expect::Accepted };
        rows.row("validate_only", aspect, what, |request| request.validate_only = value, expect);
    }
    let existing = |request: &mut UpdateTokenPolicyRequest, value: i32| policy(request).existing_tokens = value;
    let mut existing = rows.field("policy.existing_tokens", existing);
    existing.good(Aspect::Empty, "none: they are kept", 0);
    existing.good(Aspect::Smallest, "KEEP", Keep as i32);
    existing.good(Aspect::Largest, "APPLY", Apply as i32);
    for (aspect, what, value) in [
        (Aspect::TooLarge, "one more", 3),
        (Aspect::TooLarge, "the largest number", i32::MAX),
        (Aspect::IllFormed, "less than zero", -1),
        (Aspect::IllFormed, "the least number", i32::MIN),
    ] {
        existing.bad(aspect, what, value);
    }
    let without_max = |request: &mut UpdateTokenPolicyRequest| {
        let policy = policy(request);
        (policy.max_lifetime, policy.existing_tokens) = (None, Apply.into());
    };
    let refused = fields(&["policy.existing_tokens"]);
    rows.row("policy.existing_tokens", Aspect::IllFormed, "APPLY of nothing", without_max, refused);
}

fn lifetimes(rows: &mut Rows<'_, UpdateTokenPolicyRequest>) {
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
        (".seconds", Aspect::Smallest, "the least number", span(i64::MIN, 0), false),
        (".seconds", Aspect::Largest, "36,500 days", span(MOST, 0), true),
        (".seconds", Aspect::TooLarge, "a second more", span(MOST + 1, 0), false),
        (".seconds", Aspect::TooLarge, "ten thousand years", span(315_576_000_000, 0), false),
        (".seconds", Aspect::TooLarge, "the largest number", span(i64::MAX, i32::MAX), false),
        (".nanos", Aspect::Empty, "zero", span(60, 0), true),
        (".nanos", Aspect::Smallest, "less than a microsecond", span(0, 999), false),
        (".nanos", Aspect::Smallest, "a microsecond", span(0, 1_000), true),
        (".nanos", Aspect::Smallest, "less than zero", span(60, -1), false),
        (".nanos", Aspect::Smallest, "the least number", span(60, i32::MIN), false),
        (".nanos", Aspect::Largest, "999,999,999", span(60, 999_999_999), true),
        (".nanos", Aspect::TooLarge, "1,000,000,000", span(60, 1_000_000_000), false),
        (".nanos", Aspect::TooLarge, "a microsecond more than 36,500 days", span(MOST, 1_000), false),
        (".nanos", Aspect::TooLarge, "the largest number", span(60, i32::MAX), false),
        (".nanos", Aspect::IllFormed, "of the other sign", span(-1, 1), false),
    ];
    for (field, set) in [("policy.max_lifetime", max), ("policy.default_lifetime", default)] {
        for (part, aspect, what, span, fits) in spans {
            let expect = if fits { Expect::Accepted } else { fields(&[field]) };
            rows.row(&format!("{field}{part}"), aspect, what, |request| set(request, span), expect);
        }
    }
    for (what, seconds, expect) in
        [("as long as the longest", 60, Expect::Accepted), ("longer than the longest", 61, fields(&["policy.default_lifetime"]))]
    {
        let change = |request: &mut UpdateTokenPolicyRequest| {
            let policy = policy(request);
            (policy.max_lifetime, policy.default_lifetime) = (span(60, 0), span(seconds, 0));
        };
        rows.row("policy.default_lifetime.seconds", Aspect::Largest, what, change, expect);
    }
}

fn only(entries: &[&str]) -> Option<Selection> {
    Some(Selection { all: false, only: entries.iter().map(ToString::to_string).collect() })
}

/// What scopes and networks have in common.
fn selections(
    rows: &mut Rows<'_, UpdateTokenPolicyRequest>,
    field: &str,
    (one, other): (&str, &str),
    set: fn(&mut UpdateTokenPolicyRequest, Option<Selection>),
) {
    let all = |all, only: &[&str]| Some(Selection { all, only: only.iter().map(ToString::to_string).collect() });
    for (part, aspect, what, selection, expect) in [
        ("", Aspect::Empty, "none", None, Expect::Accepted),
        ("", Aspect::Empty, "neither all nor only", all(false, &[]), fields(&[field])),
        (".all", Aspect::Smallest, "no", all(false, &[]), fields(&[field])),
        (".all", Aspect::Largest, "yes", all(true, &[]), Expect::Accepted),
        (".all", Aspect::IllFormed, "all and only", all(true, &[one]), fields(&[field])),
        (".only", Aspect::Empty, "none", all(false, &[]), fields(&[field])),
        (".only", Aspect::Smallest, "one", only(&[one]), Expect::Accepted),
        (".only", Aspect::TooLarge, "20,000", only(&["x"; 20_000]), fields(&[field])),
        (".only", Aspect::Duplicate, "the same twice", only(&[one, other, one]), fields(&[&format!("{field}.only[2]")])),
    ] {
        rows.row(&format!("{field}{part}"), aspect, what, |request| set(request, selection), expect);
    }
}

fn scopes(rows: &mut Rows<'_, UpdateTokenPolicyRequest>, values: &Values) {
    const FIELD: &str = "policy.allowed_scopes";
    selections(rows, FIELD, ("webhook", "runner"), |request, selection| policy(request).allowed_scopes = selection);
    let set = |request: &mut UpdateTokenPolicyRequest, value: String| policy(request).allowed_scopes = only(&[value.as_str()]);
    rows.row(
        "policy.allowed_scopes.only",
        Aspect::Largest,
        "all that there are",
        |request| policy(request).allowed_scopes = only(&ALL_SCOPES),
        Expect::Accepted,
    );
    let too_many = |request: &mut UpdateTokenPolicyRequest| policy(request).allowed_scopes = only(&["webhook"; 257]);
    rows.row("policy.allowed_scopes.only", Aspect::TooLarge, "257", too_many, fields(&[FIELD]));
    let mut scope = rows.field("policy.allowed_scopes.only", set).named("policy.allowed_scopes.only[0]");
    scope.bad(Aspect::Empty, "empty", "");
    scope.bad(Aspect::Largest, "the longest, which there is not", "a".repeat(64));
    scope.bad(Aspect::TooLarge, "65 characters", "a".repeat(65));
    for text in ["*", "repository:*", "Repository", " repository", "repository:", "all", "nothing"] {
        scope.bad(Aspect::IllFormed, text, text);
    }
    scope.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    scope.hostile_is_bad(&["{}", "repository{}"]);
}

fn networks(rows: &mut Rows<'_, UpdateTokenPolicyRequest>, values: &Values) {
    const FIELD: &str = "policy.allowed_cidrs";
    selections(rows, FIELD, ("10.0.0.0/8", "::/0"), |request, selection| policy(request).allowed_cidrs = selection);
    for (aspect, count, expect) in [(Aspect::Largest, 64, Expect::Accepted), (Aspect::TooLarge, 65, fields(&[FIELD]))] {
        let many = (0..count).map(|n| format!("10.0.{n}.0/24")).collect();
        let change =
            |request: &mut UpdateTokenPolicyRequest| policy(request).allowed_cidrs = Some(Selection { all: false, only: many });
        rows.row("policy.allowed_cidrs.only", aspect, count, change, expect);
    }
    let set = |request: &mut UpdateTokenPolicyRequest, value: String| policy(request).allowed_cidrs = only(&[value.as_str()]);
    let mut network = rows.field("policy.allowed_cidrs.only", set).named("policy.allowed_cidrs.only[0]");
    network.bad(Aspect::Empty, "empty", "");
    network.good(Aspect::Smallest, "every address", "::/0");
    network.good(Aspect::Largest, "the last address", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128");
    network.bad(Aspect::TooLarge, "33 bits", "192.0.2.0/33");
    for text in ["192.0.2.7", "192.0.2.7/24", "192.0.2.0/", "/24", "*", "192.0.2.0/24 ", "192.0.2.0/255.255.255.0"] {
        network.bad(Aspect::IllFormed, text, text);
    }
    network.bad(Aspect::Secret, "a token", values.token.secret.as_str());
    network.hostile_is_bad(&["{}", "192.0.2.0/24{}"]);
}

fn caps(rows: &mut Rows<'_, UpdateTokenPolicyRequest>) {
    let set = |request: &mut UpdateTokenPolicyRequest, value: Option<i32>| policy(request).max_active_tokens = value;
    let mut cap = rows.field("policy.max_active_tokens", set);
    cap.good(Aspect::Empty, "none", None);
    cap.bad(Aspect::Empty, "zero", Some(0));
    cap.good(Aspect::Smallest, "one", Some(1));
    cap.bad(Aspect::Smallest, "less than zero", Some(-1));
    cap.bad(Aspect::Smallest, "the least number", Some(i32::MIN));
    cap.good(Aspect::Largest, "a million", Some(1_000_000));
    cap.bad(Aspect::TooLarge, "one more", Some(1_000_001));
    cap.bad(Aspect::TooLarge, "the largest number", Some(i32::MAX));
}

/// Whatever a client sends back of what it was told.
fn what_is_told_only(rows: &mut Rows<'_, UpdateTokenPolicyRequest>) {
    let at = |seconds, nanos| Some(Timestamp { seconds, nanos });
    for (field, aspect, what, time) in [
        ("policy.update_time", Aspect::Empty, "none", None),
        ("policy.update_time.seconds", Aspect::Empty, "zero", at(0, 0)),
        ("policy.update_time.seconds", Aspect::Smallest, "the least number", at(i64::MIN, 0)),
        ("policy.update_time.seconds", Aspect::Largest, "the end of the year 9999", at(253_402_300_799, 0)),
        ("policy.update_time.seconds", Aspect::TooLarge, "the largest number", at(i64::MAX, 0)),
        ("policy.update_time.nanos", Aspect::Empty, "zero", at(1, 0)),
        ("policy.update_time.nanos", Aspect::Smallest, "the least number", at(1, i32::MIN)),
        ("policy.update_time.nanos", Aspect::Largest, "999,999,999", at(1, 999_999_999)),
        ("policy.update_time.nanos", Aspect::TooLarge, "the largest number", at(1, i32::MAX)),
    ] {
        rows.row(field, aspect, what, |request| policy(request).update_time = time, Expect::Accepted);
    }
}

fn etags(rows: &mut Rows<'_, UpdateTokenPolicyRequest>, values: &Values) {
    let stale = || refused(Code::Aborted, ErrorReason::EtagMismatch);
    let mut etag = rows.field("policy.etag", |request, value: String| policy(request).etag = value);
    etag.good(Aspect::Empty, "none", "");
    etag.row(Aspect::Smallest, "one character", "0".to_owned(), stale());
    etag.row(Aspect::Largest, "of the length of one", "0".repeat(16), stale());
    etag.row(Aspect::TooLarge, "50,000 characters", "0".repeat(50_000), stale());
    for text in ["*", " ", "\"\"", "W/\"0000000000000000\""] {
        etag.row(Aspect::IllFormed, text, text.to_owned(), stale());
    }
    etag.row(Aspect::Secret, "a token", values.token.secret.clone(), stale());
    etag.twice("0", "", Expect::Accepted);
    etag.twice("", "0", stale());
    etag.hostile(&["{}"], |_, _| stale());
}

async fn read_back(world: &World, Case { rpc, request, expect, .. }: &Case, answer: Bytes) -> Result<(), String> {
    let get = async |name: &str| {
        let request = GetTokenPolicyRequest { name: name.to_owned() };
        world.server.admin().workspace_admin().get_token_policy(request).await.map_err(|status| status.to_string())
    };
    if *rpc == GET {
        let told = GetTokenPolicyResponse::decode(answer).expect("an answer").policy.ok_or("it is not told")?;
        return same("the name", told.name, GetTokenPolicyRequest::decode(request.clone()).expect("a request").name);
    }
    let asked = UpdateTokenPolicyRequest::decode(request.clone()).expect("a request").policy.expect("it was accepted");
    let UpdateTokenPolicyResponse { policy, effective, revision, .. } =
        UpdateTokenPolicyResponse::decode(answer).expect("an answer");
    let told = policy.ok_or("it is not told")?;
    let is_rehearsal = matches!(expect, Expect::Rehearsed);
    same("whether there is a revision", revision.is_some(), !is_rehearsal)?;
    let cut = |span: Duration| Duration { nanos: span.nanos / 1_000 * 1_000, ..span };
    let sorted = |selection: Selection| {
        let mut only = selection.only;
        only.sort_unstable();
        Some(Selection { only, ..selection }).filter(|selection| !selection.all)
    };
    let wanted = TokenPolicy {
        max_lifetime: asked.max_lifetime.map(cut),
        default_lifetime: asked.default_lifetime.map(cut),
        allowed_scopes: asked.allowed_scopes.clone().and_then(sorted),
        allowed_cidrs: asked.allowed_cidrs.clone().filter(|selection| !selection.all),
        existing_tokens: asked.existing_tokens.max(Keep.into()),
        update_time: told.update_time,
        etag: told.etag.clone(),
        ..asked
    };
    same("what was set", &told, &wanted)?;
    same("whether it is a workspace's", effective.is_some(), wanted.name.starts_with("workspaces/"))?;
    if is_rehearsal {
        return Ok(());
    }
    same("what GetTokenPolicy tells", get(&wanted.name).await?.into_inner().policy, Some(wanted))
}
