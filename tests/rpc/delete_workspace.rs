//! `WorkspaceAdmin.DeleteWorkspace`: every token ends with it, for good.

use std::time::Duration;

use tokend_client::v1::{
    CreateTokenRequest, CreateWorkspaceRequest, Decision, DeleteWorkspaceRequest, DenyReason, ErrorReason, IdentifyTokenRequest,
    ListTokensRequest, ListWorkspacesRequest, RevokeTokenRequest, Token, Workspace, create_token_request::Expiry, token,
    workspace::State,
};
use tokend_tests::{Installation, Records, Refused, after, on_both_databases, question, token_in};
use tonic::Code;

on_both_databases!(
    every_token_ends_at_once,
    every_server_on_the_database_knows,
    its_tokens_are_shown_as_revoked,
    what_ended_before_is_told_first,
    its_id_is_never_used_again,
    deleting_again_changes_nothing_but_the_revision,
    a_suspended_one_can_be_deleted,
    revoking_a_token_of_it_changes_nothing,
    two_at_once_are_both_answered_and_one_is_on_record,
    a_token_made_at_the_same_time_is_refused_or_dead,
    an_absent_one_is_not_found,
    an_ill_formed_name_is_told_as_such,
);

async fn every_token_ends_at_once(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let endless = CreateTokenRequest { expiry: Some(Expiry::NoExpiry(true)), ..token_in(&acme) };
    let tokens = [server.token(token_in(&acme)).await.secret, server.token(endless).await.secret];
    let foreign = server.token(token_in(&other)).await.secret;
    let before = server.get_workspace(&acme).await;

    let answer = server.delete_workspace(&acme).await;
    for token in &tokens {
        let verdict = server.verdict(question(token, &acme, &[])).await;
        assert_eq!((verdict.decision(), verdict.deny_reason()), (Decision::Deny, DenyReason::WorkspaceDeleted));
    }
    assert_eq!(server.verdict(question(&foreign, &other, &[])).await.decision(), Decision::Allow, "it alone");
    assert!(answer.revision.is_some());
    let workspace = answer.workspace.expect("it is told");
    assert_eq!(workspace, Workspace { state: State::Deleted.into(), active_token_count: 0, ..before });
    assert_eq!(server.get_workspace(&acme).await, workspace);
    let list = server.admin().workspace_admin().list_workspaces(ListWorkspacesRequest::default()).await;
    assert!(list.expect("a list").into_inner().workspaces.contains(&workspace), "it is still listed");
}

async fn every_server_on_the_database_knows(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.secret;
    let key = server.admin_key().to_owned();
    let knows = if installation.postgres().is_some() {
        let replica = installation.serve(&key).await;
        assert_eq!(replica.verdict(question(&token, &acme, &[])).await.decision(), Decision::Allow);
        server.delete_workspace(&acme).await;
        replica
    } else {
        // A file serves one process; its successor knows what it did, however it ended.
        server.delete_workspace(&acme).await;
        server.kill();
        installation.serve(&key).await
    };
    assert_eq!(knows.verdict(question(&token, &acme, &[])).await.deny_reason(), DenyReason::WorkspaceDeleted);
}

async fn its_tokens_are_shown_as_revoked(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let made = server.token(token_in(&acme)).await;
    let expired = server.token(CreateTokenRequest { expiry: after(Duration::from_secs(60)), ..token_in(&acme) }).await;
    installation.clock().set_ahead(Duration::from_secs(60));
    server.delete_workspace(&acme).await;
    let revoked = Token { state: token::State::Revoked.into(), ..made.public.clone() };
    assert_eq!(server.get_token(&made.public.name).await, revoked, "nothing else has changed");
    assert_eq!(server.get_token(&expired.public.name).await.state(), token::State::Revoked, "it outranks expired");
    let admin = server.admin().token_admin();
    let list = ListTokensRequest { parent: acme.clone(), ..Default::default() };
    let listed = admin.clone().list_tokens(list).await.expect("a list").into_inner();
    assert_eq!(listed.total_size, 2);
    assert!(listed.tokens.iter().all(|token| token.state() == token::State::Revoked), "{listed:?}");
    let identified = admin.clone().identify_token(IdentifyTokenRequest { secret: made.secret }).await.expect("it is ours");
    assert_eq!(identified.into_inner().token, Some(revoked));
    admin.clone().create_token(token_in(&acme)).await.refused(Code::FailedPrecondition, ErrorReason::WorkspaceDeleted);
}

async fn what_ended_before_is_told_first(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let revoked = server.token(token_in(&acme)).await;
    let expired = server.token(CreateTokenRequest { expiry: after(Duration::from_secs(60)), ..token_in(&acme) }).await;
    let alive = server.token(token_in(&acme)).await;
    let as_revoked = server.revoke(&revoked.public.name).await.token.expect("told");
    server.delete_workspace(&acme).await;
    installation.clock().set_ahead(Duration::from_secs(60));
    let told = async |secret: &str, resource: &str| server.verdict(question(secret, resource, &[])).await.deny_reason();
    assert_eq!(told(&revoked.secret, &acme).await, DenyReason::Revoked);
    assert_eq!(told(&expired.secret, &acme).await, DenyReason::Expired);
    assert_eq!(told(&alive.secret, &acme).await, DenyReason::WorkspaceDeleted);
    assert_eq!(told(&alive.secret, "workspaces/other").await, DenyReason::WorkspaceDeleted, "before what it covers");
    assert_eq!(server.get_token(&revoked.public.name).await, as_revoked, "who revoked it and why is still told");
}

