//! `WorkspaceAdmin`: `GetTokenPolicy` and `UpdateTokenPolicy`.

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
    policy_lifetimes::lifetimes,
    policy_selections::{networks, policy, scopes},
    run::{World, run, same},
    values::Values,
};

on_both_databases!(policies);

const GET: &str = "WorkspaceAdmin/GetTokenPolicy";

const UPDATE: &str = "WorkspaceAdmin/UpdateTokenPolicy";

async fn policies(installation: Installation) {
    run(installation, cases, read_back).await;
}

pub(crate) fn cases(values: &Values) -> Vec<Case> {
    let mut get = Rows::of(
        GET,
        GetTokenPolicyRequest {
            name: format!("{}/tokenPolicy", values.acme),
        },
    );
    names(
        &mut get.field("name", |request, value: String| request.name = value),
        values,
    );

    let mut rows = Rows::of(UPDATE, Values::new_policy(&values.acme));
    rows.row(
        "policy",
        Aspect::Empty,
        "none",
        |request| request.policy = None,
        fields(&["policy"]),
    );
    let name = |request: &mut UpdateTokenPolicyRequest, value: String| policy(request).name = value;
    names(&mut rows.field("policy.name", name).named("policy.name"), values);
    flags(&mut rows);
    lifetimes(&mut rows);
    scopes(&mut rows, values);
    networks(&mut rows, values);
    caps(&mut rows);
    output_only_fields(&mut rows);
    etags(&mut rows, values);
    [get.finish(), rows.finish()].concat()
}

fn names<R: Message + Clone, S: Fn(&mut R, String)>(name: &mut FieldRows<'_, '_, R, S>, values: &Values) {
    let of = |owner: &str| format!("{owner}/tokenPolicy");
    let (acme, initech) = (of(&values.acme), of(&values.organization));
    name.bad(Aspect::Empty, "empty", "");
    name.bad(Aspect::Smallest, "an id of one", of("workspaces/z"));
    for (collection, reason) in [
        ("workspaces", ErrorReason::WorkspaceNotFound),
        ("organizations", ErrorReason::OrganizationNotFound),
    ] {
        let not_found = || refused(Code::NotFound, reason);
        name.row(
            Aspect::Smallest,
            "the shortest",
            of(&format!("{collection}/zz")),
            not_found(),
        );
        name.row(
            Aspect::Largest,
            "the longest",
            of(&format!("{collection}/z{}", "-".repeat(62))),
            not_found(),
        );
        name.bad(
            Aspect::TooLarge,
            "an id of 64",
            of(&format!("{collection}/z{}", "-".repeat(63))),
        );
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
    name.bad(
        Aspect::Secret,
        "a token as the id",
        of(&format!("workspaces/{}", values.token.secret)),
    );
    name.last_counts("nobody", &acme);
    name.hostile_is_bad(&[
        "{}",
        "workspaces/{}/tokenPolicy",
        "workspaces/acme{}/tokenPolicy",
        "workspaces/acme/tokenPolicy{}",
    ]);
}

fn flags(rows: &mut Rows<'_, UpdateTokenPolicyRequest>) {
    for (aspect, what, value) in [(Aspect::Smallest, "no", false), (Aspect::Largest, "yes", true)] {
        rows.row(
            "policy.require_expiry",
            aspect,
            what,
            |request| policy(request).require_expiry = value,
            Expect::Accepted,
        );
        rows.row(
            "no_wait",
            aspect,
            what,
            |request| request.no_wait = value,
            Expect::Accepted,
        );
        let expect = if value { Expect::DryRun } else { Expect::Accepted };
        rows.row(
            "validate_only",
            aspect,
            what,
            |request| request.validate_only = value,
            expect,
        );
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
    rows.row(
        "policy.existing_tokens",
        Aspect::IllFormed,
        "APPLY of nothing",
        without_max,
        refused,
    );
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

/// Rows of fields that only the service sets.
fn output_only_fields(rows: &mut Rows<'_, UpdateTokenPolicyRequest>) {
    let at = |seconds, nanos| Some(Timestamp { seconds, nanos });
    for (field, aspect, what, time) in [
        ("policy.update_time", Aspect::Empty, "none", None),
        ("policy.update_time.seconds", Aspect::Empty, "zero", at(0, 0)),
        (
            "policy.update_time.seconds",
            Aspect::Smallest,
            "the least number",
            at(i64::MIN, 0),
        ),
        (
            "policy.update_time.seconds",
            Aspect::Largest,
            "the end of the year 9999",
            at(253_402_300_799, 0),
        ),
        (
            "policy.update_time.seconds",
            Aspect::TooLarge,
            "the largest number",
            at(i64::MAX, 0),
        ),
        ("policy.update_time.nanos", Aspect::Empty, "zero", at(1, 0)),
        (
            "policy.update_time.nanos",
            Aspect::Smallest,
            "the least number",
            at(1, i32::MIN),
        ),
        (
            "policy.update_time.nanos",
            Aspect::Largest,
            "999,999,999",
            at(1, 999_999_999),
        ),
        (
            "policy.update_time.nanos",
            Aspect::TooLarge,
            "the largest number",
            at(1, i32::MAX),
        ),
    ] {
        rows.row(
            field,
            aspect,
            what,
            |request| policy(request).update_time = time,
            Expect::Accepted,
        );
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

async fn read_back(
    world: &World,
    Case {
        rpc, request, expect, ..
    }: &Case,
    answer: Bytes,
) -> Result<(), String> {
    let get = async |name: &str| {
        let request = GetTokenPolicyRequest { name: name.to_owned() };
        world
            .server
            .admin()
            .workspace_admin()
            .get_token_policy(request)
            .await
            .map_err(|status| status.to_string())
    };
    if *rpc == GET {
        let returned = GetTokenPolicyResponse::decode(answer)
            .expect("the response decodes")
            .policy
            .ok_or("the response has no policy")?;
        return same(
            "the name",
            returned.name,
            GetTokenPolicyRequest::decode(request.clone())
                .expect("the request decodes")
                .name,
        );
    }
    let asked = UpdateTokenPolicyRequest::decode(request.clone())
        .expect("the request decodes")
        .policy
        .expect("the request has a policy");
    let UpdateTokenPolicyResponse {
        policy,
        effective,
        revision,
        ..
    } = UpdateTokenPolicyResponse::decode(answer).expect("the response decodes");
    let returned = policy.ok_or("the response has no policy")?;
    let is_dry_run = matches!(expect, Expect::DryRun);
    same("whether there is a revision", revision.is_some(), !is_dry_run)?;
    let cut = |span: Duration| Duration {
        nanos: span.nanos / 1_000 * 1_000,
        ..span
    };
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
        update_time: returned.update_time,
        etag: returned.etag.clone(),
        ..asked
    };
    same("the policy that was set", &returned, &wanted)?;
    same(
        "whether it is a workspace's",
        effective.is_some(),
        wanted.name.starts_with("workspaces/"),
    )?;
    if is_dry_run {
        return Ok(());
    }
    same(
        "the policy from GetTokenPolicy",
        get(&wanted.name).await?.into_inner().policy,
        Some(wanted),
    )
}
