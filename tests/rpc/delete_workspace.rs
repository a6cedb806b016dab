//! `WorkspaceAdmin.DeleteWorkspace` permanently denies every token of the workspace.

use std::time::Duration;

use tokend_client::v1::{
    CreateTokenRequest, CreateWorkspaceRequest, Decision, DeleteWorkspaceRequest, DenyReason, ErrorReason,
    IdentifyTokenRequest, ListTokensRequest, ListWorkspacesRequest, RevokeTokenRequest, Token, Workspace,
    create_token_request::Expiry, token, workspace::State,
};
use tokend_tests::{Installation, Records, Refused, after, on_both_databases, question, token_in};
use tonic::Code;

on_both_databases!(
    every_token_is_denied_at_once,
    every_server_on_the_database_denies_its_tokens,
    its_tokens_are_shown_as_revoked,
    an_earlier_revocation_or_expiry_is_the_deny_reason,
    its_id_is_never_reused,
    deleting_again_changes_nothing_but_the_revision,
    a_suspended_workspace_can_be_deleted,
    revoking_a_token_of_a_deleted_workspace_changes_nothing,
    two_concurrent_deletions_succeed_and_one_is_recorded,
    a_concurrently_created_token_is_refused_or_denied,
    an_absent_workspace_is_not_found,
    an_invalid_name_is_refused,
);

async fn every_token_is_denied_at_once(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let unlimited = CreateTokenRequest {
        expiry: Some(Expiry::NoExpiry(true)),
        ..token_in(&acme)
    };
    let tokens = [
        server.token(token_in(&acme)).await.secret,
        server.token(unlimited).await.secret,
    ];
    let foreign = server.token(token_in(&other)).await.secret;
    let before = server.get_workspace(&acme).await;

    let answer = server.delete_workspace(&acme).await;
    for token in &tokens {
        let verdict = server.verdict(question(token, &acme, &[])).await;
        assert_eq!(
            (verdict.decision(), verdict.deny_reason()),
            (Decision::Deny, DenyReason::WorkspaceDeleted)
        );
    }
    assert_eq!(
        server.verdict(question(&foreign, &other, &[])).await.decision(),
        Decision::Allow,
        "other workspaces are not affected"
    );
    assert!(answer.revision.is_some());
    let workspace = answer.workspace.expect("`workspace` is set");
    assert_eq!(
        workspace,
        Workspace {
            state: State::Deleted.into(),
            active_token_count: 0,
            ..before
        }
    );
    assert_eq!(server.get_workspace(&acme).await, workspace);
    let list = server
        .admin()
        .workspace_admin()
        .list_workspaces(ListWorkspacesRequest::default())
        .await;
    assert!(
        list.expect("ListWorkspaces succeeds")
            .into_inner()
            .workspaces
            .contains(&workspace),
        "the workspace is still listed"
    );
}

async fn every_server_on_the_database_denies_its_tokens(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.secret;
    let key = server.admin_key().to_owned();
    let other_server = if installation.postgres().is_some() {
        let replica = installation.serve(&key).await;
        assert_eq!(
            replica.verdict(question(&token, &acme, &[])).await.decision(),
            Decision::Allow
        );
        server.delete_workspace(&acme).await;
        replica
    } else {
        // Only one process can use a SQLite file. Its successor must see the deletion even after a kill.
        server.delete_workspace(&acme).await;
        server.kill();
        installation.serve(&key).await
    };
    assert_eq!(
        other_server.verdict(question(&token, &acme, &[])).await.deny_reason(),
        DenyReason::WorkspaceDeleted
    );
}