async fn its_id_is_never_used_again(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.secret;
    let deleted = server.delete_workspace(&acme).await.workspace.expect("told");
    for display_name in ["ACME", "Another"] {
        let request =
            CreateWorkspaceRequest { workspace_id: "acme".to_owned(), display_name: display_name.to_owned(), ..Default::default() };
        let answer = server.admin().workspace_admin().create_workspace(request).await;
        answer.refused(Code::AlreadyExists, ErrorReason::WorkspaceAlreadyExists);
    }
    assert_eq!(server.get_workspace(&acme).await, deleted);
    assert_eq!(server.verdict(question(&token, &acme, &[])).await.deny_reason(), DenyReason::WorkspaceDeleted);
}

async fn deleting_again_changes_nothing_but_the_revision(installation: Installation) {
    let server = installation.start().await;
    let mut records = Records::of_installation(&installation).await;
    let acme = server.workspace("acme").await;
    let first = server.delete_workspace(&acme).await;
    let since = records.count("SELECT state_time FROM workspaces").await;
    let request = DeleteWorkspaceRequest { name: acme, no_wait: true };
    let again = server.admin().workspace_admin().delete_workspace(request).await.expect("it is OK").into_inner();
    assert_eq!(again.workspace, first.workspace);
    let (first, again) = (first.revision.expect("told"), again.revision.expect("told"));
    assert_eq!((again.epoch, again.number), (first.epoch, first.number + 1), "it is a revision of its own");
    assert_eq!(records.count("SELECT state_time FROM workspaces").await, since, "deleted since the first time");
}

async fn a_suspended_one_can_be_deleted(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.secret;
    server.suspend(&acme).await;
    assert_eq!(server.delete_workspace(&acme).await.workspace.expect("told").state(), State::Deleted);
    assert_eq!(server.verdict(question(&token, &acme, &[])).await.deny_reason(), DenyReason::WorkspaceDeleted);
}

async fn revoking_a_token_of_it_changes_nothing(installation: Installation) {
    let server = installation.start().await;
    let mut records = Records::of_installation(&installation).await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    server.delete_workspace(&acme).await;
    let before = server.get_token(&token.public.name).await;
    let on_record = records.of("acme").await.len();

    let request = RevokeTokenRequest { name: token.public.name.clone(), reason: "it leaked, too".to_owned(), no_wait: false };
    let answer = server.admin().token_admin().revoke_token(request).await.expect("it is OK").into_inner();
    assert!(answer.revision.is_some());
    assert_eq!(answer.token, Some(before), "it had ended with its workspace");
    assert_eq!(server.verdict(question(&token.secret, &acme, &[])).await.deny_reason(), DenyReason::WorkspaceDeleted);
    assert_eq!(records.of("acme").await.len(), on_record);
}

async fn two_at_once_are_both_answered_and_one_is_on_record(installation: Installation) {
    let server = installation.start().await;
    let mut records = Records::of_installation(&installation).await;
    let acme = server.workspace("acme").await;
    let mut calls = Vec::new();
    for _ in 0..2 {
        let (client, name) = (server.client(server.admin_key()).await, acme.clone());
        let request = DeleteWorkspaceRequest { name, no_wait: false };
        calls.push(tokio::spawn(async move { client.workspace_admin().delete_workspace(request).await }));
    }
    let mut numbers = Vec::new();
    for call in calls {
        let answer = call.await.expect("it does not panic").expect("it is deleted").into_inner();
        assert_eq!(answer.workspace, Some(server.get_workspace(&acme).await));
        numbers.push(answer.revision.expect("told").number);
    }
    assert_ne!(numbers[0], numbers[1], "each is a revision of its own");
    let kinds: Vec<_> = records.of("acme").await.into_iter().map(|record| record.kind).collect();
    assert_eq!(kinds, ["workspace.created", "workspace.deleted"]);
}

async fn a_token_made_at_the_same_time_is_refused_or_dead(installation: Installation) {
    let server = installation.start().await;
    let mut records = Records::of_installation(&installation).await;
    let acme = server.workspace("acme").await;
    let mut makers = Vec::new();
    for _ in 0..8 {
        // On connections of their own so that nothing puts them in a row.
        let (client, request) = (server.client(server.admin_key()).await, token_in(&acme));
        makers.push(tokio::spawn(async move { client.token_admin().create_token(request).await }));
    }
    server.delete_workspace(&acme).await;
    for maker in makers {
        match maker.await.expect("it does not panic") {
            Ok(answer) => {
                let verdict = server.verdict(question(&answer.into_inner().secret, &acme, &[])).await;
                assert_eq!(verdict.deny_reason(), DenyReason::WorkspaceDeleted);
            }
            refused => _ = refused.refused(Code::FailedPrecondition, ErrorReason::WorkspaceDeleted),
        }
    }
    let last = records.of("acme").await.pop().expect("a record").kind;
    assert_eq!(last, "workspace.deleted", "all that were made were made before");
}

async fn an_absent_one_is_not_found(installation: Installation) {
    let server = installation.start().await;
    let request = DeleteWorkspaceRequest { name: "workspaces/nobody".to_owned(), no_wait: false };
    let answer = server.admin().workspace_admin().delete_workspace(request).await;
    answer.refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
}

async fn an_ill_formed_name_is_told_as_such(installation: Installation) {
    let server = installation.start().await;
    for name in ["", "acme", "workspaces/", "workspaces/Acme", "workspaces/acme/", "organizations/acme", "workspaces/-"] {
        let request = DeleteWorkspaceRequest { name: name.to_owned(), no_wait: false };
        server.admin().workspace_admin().delete_workspace(request).await.refused_field("name");
    }
}
