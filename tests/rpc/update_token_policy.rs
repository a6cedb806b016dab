//! `WorkspaceAdmin.UpdateTokenPolicy`: what is set is set whole, and what that ends is told before and after.

use std::{collections::BTreeMap, time::Duration};

use tokend_client::v1::{
    CreateTokenRequest, ErrorReason, Revision, Role, Selection, Token, TokenPolicy, UpdateTokenPolicyRequest,
    UpdateTokenPolicyResponse,
    create_token_request::Expiry,
    token_policy::ExistingTokens::{Apply, Keep},
};
use tokend_tests::{Installation, Issued, Records, Refused, Server, after, max_lifetime, on_both_databases, token_in};
use tonic::Code;

on_both_databases!(
    what_is_left_out_is_no_rule_any_more,
    an_etag_stands_for_one_policy,
    a_rehearsal_tells_what_would_end_and_changes_nothing,
    only_what_ends_earlier_is_told,
    what_can_not_be_read_is_counted_and_not_told,
    each_edit_is_on_record_and_takes_a_revision,
    only_the_policy_of_a_deleted_workspace_can_not_be_set,
    a_workspaces_admin_sets_its_own_policy_only,
    a_policy_that_does_not_fit_together_is_refused,
);

const HOUR: Duration = Duration::from_secs(3_600);

async fn update(server: &Server, request: UpdateTokenPolicyRequest) -> UpdateTokenPolicyResponse {
    server.admin().workspace_admin().update_token_policy(request).await.expect("it is answered").into_inner()
}

async fn rehearse(server: &Server, policy: &TokenPolicy) -> UpdateTokenPolicyResponse {
    let policy = Some(policy.clone());
    update(server, UpdateTokenPolicyRequest { policy, validate_only: true, ..Default::default() }).await
}

/// A token that ends so many hours from now, or never.
async fn token(server: &Server, workspace: &str, hours: u32) -> Issued<Token> {
    let expiry = if hours == 0 { Some(Expiry::NoExpiry(true)) } else { after(HOUR * hours) };
    server.token(CreateTokenRequest { expiry, ..token_in(workspace) }).await
}

/// The names and the ends that are told, in seconds.
fn told(answer: &UpdateTokenPolicyResponse) -> BTreeMap<String, i64> {
    let ends: BTreeMap<_, _> =
        answer.affected.iter().map(|one| (one.token.clone(), one.expire_time.expect("told").seconds)).collect();
    assert_eq!(i64::try_from(ends.len()).expect("few"), answer.affected_count, "each once");
    ends
}

async fn what_is_left_out_is_no_rule_any_more(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let only = |entry: &str| Some(Selection { all: false, only: vec![entry.to_owned()] });
    let full = TokenPolicy {
        require_expiry: true,
        default_lifetime: Some(HOUR.try_into().expect("short")),
        allowed_scopes: only("webhook"),
        allowed_cidrs: only("192.0.2.0/24"),
        max_active_tokens: Some(20),
        ..max_lifetime(&acme, HOUR, Apply)
    };
    let set = server.set_policy(full.clone()).await.policy.expect("told");
    assert_eq!(set, TokenPolicy { update_time: set.update_time, etag: set.etag.clone(), ..full });
    assert_eq!(server.get_policy(&acme).await.policy.as_ref(), Some(&set));

    // All is no rule, too.
    let all = Some(Selection { all: true, only: Vec::new() });
    let empty = TokenPolicy { name: set.name.clone(), allowed_scopes: all.clone(), allowed_cidrs: all, ..Default::default() };
    let emptied = server.set_policy(empty).await.policy.expect("told");
    let (name, update_time, etag) = (set.name.clone(), emptied.update_time, emptied.etag.clone());
    let wanted = TokenPolicy { name, existing_tokens: Keep.into(), update_time, etag, ..Default::default() };
    assert_eq!(emptied, wanted);
    assert!(emptied.update_time.map(|time| (time.seconds, time.nanos)) > set.update_time.map(|time| (time.seconds, time.nanos)));
}