async fn its_tokens_are_shown_as_revoked(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let created = server.token(token_in(&acme)).await;
    let expired = server
        .token(CreateTokenRequest {
            expiry: after(Duration::from_secs(60)),
            ..token_in(&acme)
        })
        .await;
    installation.clock().set_ahead(Duration::from_secs(60));
    server.delete_workspace(&acme).await;
    let revoked = Token {
        state: token::State::Revoked.into(),
        ..created.public.clone()
    };
    assert_eq!(
        server.get_token(&created.public.name).await,
        revoked,
        "nothing else has changed"
    );
    assert_eq!(
        server.get_token(&expired.public.name).await.state(),
        token::State::Revoked,
        "revoked takes precedence over expired"
    );
    let admin = server.admin().token_admin();
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
    assert_eq!(listed.total_size, 2);
    assert!(
        listed.tokens.iter().all(|token| token.state() == token::State::Revoked),
        "{listed:?}"
    );
    let identified = admin
        .clone()
        .identify_token(IdentifyTokenRequest { secret: created.secret })
        .await
        .expect("IdentifyToken succeeds");
    assert_eq!(identified.into_inner().token, Some(revoked));
    admin
        .clone()
        .create_token(token_in(&acme))
        .await
        .refused(Code::FailedPrecondition, ErrorReason::WorkspaceDeleted);
}

async fn an_earlier_revocation_or_expiry_is_the_deny_reason(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let revoked = server.token(token_in(&acme)).await;
    let expired = server
        .token(CreateTokenRequest {
            expiry: after(Duration::from_secs(60)),
            ..token_in(&acme)
        })
        .await;
    let active = server.token(token_in(&acme)).await;
    let as_revoked = server.revoke(&revoked.public.name).await.token.expect("`token` is set");
    server.delete_workspace(&acme).await;
    installation.clock().set_ahead(Duration::from_secs(60));
    let deny_reason =
        async |secret: &str, resource: &str| server.verdict(question(secret, resource, &[])).await.deny_reason();
    assert_eq!(deny_reason(&revoked.secret, &acme).await, DenyReason::Revoked);
    assert_eq!(deny_reason(&expired.secret, &acme).await, DenyReason::Expired);
    assert_eq!(deny_reason(&active.secret, &acme).await, DenyReason::WorkspaceDeleted);
    assert_eq!(
        deny_reason(&active.secret, "workspaces/other").await,
        DenyReason::WorkspaceDeleted,
        "the deletion takes precedence over the resource"
    );
    assert_eq!(
        server.get_token(&revoked.public.name).await,
        as_revoked,
        "the revoker and the reason are kept"
    );
}

async fn its_id_is_never_reused(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.secret;
    let deleted = server
        .delete_workspace(&acme)
        .await
        .workspace
        .expect("`workspace` is set");
    for display_name in ["ACME", "Another"] {
        let request = CreateWorkspaceRequest {
            workspace_id: "acme".to_owned(),
            display_name: display_name.to_owned(),
            ..Default::default()
        };
        let answer = server.admin().workspace_admin().create_workspace(request).await;
        answer.refused(Code::AlreadyExists, ErrorReason::WorkspaceAlreadyExists);
    }
    assert_eq!(server.get_workspace(&acme).await, deleted);
    assert_eq!(
        server.verdict(question(&token, &acme, &[])).await.deny_reason(),
        DenyReason::WorkspaceDeleted
    );
}

async fn deleting_again_changes_nothing_but_the_revision(installation: Installation) {
    let server = installation.start().await;
    let mut records = Records::of_installation(&installation).await;
    let acme = server.workspace("acme").await;
    let first = server.delete_workspace(&acme).await;
    let state_time = records.count("SELECT state_time FROM workspaces").await;
    let request = DeleteWorkspaceRequest {
        name: acme,
        no_wait: true,
    };
    let again = server
        .admin()
        .workspace_admin()
        .delete_workspace(request)
        .await
        .expect("DeleteWorkspace succeeds")
        .into_inner();
    assert_eq!(again.workspace, first.workspace);
    let (first, again) = (
        first.revision.expect("`revision` is set"),
        again.revision.expect("`revision` is set"),
    );
    assert_eq!(
        (again.epoch, again.number),
        (first.epoch, first.number + 1),
        "each call has a new revision"
    );
    assert_eq!(
        records.count("SELECT state_time FROM workspaces").await,
        state_time,
        "the time of the deletion does not change"
    );
}

