//! `WorkspaceAdmin.UpdateTokenPolicy` replaces the whole policy, and records each change.

use std::time::Duration;

use tokend_client::v1::{
    ErrorReason, Revision, Role, Selection, TokenPolicy, UpdateTokenPolicyRequest, UpdateTokenPolicyResponse,
    token_policy::ExistingTokens::{Apply, Keep},
};
use tokend_tests::{Installation, Records, Refused, Server, max_lifetime, on_both_databases};
use tonic::Code;

on_both_databases!(
    a_rule_that_is_left_out_is_removed,
    a_stale_etag_is_refused,
    each_edit_is_recorded_and_takes_a_revision,
    only_the_policy_of_a_deleted_workspace_can_not_be_set,
    a_workspaces_admin_sets_its_own_policy_only,
    a_contradictory_policy_is_refused,
);

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

async fn update(server: &Server, request: UpdateTokenPolicyRequest) -> UpdateTokenPolicyResponse {
    server
        .admin()
        .workspace_admin()
        .update_token_policy(request)
        .await
        .expect("UpdateTokenPolicy succeeds")
        .into_inner()
}

pub(crate) async fn dry_run(server: &Server, policy: &TokenPolicy) -> UpdateTokenPolicyResponse {
    let policy = Some(policy.clone());
    update(
        server,
        UpdateTokenPolicyRequest {
            policy,
            validate_only: true,
            ..Default::default()
        },
    )
    .await
}

async fn a_rule_that_is_left_out_is_removed(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let only = |entry: &str| {
        Some(Selection {
            all: false,
            only: vec![entry.to_owned()],
        })
    };
    let full = TokenPolicy {
        require_expiry: true,
        default_lifetime: Some(HOUR.try_into().expect("short")),
        allowed_scopes: only("webhook"),
        allowed_cidrs: only("192.0.2.0/24"),
        max_active_tokens: Some(20),
        ..max_lifetime(&acme, HOUR, Apply)
    };
    let set = server.set_policy(full.clone()).await.policy.expect("a policy");
    assert_eq!(
        set,
        TokenPolicy {
            update_time: set.update_time,
            etag: set.etag.clone(),
            ..full
        }
    );
    assert_eq!(server.get_policy(&acme).await.policy.as_ref(), Some(&set));

    // A selection of all is no rule.
    let all = Some(Selection {
        all: true,
        only: Vec::new(),
    });
    let empty = TokenPolicy {
        name: set.name.clone(),
        allowed_scopes: all.clone(),
        allowed_cidrs: all,
        ..Default::default()
    };
    let emptied = server.set_policy(empty).await.policy.expect("a policy");
    let (name, update_time, etag) = (set.name.clone(), emptied.update_time, emptied.etag.clone());
    let wanted = TokenPolicy {
        name,
        existing_tokens: Keep.into(),
        update_time,
        etag,
        ..Default::default()
    };
    assert_eq!(emptied, wanted);
    assert!(
        emptied.update_time.map(|time| (time.seconds, time.nanos))
            > set.update_time.map(|time| (time.seconds, time.nanos))
    );
}

async fn a_stale_etag_is_refused(installation: Installation) {
    let server = installation.start().await;
    let (acme, initech) = (server.workspace("acme").await, server.organization("initech").await);
    for owner in [acme, initech] {
        let never_set = server.get_policy(&owner).await.policy.expect("a policy").etag;
        let set = async |etag: &str, validate_only| {
            let policy = TokenPolicy {
                etag: etag.to_owned(),
                ..max_lifetime(&owner, HOUR, Keep)
            };
            let request = UpdateTokenPolicyRequest {
                policy: Some(policy),
                validate_only,
                no_wait: false,
            };
            server.admin().workspace_admin().update_token_policy(request).await
        };
        let first = set(&never_set, false)
            .await
            .expect("the etag is current")
            .into_inner()
            .policy
            .expect("a policy")
            .etag;
        for validate_only in [true, false] {
            let stale = set(&never_set, validate_only).await;
            stale.refused(Code::Aborted, ErrorReason::EtagMismatch);
        }
        assert_eq!(
            server.get_policy(&owner).await.policy.expect("a policy").etag,
            first,
            "the policy is unchanged"
        );
        let second = set(&first, false)
            .await
            .expect("the etag is current")
            .into_inner()
            .policy
            .expect("a policy")
            .etag;
        assert_eq!(first, second, "setting the same policy keeps the etag");
        set("", false).await.expect("an empty etag replaces any policy");
    }
}