async fn an_etag_stands_for_one_policy(installation: Installation) {
    let server = installation.start().await;
    let (acme, initech) = (server.workspace("acme").await, server.organization("initech").await);
    for owner in [acme, initech] {
        let never_set = server.get_policy(&owner).await.policy.expect("told").etag;
        let set = async |etag: &str, validate_only| {
            let policy = TokenPolicy { etag: etag.to_owned(), ..max_lifetime(&owner, HOUR, Keep) };
            let request = UpdateTokenPolicyRequest { policy: Some(policy), validate_only, no_wait: false };
            server.admin().workspace_admin().update_token_policy(request).await
        };
        let first = set(&never_set, false).await.expect("nobody was faster").into_inner().policy.expect("told").etag;
        for validate_only in [true, false] {
            let stale = set(&never_set, validate_only).await;
            stale.refused(Code::Aborted, ErrorReason::EtagMismatch);
        }
        assert_eq!(server.get_policy(&owner).await.policy.expect("told").etag, first, "nothing was changed");
        let second = set(&first, false).await.expect("nobody was faster").into_inner().policy.expect("told").etag;
        assert_eq!(first, second, "the same policy, set once more");
        set("", false).await.expect("who has none in mind replaces any");
    }
}

async fn a_rehearsal_tells_what_would_end_and_changes_nothing(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let (acme, beta) = (server.workspace_in("acme", &initech).await, server.workspace_in("beta", &initech).await);
    for workspace in [&acme, &beta] {
        for hours in [0, 1, 5] {
            token(&server, workspace, hours).await;
        }
    }
    for owner in [&initech, &acme] {
        let before = server.get_policy(owner).await;
        let policy = max_lifetime(owner, HOUR * 2, Apply);
        let rehearsed = rehearse(&server, &policy).await;
        assert_eq!(rehearsed.revision, None);
        assert_eq!(server.get_policy(owner).await, before);
        let done = server.set_policy(policy).await;
        let (would, did) = (told(&rehearsed), told(&done));
        assert_eq!(would.keys().collect::<Vec<_>>(), did.keys().collect::<Vec<_>>());
        assert_eq!(did.len(), if owner == &initech { 4 } else { 0 }, "what the organization has done is done");
        for (name, end) in did {
            assert_eq!(server.get_token(&name).await.expire_time.expect("it ends").seconds, end);
            assert!(end - would[&name] < 60);
        }
        assert!(done.revision.is_some());
    }
}

async fn only_what_ends_earlier_is_told(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let [acme, suspended, deleted] = ["acme", "suspended", "deleted"].map(|id| (id, initech.clone()));
    let mut long = Vec::new();
    for (id, organization) in [acme, suspended, deleted] {
        let workspace = server.workspace_in(id, &organization).await;
        for hours in [1, 2, 9] {
            let issued = token(&server, &workspace, hours).await;
            long.extend((hours == 9).then_some(issued.public.name));
        }
        let revoked = token(&server, &workspace, 9).await;
        server.revoke(&revoked.public.name).await;
    }
    server.suspend("workspaces/suspended").await;
    server.delete_workspace("workspaces/deleted").await;
    // Two hours are left to live at most, which all but the longest have; and an hour has passed, with which one has ended.
    installation.clock().set_ahead(HOUR);
    let affected = told(&rehearse(&server, &max_lifetime(&initech, HOUR * 2, Apply)).await);
    assert_eq!(affected.keys().collect::<Vec<_>>(), [&long[0], &long[1]], "of the suspended one, too: it may be resumed");
    // Who keeps ends nothing; and a rule for new tokens ends none.
    assert_eq!(rehearse(&server, &max_lifetime(&initech, Duration::from_secs(1), Keep)).await.affected_count, 0);
    let shortest = rehearse(&server, &max_lifetime(&initech, Duration::from_secs(1), Apply)).await;
    assert_eq!(told(&shortest).len(), 4, "those that end within the hour, too");
    // One level binds already what the other would.
    server.set_policy(max_lifetime("workspaces/acme", HOUR / 2, Apply)).await;
    let affected = told(&rehearse(&server, &max_lifetime(&initech, HOUR * 2, Apply)).await);
    assert_eq!(affected.keys().collect::<Vec<_>>(), [&long[1]]);
}

async fn what_can_not_be_read_is_counted_and_not_told(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let one = token(&server, &acme, 0).await;
    // As many more as nobody wants to wait for: rows that are not what tokend wrote, which are counted, and not told.
    let id = if installation.postgres().is_some() { "substr(sha256(n::text::bytea), 1, 12)" } else { "randomblob(12)" };
    let numbers = if installation.postgres().is_some() {
        "WITH numbers(n) AS (SELECT generate_series(1, 1500))"
    } else {
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1500)"
    };
    let columns = "workspace, kid, digest, resource, display_name, description, catalog_version, scopes, effective_scopes, \
                   allowed_cidrs, labels, creator, mac";
    let copy = format!(
        "INSERT INTO tokens (id, create_time, {columns}) {numbers} SELECT {id}, create_time - n, {columns} FROM tokens, numbers"
    );
    assert_eq!(installation.sql(&copy).await, 1_500);
    let affected = rehearse(&server, &max_lifetime(&acme, HOUR, Apply)).await;
    assert_eq!(affected.affected_count, 1_501);
    let names: Vec<_> = affected.affected.iter().map(|one| one.token.as_str()).collect();
    assert_eq!(names, [one.public.name.as_str()]);
}

