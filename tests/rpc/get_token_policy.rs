//! `WorkspaceAdmin.GetTokenPolicy` returns the policy of a workspace or organization, and the effective policy of a
//! workspace.

use std::time::Duration;

use tokend_client::v1::{
    ErrorReason, GetTokenPolicyRequest, Role, Selection, TokenPolicy,
    token_policy::ExistingTokens::{Apply, Keep, Unspecified},
};
use tokend_tests::{Installation, Refused, max_lifetime, on_both_databases};
use tonic::Code;

on_both_databases!(
    a_policy_that_was_never_set_is_empty,
    both_policies_apply_to_a_workspace,
    disjoint_policies_allow_nothing,
    the_policy_of_a_deleted_workspace_is_returned,
    a_workspace_admin_sees_no_organization_policy,
    the_policy_of_an_absent_owner_is_not_found,
    an_invalid_name_is_refused,
);

const HOUR: Duration = Duration::from_secs(3_600);

fn only(entries: &[&str]) -> Option<Selection> {
    Some(Selection {
        all: false,
        only: entries.iter().map(ToString::to_string).collect(),
    })
}

async fn a_policy_that_was_never_set_is_empty(installation: Installation) {
    let server = installation.start().await;
    let (acme, initech) = (server.workspace("acme").await, server.organization("initech").await);
    for owner in [&acme, &initech] {
        let got = server.get_policy(owner).await;
        let policy = got.policy.expect("`policy` is set");
        let (name, etag) = (format!("{owner}/tokenPolicy"), policy.etag.clone());
        let empty = TokenPolicy {
            name: name.clone(),
            existing_tokens: Keep.into(),
            etag,
            ..Default::default()
        };
        assert_eq!(policy, empty);
        assert!(!policy.etag.is_empty());
        assert_eq!(
            server.get_policy(owner).await.policy.as_ref(),
            Some(&policy),
            "the etag does not change"
        );
        let effective = (owner == &acme).then(|| TokenPolicy {
            name,
            ..Default::default()
        });
        assert_eq!(got.effective, effective, "only workspaces have tokens");
    }
}

async fn both_policies_apply_to_a_workspace(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let (acme, other) = (
        server.workspace_in("acme", &initech).await,
        server.workspace("other").await,
    );
    let of_organization = TokenPolicy {
        require_expiry: true,
        default_lifetime: Some((HOUR * 3).try_into().expect("the duration is in range")),
        allowed_scopes: only(&["repository:write", "webhook"]),
        max_active_tokens: Some(7),
        ..max_lifetime(&initech, HOUR * 24, Apply)
    };
    server.set_policy(of_organization).await;
    let own = TokenPolicy {
        allowed_scopes: only(&["pullrequest:write", "runner"]),
        allowed_cidrs: only(&["192.0.2.0/24"]),
        max_active_tokens: Some(9),
        ..max_lifetime(&acme, HOUR * 2, Keep)
    };
    let set = server.set_policy(own.clone()).await;

    let got = server.get_policy(&acme).await;
    let strictest = TokenPolicy {
        require_expiry: true,
        default_lifetime: Some((HOUR * 2).try_into().expect("the duration is in range")),
        // `pullrequest:write` implies `repository:write`.
        allowed_scopes: only(&["repository:write"]),
        max_active_tokens: Some(7),
        existing_tokens: Unspecified.into(),
        ..own.clone()
    };
    assert_eq!(got.effective.as_ref(), Some(&strictest));
    assert_eq!(
        (set.effective, set.policy.as_ref()),
        (got.effective, got.policy.as_ref()),
        "UpdateTokenPolicy returned the same policy"
    );
    let policy = got.policy.expect("`policy` is set");
    let (update_time, etag) = (policy.update_time, policy.etag.clone());
    assert!(update_time.is_some());
    assert_eq!(
        policy,
        TokenPolicy {
            update_time,
            etag,
            ..own
        }
    );
    let untouched = server.get_policy(&other).await.effective.expect("`effective` is set");
    assert_eq!(
        untouched,
        TokenPolicy {
            name: untouched.name.clone(),
            ..Default::default()
        }
    );
}

async fn disjoint_policies_allow_nothing(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let acme = server.workspace_in("acme", &initech).await;
    for (owner, scope, network) in [
        (&initech, "webhook", "192.0.2.0/24"),
        (&acme, "runner", "198.51.100.0/24"),
    ] {
        let name = format!("{owner}/tokenPolicy");
        let (allowed_scopes, allowed_cidrs) = (only(&[scope]), only(&[network]));
        server
            .set_policy(TokenPolicy {
                name,
                allowed_scopes,
                allowed_cidrs,
                ..Default::default()
            })
            .await;
    }
    let effective = server.get_policy(&acme).await.effective.expect("`effective` is set");
    assert_eq!(
        (effective.allowed_scopes, effective.allowed_cidrs),
        (only(&[]), only(&[])),
        "nothing is allowed"
    );
}

async fn the_policy_of_a_deleted_workspace_is_returned(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    server.set_policy(max_lifetime(&acme, HOUR, Keep)).await;
    let before = server.get_policy(&acme).await;
    server.delete_workspace(&acme).await;
    assert_eq!(server.get_policy(&acme).await, before);
}

async fn a_workspace_admin_sees_no_organization_policy(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let acme = server.workspace_in("acme", &initech).await;
    let team = server.caller("team", Role::WorkspaceAdmin).await;
    let mut team = server.client(&team.secret).await.workspace_admin();
    for owner in [initech.as_str(), "organizations/nobody"] {
        let request = GetTokenPolicyRequest {
            name: format!("{owner}/tokenPolicy"),
        };
        team.get_token_policy(request)
            .await
            .refused(Code::PermissionDenied, ErrorReason::RoleNotAllowed);
    }
    let request = GetTokenPolicyRequest {
        name: format!("{acme}/tokenPolicy"),
    };
    assert!(
        team.get_token_policy(request)
            .await
            .expect("GetTokenPolicy succeeds")
            .into_inner()
            .effective
            .is_some()
    );
}

async fn the_policy_of_an_absent_owner_is_not_found(installation: Installation) {
    let server = installation.start().await;
    let get = async |name: &str| {
        let request = GetTokenPolicyRequest { name: name.to_owned() };
        server.admin().workspace_admin().get_token_policy(request).await
    };
    get("workspaces/nobody/tokenPolicy")
        .await
        .refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
    get("organizations/nobody/tokenPolicy")
        .await
        .refused(Code::NotFound, ErrorReason::OrganizationNotFound);
}

async fn an_invalid_name_is_refused(installation: Installation) {
    let server = installation.start().await;
    for name in [
        "",
        "workspaces/acme",
        "tokenPolicy",
        "workspaces/Acme/tokenPolicy",
        "callers/ci/tokenPolicy",
        "workspaces/acme/tokenPolicy/",
    ] {
        let request = GetTokenPolicyRequest { name: name.to_owned() };
        server
            .admin()
            .workspace_admin()
            .get_token_policy(request)
            .await
            .refused_field("name");
    }
}