async fn each_edit_is_recorded_and_takes_a_revision(installation: Installation) {
    let server = installation.start().await;
    let (acme, initech) = (server.workspace("acme").await, server.organization("initech").await);
    let mut records = Records::of_installation(&installation).await;
    let number = |revision: Option<Revision>| revision.expect("a revision").number;
    let first = number(server.set_policy(max_lifetime(&acme, HOUR, Apply)).await.revision);
    let second = number(server.set_policy(max_lifetime(&acme, HOUR, Apply)).await.revision);
    let third = number(server.set_policy(max_lifetime(&initech, HOUR * 2, Keep)).await.revision);
    assert!(first < second && second < third);
    dry_run(&server, &max_lifetime(&acme, HOUR * 3, Apply)).await;

    server.set_policy(max_lifetime(&acme, HOUR * 2, Apply)).await;
    let of_acme = records.of("acme").await;
    let details: Vec<_> = of_acme[1..]
        .iter()
        .map(|record| (record.kind.as_str(), record.resource.as_str(), record.detail.as_str()))
        .collect();
    let changed = "max_lifetime: none -> 3600 s; existing_tokens: KEEP -> APPLY";
    assert_eq!(
        details,
        [
            ("policy.updated", acme.as_str(), changed),
            ("policy.updated", acme.as_str(), "max_lifetime: 3600 s -> 7200 s")
        ],
        "each change is recorded, a repetition is not"
    );
    let last = records.of("-").await.pop().expect("an audit record");
    assert_eq!(
        (last.kind.as_str(), last.resource.as_str()),
        ("policy.updated", initech.as_str())
    );
    assert_eq!(
        (last.caller.as_str(), last.detail.as_str()),
        ("callers/admin", "max_lifetime: none -> 7200 s")
    );
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
        let request = UpdateTokenPolicyRequest {
            policy,
            validate_only,
            ..Default::default()
        };
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
        team.update_token_policy(UpdateTokenPolicyRequest {
            policy,
            ..Default::default()
        })
        .await
    };
    set(&acme).await.expect("the policy of its own workspace can be set");
    for owner in [initech.as_str(), "organizations/nobody"] {
        set(owner)
            .await
            .refused(Code::PermissionDenied, ErrorReason::RoleNotAllowed);
    }
    assert_eq!(
        server.get_policy(&initech).await.policy.expect("a policy").update_time,
        None
    );
}

async fn a_contradictory_policy_is_refused(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let name = format!("{acme}/tokenPolicy");
    let long = Some((HOUR * 2).try_into().expect("short"));
    for (policy, field) in [
        (
            TokenPolicy {
                default_lifetime: long,
                ..max_lifetime(&acme, HOUR, Keep)
            },
            "policy.default_lifetime",
        ),
        (
            TokenPolicy {
                name,
                existing_tokens: Apply.into(),
                ..Default::default()
            },
            "policy.existing_tokens",
        ),
    ] {
        let request = UpdateTokenPolicyRequest {
            policy: Some(policy),
            ..Default::default()
        };
        server
            .admin()
            .workspace_admin()
            .update_token_policy(request)
            .await
            .refused_field(field);
    }
    let nothing = UpdateTokenPolicyRequest::default();
    server
        .admin()
        .workspace_admin()
        .update_token_policy(nothing)
        .await
        .refused_field("policy");
}