async fn each_edit_is_on_record_and_takes_a_revision(installation: Installation) {
    let server = installation.start().await;
    let (acme, initech) = (server.workspace("acme").await, server.organization("initech").await);
    let mut records = Records::of_installation(&installation).await;
    let number = |revision: Option<Revision>| revision.expect("told").number;
    let first = number(server.set_policy(max_lifetime(&acme, HOUR, Apply)).await.revision);
    let second = number(server.set_policy(max_lifetime(&acme, HOUR, Apply)).await.revision);
    let third = number(server.set_policy(max_lifetime(&initech, HOUR * 2, Keep)).await.revision);
    assert!(first < second && second < third);
    rehearse(&server, &max_lifetime(&acme, HOUR * 3, Apply)).await;

    server.set_policy(max_lifetime(&acme, HOUR * 2, Apply)).await;
    let of_acme = records.of("acme").await;
    let details: Vec<_> =
        of_acme[1..].iter().map(|record| (record.kind.as_str(), record.resource.as_str(), record.detail.as_str())).collect();
    let changed = "max_lifetime: none -> 3600 s; existing_tokens: KEEP -> APPLY";
    assert_eq!(
        details,
        [("policy.updated", acme.as_str(), changed), ("policy.updated", acme.as_str(), "max_lifetime: 3600 s -> 7200 s")],
        "each change, and no repetition"
    );
    let last = records.of("-").await.pop().expect("there are some");
    assert_eq!((last.kind.as_str(), last.resource.as_str()), ("policy.updated", initech.as_str()));
    assert_eq!((last.caller.as_str(), last.detail.as_str()), ("callers/admin", "max_lifetime: none -> 7200 s"));
    assert!(server.stop().await.status.success());
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}

async fn only_the_policy_of_a_deleted_workspace_can_not_be_set(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    server.suspend(&acme).await;
    server.set_policy(max_lifetime(&acme, HOUR, Keep)).await;
    server.delete_workspace(&acme).await;
    for validate_only in [true, false] {
        let policy = Some(max_lifetime(&acme, HOUR, Apply));
        let request = UpdateTokenPolicyRequest { policy, validate_only, ..Default::default() };
        let answer = server.admin().workspace_admin().update_token_policy(request).await;
        answer.refused(Code::FailedPrecondition, ErrorReason::WorkspaceDeleted);
    }
}

async fn a_workspaces_admin_sets_its_own_policy_only(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let acme = server.workspace_in("acme", &initech).await;
    let team = server.caller("team", Role::WorkspaceAdmin).await;
    let mut team = server.client(&team.secret).await.workspace_admin();
    let mut set = async |owner: &str| {
        let policy = Some(max_lifetime(owner, HOUR, Keep));
        team.update_token_policy(UpdateTokenPolicyRequest { policy, ..Default::default() }).await
    };
    set(&acme).await.expect("its own");
    for owner in [initech.as_str(), "organizations/nobody"] {
        set(owner).await.refused(Code::PermissionDenied, ErrorReason::RoleNotAllowed);
    }
    assert_eq!(server.get_policy(&initech).await.policy.expect("told").update_time, None);
}

async fn a_policy_that_does_not_fit_together_is_refused(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let name = format!("{acme}/tokenPolicy");
    let long = Some((HOUR * 2).try_into().expect("short"));
    for (policy, field) in [
        (TokenPolicy { default_lifetime: long, ..max_lifetime(&acme, HOUR, Keep) }, "policy.default_lifetime"),
        (TokenPolicy { name, existing_tokens: Apply.into(), ..Default::default() }, "policy.existing_tokens"),
    ] {
        let request = UpdateTokenPolicyRequest { policy: Some(policy), ..Default::default() };
        server.admin().workspace_admin().update_token_policy(request).await.refused_field(field);
    }
    let nothing = UpdateTokenPolicyRequest::default();
    server.admin().workspace_admin().update_token_policy(nothing).await.refused_field("policy");
}
