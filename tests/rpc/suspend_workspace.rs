//! `WorkspaceAdmin.SuspendWorkspace`: when it returns, every token of the workspace is denied.

use std::time::Duration;

use tokend_client::v1::{
    CreateTokenRequest, Decision, DenyReason, ErrorReason, IdentifyTokenRequest, ListTokensRequest, Role,
    SuspendWorkspaceRequest, Workspace, token::State as TokenState, workspace::State,
};
use tokend_tests::{Installation, Records, Refused, after, on_both_databases, question, token_in};
use tonic::Code;

on_both_databases!(
    the_tokens_of_a_suspended_workspace_are_denied_at_once,
    every_server_on_the_database_denies_the_tokens,
    revoked_and_expired_come_before_suspended,
    tokens_can_be_read_and_revoked_but_not_created,
    suspending_again_changes_nothing_but_the_revision,
    a_token_created_at_the_same_time_is_refused_or_denied,
    a_deleted_workspace_can_not_be_suspended,
    an_absent_workspace_is_not_found,
    an_ill_formed_name_is_rejected,
);

async fn the_tokens_of_a_suspended_workspace_are_denied_at_once(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let tokens = [
        server.token(token_in(&acme)).await.secret,
        server.token(token_in(&acme)).await.secret,
    ];
    let foreign = server.token(token_in(&other)).await.secret;
    let before = server.get_workspace(&acme).await;

    let answer = server.suspend(&acme).await;
    for token in &tokens {
        let verdict = server.verdict(question(token, &acme, &[])).await;
        assert_eq!(
            (verdict.decision(), verdict.deny_reason()),
            (Decision::Deny, DenyReason::WorkspaceSuspended)
        );
    }
    assert_eq!(
        server.verdict(question(&foreign, &other, &[])).await.decision(),
        Decision::Allow,
        "other workspaces are not affected"
    );
    assert!(answer.revision.is_some());
    let workspace = answer.workspace.expect("a workspace");
    assert_eq!((workspace.state(), workspace.active_token_count), (State::Suspended, 2));
    assert_eq!(
        Workspace {
            state: State::Active.into(),
            ..workspace.clone()
        },
        before,
        "only the state changes"
    );
    assert_eq!(server.get_workspace(&acme).await, workspace);
}

async fn every_server_on_the_database_denies_the_tokens(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.secret;
    let key = server.admin_key().to_owned();
    let observer = if installation.postgres().is_some() {
        let replica = installation.serve(&key).await;
        assert_eq!(
            replica.verdict(question(&token, &acme, &[])).await.decision(),
            Decision::Allow
        );
        server.suspend(&acme).await;
        replica
    } else {
        // One process at a time opens a SQLite file; the next one sees the change even after a kill.
        server.suspend(&acme).await;
        server.kill();
        installation.serve(&key).await
    };
    assert_eq!(
        observer.verdict(question(&token, &acme, &[])).await.deny_reason(),
        DenyReason::WorkspaceSuspended
    );
}

async fn revoked_and_expired_come_before_suspended(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let revoked = server.token(token_in(&acme)).await;
    let expired = server
        .token(CreateTokenRequest {
            expiry: after(Duration::from_secs(60)),
            ..token_in(&acme)
        })
        .await;
    let suspended = server.token(token_in(&acme)).await;
    server.suspend(&acme).await;
    server.revoke(&revoked.public.name).await;
    installation.clock().set_ahead(Duration::from_secs(60));
    let deny_reason =
        async |secret: &str, resource: &str| server.verdict(question(secret, resource, &[])).await.deny_reason();
    assert_eq!(deny_reason(&revoked.secret, &acme).await, DenyReason::Revoked);
    assert_eq!(deny_reason(&expired.secret, &acme).await, DenyReason::Expired);
    assert_eq!(
        deny_reason(&suspended.secret, &acme).await,
        DenyReason::WorkspaceSuspended
    );
    assert_eq!(
        deny_reason(&suspended.secret, "workspaces/other").await,
        DenyReason::WorkspaceSuspended,
        "the workspace's state is checked before the resource"
    );
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 1);
}

