//! `WorkspaceAdmin.SuspendWorkspace`: when it returns, none of its tokens works.

use std::time::Duration;

use tokend_client::v1::{
    CreateTokenRequest, Decision, DenyReason, ErrorReason, IdentifyTokenRequest, ListTokensRequest, Role, SuspendWorkspaceRequest,
    Workspace, token::State as TokenState, workspace::State,
};
use tokend_tests::{Installation, Records, Refused, after, on_both_databases, question, token_in};
use tonic::Code;

on_both_databases!(
    its_tokens_are_denied_at_once,
    every_server_on_the_database_knows,
    what_ended_before_is_told_first,
    its_tokens_are_shown_and_revoked_but_none_is_made,
    suspending_again_changes_nothing_but_the_revision,
    a_token_made_at_the_same_time_is_refused_or_denied,
    a_deleted_one_is_past_it,
    an_absent_one_is_not_found,
    an_ill_formed_name_is_told_as_such,
);

async fn its_tokens_are_denied_at_once(installation: Installation) {
    let server = installation.start().await;
    let (acme, other) = (server.workspace("acme").await, server.workspace("other").await);
    let tokens = [server.token(token_in(&acme)).await.secret, server.token(token_in(&acme)).await.secret];
    let foreign = server.token(token_in(&other)).await.secret;
    let before = server.get_workspace(&acme).await;

    let answer = server.suspend(&acme).await;
    for token in &tokens {
        let verdict = server.verdict(question(token, &acme, &[])).await;
        assert_eq!((verdict.decision(), verdict.deny_reason()), (Decision::Deny, DenyReason::WorkspaceSuspended));
    }
    assert_eq!(server.verdict(question(&foreign, &other, &[])).await.decision(), Decision::Allow, "it alone");
    assert!(answer.revision.is_some());
    let workspace = answer.workspace.expect("it is told");
    assert_eq!((workspace.state(), workspace.active_token_count), (State::Suspended, 2));
    assert_eq!(Workspace { state: State::Active.into(), ..workspace.clone() }, before, "nothing else has changed");
    assert_eq!(server.get_workspace(&acme).await, workspace);
}

async fn every_server_on_the_database_knows(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.secret;
    let key = server.admin_key().to_owned();
    let knows = if installation.postgres().is_some() {
        let replica = installation.serve(&key).await;
        assert_eq!(replica.verdict(question(&token, &acme, &[])).await.decision(), Decision::Allow);
        server.suspend(&acme).await;
        replica
    } else {
        // A file serves one process; its successor knows what it did, however it ended.
        server.suspend(&acme).await;
        server.kill();
        installation.serve(&key).await
    };
    assert_eq!(knows.verdict(question(&token, &acme, &[])).await.deny_reason(), DenyReason::WorkspaceSuspended);
}

async fn what_ended_before_is_told_first(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let revoked = server.token(token_in(&acme)).await;
    let expired = server.token(CreateTokenRequest { expiry: after(Duration::from_secs(60)), ..token_in(&acme) }).await;
    let suspended = server.token(token_in(&acme)).await;
    server.suspend(&acme).await;
    server.revoke(&revoked.public.name).await;
    installation.clock().set_ahead(Duration::from_secs(60));
    let told = async |secret: &str, resource: &str| server.verdict(question(secret, resource, &[])).await.deny_reason();
    assert_eq!(told(&revoked.secret, &acme).await, DenyReason::Revoked);
    assert_eq!(told(&expired.secret, &acme).await, DenyReason::Expired);
    assert_eq!(told(&suspended.secret, &acme).await, DenyReason::WorkspaceSuspended);
    assert_eq!(told(&suspended.secret, "workspaces/other").await, DenyReason::WorkspaceSuspended, "before what it covers");
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 1);
}