async fn a_suspended_workspace_can_be_deleted(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.secret;
    server.suspend(&acme).await;
    assert_eq!(
        server
            .delete_workspace(&acme)
            .await
            .workspace
            .expect("`workspace` is set")
            .state(),
        State::Deleted
    );
    assert_eq!(
        server.verdict(question(&token, &acme, &[])).await.deny_reason(),
        DenyReason::WorkspaceDeleted
    );
}

async fn revoking_a_token_of_a_deleted_workspace_changes_nothing(installation: Installation) {
    let server = installation.start().await;
    let mut records = Records::of_installation(&installation).await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    server.delete_workspace(&acme).await;
    let before = server.get_token(&token.public.name).await;
    let recorded = records.of("acme").await.len();

    let request = RevokeTokenRequest {
        name: token.public.name.clone(),
        reason: "it leaked, too".to_owned(),
        no_wait: false,
    };
    let answer = server
        .admin()
        .token_admin()
        .revoke_token(request)
        .await
        .expect("RevokeToken succeeds")
        .into_inner();
    assert!(answer.revision.is_some());
    assert_eq!(answer.token, Some(before), "the token was revoked with its workspace");
    assert_eq!(
        server.verdict(question(&token.secret, &acme, &[])).await.deny_reason(),
        DenyReason::WorkspaceDeleted
    );
    assert_eq!(records.of("acme").await.len(), recorded);
}

async fn two_concurrent_deletions_succeed_and_one_is_recorded(installation: Installation) {
    let server = installation.start().await;
    let mut records = Records::of_installation(&installation).await;
    let acme = server.workspace("acme").await;
    let mut calls = Vec::new();
    for _ in 0..2 {
        let (client, name) = (server.client(server.admin_key()).await, acme.clone());
        let request = DeleteWorkspaceRequest { name, no_wait: false };
        calls.push(tokio::spawn(async move {
            client.workspace_admin().delete_workspace(request).await
        }));
    }
    let mut numbers = Vec::new();
    for call in calls {
        let answer = call
            .await
            .expect("the task does not panic")
            .expect("DeleteWorkspace succeeds")
            .into_inner();
        assert_eq!(answer.workspace, Some(server.get_workspace(&acme).await));
        numbers.push(answer.revision.expect("`revision` is set").number);
    }
    assert_ne!(numbers[0], numbers[1], "each call has a new revision");
    let kinds: Vec<_> = records.of("acme").await.into_iter().map(|record| record.kind).collect();
    assert_eq!(kinds, ["workspace.created", "workspace.deleted"]);
}

async fn a_concurrently_created_token_is_refused_or_denied(installation: Installation) {
    let server = installation.start().await;
    let mut records = Records::of_installation(&installation).await;
    let acme = server.workspace("acme").await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        // Each call has its own connection, so that the calls are concurrent.
        let (client, request) = (server.client(server.admin_key()).await, token_in(&acme));
        tasks.push(tokio::spawn(
            async move { client.token_admin().create_token(request).await },
        ));
    }
    server.delete_workspace(&acme).await;
    for task in tasks {
        match task.await.expect("the task does not panic") {
            Ok(answer) => {
                let verdict = server.verdict(question(&answer.into_inner().secret, &acme, &[])).await;
                assert_eq!(verdict.deny_reason(), DenyReason::WorkspaceDeleted);
            }
            refused => _ = refused.refused(Code::FailedPrecondition, ErrorReason::WorkspaceDeleted),
        }
    }
    let last = records.of("acme").await.pop().expect("the chain has a record").kind;
    assert_eq!(last, "workspace.deleted", "every token was created before the deletion");
}

async fn an_absent_workspace_is_not_found(installation: Installation) {
    let server = installation.start().await;
    let request = DeleteWorkspaceRequest {
        name: "workspaces/nobody".to_owned(),
        no_wait: false,
    };
    let answer = server.admin().workspace_admin().delete_workspace(request).await;
    answer.refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
}

async fn an_invalid_name_is_refused(installation: Installation) {
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
        let request = DeleteWorkspaceRequest {
            name: name.to_owned(),
            no_wait: false,
        };
        server
            .admin()
            .workspace_admin()
            .delete_workspace(request)
            .await
            .refused_field("name");
    }
}