async fn tokens_can_be_read_and_revoked_but_not_created(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    server.suspend(&acme).await;
    let admin = server.admin().token_admin();

    assert_eq!(
        server.get_token(&token.public.name).await.state(),
        TokenState::Suspended
    );
    let list = ListTokensRequest {
        parent: acme.clone(),
        ..Default::default()
    };
    let listed = admin
        .clone()
        .list_tokens(list)
        .await
        .expect("ListTokens succeeds")
        .into_inner();
    assert_eq!(listed.tokens[0].state(), TokenState::Suspended);
    let identify = IdentifyTokenRequest {
        secret: token.secret.clone(),
    };
    let identified = admin
        .clone()
        .identify_token(identify)
        .await
        .expect("IdentifyToken succeeds")
        .into_inner();
    assert_eq!(identified.token.expect("a token").state(), TokenState::Suspended);

    let refused = admin.clone().create_token(token_in(&acme)).await;
    refused.refused(Code::FailedPrecondition, ErrorReason::WorkspaceSuspended);
    let revoked = server.revoke(&token.public.name).await.token.expect("a token");
    assert_eq!(
        (revoked.state(), revoked.revoke_reason.as_str()),
        (TokenState::Revoked, "it leaked")
    );
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 0);
}

async fn suspending_again_changes_nothing_but_the_revision(installation: Installation) {
    let server = installation.start().await;
    let mut records = Records::of_installation(&installation).await;
    let acme = server.workspace("acme").await;
    let first = server.suspend(&acme).await;
    let suspended_at = records.count("SELECT state_time FROM workspaces").await;

    let second_admin = server.caller("second-admin", Role::Admin).await;
    let second_admin = server.client(&second_admin.secret).await;
    let request = SuspendWorkspaceRequest {
        name: acme,
        no_wait: true,
    };
    let again = second_admin
        .workspace_admin()
        .suspend_workspace(request)
        .await
        .expect("SuspendWorkspace succeeds")
        .into_inner();
    assert_eq!(again.workspace, first.workspace);
    let (first, again) = (first.revision.expect("a revision"), again.revision.expect("a revision"));
    assert_eq!(first.epoch, again.epoch);
    assert!(
        again.number > first.number,
        "{again:?} is a revision of its own, after {first:?}"
    );
    assert_eq!(
        records.count("SELECT state_time FROM workspaces").await,
        suspended_at,
        "the time of the first call stays"
    );
    let kinds: Vec<_> = records.of("acme").await.into_iter().map(|record| record.kind).collect();
    assert_eq!(
        kinds,
        ["workspace.created", "workspace.suspended"],
        "a call that changes nothing is not recorded"
    );
}

async fn a_token_created_at_the_same_time_is_refused_or_denied(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let mut creations = Vec::new();
    for _ in 0..8 {
        // Each call has its own connection, so that the calls run concurrently.
        let (client, request) = (server.client(server.admin_key()).await, token_in(&acme));
        creations.push(tokio::spawn(
            async move { client.token_admin().create_token(request).await },
        ));
    }
    let suspended = server.suspend(&acme).await.workspace.expect("a workspace");
    let mut created = 0;
    for creation in creations {
        match creation.await.expect("the task does not panic") {
            Ok(answer) => {
                created += 1;
                let verdict = server.verdict(question(&answer.into_inner().secret, &acme, &[])).await;
                assert_eq!(verdict.deny_reason(), DenyReason::WorkspaceSuspended);
            }
            refused => _ = refused.refused(Code::FailedPrecondition, ErrorReason::WorkspaceSuspended),
        }
    }
    assert_eq!(
        suspended.active_token_count, created,
        "no token is created after the suspension"
    );
}

async fn a_deleted_workspace_can_not_be_suspended(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let deleted = server.delete_workspace(&acme).await.workspace.expect("a workspace");
    let request = SuspendWorkspaceRequest {
        name: acme.clone(),
        no_wait: false,
    };
    let answer = server.admin().workspace_admin().suspend_workspace(request).await;
    answer.refused(Code::FailedPrecondition, ErrorReason::WorkspaceDeleted);
    assert_eq!(server.get_workspace(&acme).await, deleted);
}

async fn an_absent_workspace_is_not_found(installation: Installation) {
    let server = installation.start().await;
    let request = SuspendWorkspaceRequest {
        name: "workspaces/nobody".to_owned(),
        no_wait: false,
    };
    let answer = server.admin().workspace_admin().suspend_workspace(request).await;
    answer.refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
}

async fn an_ill_formed_name_is_rejected(installation: Installation) {
    let server = installation.start().await;
    for name in [
        "",
        "acme",
        "workspaces/",
        "workspaces/Acme",
        "workspaces/acme/",
        "organizations/acme",
        "workspaces/-",
    ] {
        let request = SuspendWorkspaceRequest {
            name: name.to_owned(),
            no_wait: false,
        };
        server
            .admin()
            .workspace_admin()
            .suspend_workspace(request)
            .await
            .refused_field("name");
    }
}