async fn its_tokens_are_shown_and_revoked_but_none_is_made(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    server.suspend(&acme).await;
    let admin = server.admin().token_admin();

    assert_eq!(server.get_token(&token.public.name).await.state(), TokenState::Suspended);
    let list = ListTokensRequest { parent: acme.clone(), ..Default::default() };
    let listed = admin.clone().list_tokens(list).await.expect("a list").into_inner();
    assert_eq!(listed.tokens[0].state(), TokenState::Suspended);
    let identify = IdentifyTokenRequest { secret: token.secret.clone() };
    let identified = admin.clone().identify_token(identify).await.expect("it is ours").into_inner();
    assert_eq!(identified.token.expect("told").state(), TokenState::Suspended);

    let refused = admin.clone().create_token(token_in(&acme)).await;
    refused.refused(Code::FailedPrecondition, ErrorReason::WorkspaceSuspended);
    let revoked = server.revoke(&token.public.name).await.token.expect("told");
    assert_eq!((revoked.state(), revoked.revoke_reason.as_str()), (TokenState::Revoked, "it leaked"));
    assert_eq!(server.get_workspace(&acme).await.active_token_count, 0);
}

async fn suspending_again_changes_nothing_but_the_revision(installation: Installation) {
    let server = installation.start().await;
    let mut records = Records::of_installation(&installation).await;
    let acme = server.workspace("acme").await;
    let first = server.suspend(&acme).await;
    let since = records.count("SELECT state_time FROM workspaces").await;

    let second_admin = server.caller("second-admin", Role::Admin).await;
    let second_admin = server.client(&second_admin.secret).await;
    let request = SuspendWorkspaceRequest { name: acme, no_wait: true };
    let again = second_admin.workspace_admin().suspend_workspace(request).await.expect("it is OK").into_inner();
    assert_eq!(again.workspace, first.workspace);
    let (first, again) = (first.revision.expect("told"), again.revision.expect("told"));
    assert_eq!(first.epoch, again.epoch);
    assert!(again.number > first.number, "{again:?} is a revision of its own, after {first:?}");
    assert_eq!(records.count("SELECT state_time FROM workspaces").await, since, "suspended since the first time");
    let kinds: Vec<_> = records.of("acme").await.into_iter().map(|record| record.kind).collect();
    assert_eq!(kinds, ["workspace.created", "workspace.suspended"], "what changed nothing is not on record");
}

async fn a_token_made_at_the_same_time_is_refused_or_denied(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let mut makers = Vec::new();
    for _ in 0..8 {
        // On connections of their own so that nothing puts them in a row.
        let (client, request) = (server.client(server.admin_key()).await, token_in(&acme));
        makers.push(tokio::spawn(async move { client.token_admin().create_token(request).await }));
    }
    let suspended = server.suspend(&acme).await.workspace.expect("told");
    let mut made = 0;
    for maker in makers {
        match maker.await.expect("it does not panic") {
            Ok(answer) => {
                made += 1;
                let verdict = server.verdict(question(&answer.into_inner().secret, &acme, &[])).await;
                assert_eq!(verdict.deny_reason(), DenyReason::WorkspaceSuspended);
            }
            refused => _ = refused.refused(Code::FailedPrecondition, ErrorReason::WorkspaceSuspended),
        }
    }
    assert_eq!(suspended.active_token_count, made, "all that were made were made before");
}

async fn a_deleted_one_is_past_it(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let deleted = server.delete_workspace(&acme).await.workspace.expect("told");
    let request = SuspendWorkspaceRequest { name: acme.clone(), no_wait: false };
    let answer = server.admin().workspace_admin().suspend_workspace(request).await;
    answer.refused(Code::FailedPrecondition, ErrorReason::WorkspaceDeleted);
    assert_eq!(server.get_workspace(&acme).await, deleted);
}

async fn an_absent_one_is_not_found(installation: Installation) {
    let server = installation.start().await;
    let request = SuspendWorkspaceRequest { name: "workspaces/nobody".to_owned(), no_wait: false };
    let answer = server.admin().workspace_admin().suspend_workspace(request).await;
    answer.refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
}

async fn an_ill_formed_name_is_told_as_such(installation: Installation) {
    let server = installation.start().await;
    for name in ["", "acme", "workspaces/", "workspaces/Acme", "workspaces/acme/", "organizations/acme", "workspaces/-"] {
        let request = SuspendWorkspaceRequest { name: name.to_owned(), no_wait: false };
        server.admin().workspace_admin().suspend_workspace(request).await.refused_field("name");
    }
}
