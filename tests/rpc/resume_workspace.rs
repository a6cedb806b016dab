//! `WorkspaceAdmin.ResumeWorkspace`: what has not ended meanwhile works again.

use std::time::Duration;

use tokend_client::v1::{
    CreateTokenRequest, Decision, DenyReason, ErrorReason, ResumeWorkspaceRequest, SuspendWorkspaceRequest, Workspace,
    workspace::State,
};
use tokend_tests::{Installation, Records, Refused, after, on_both_databases, question, token_in};
use tonic::Code;

on_both_databases!(
    its_tokens_work_again_at_once,
    what_ended_meanwhile_stays_ended,
    resuming_an_active_one_changes_nothing_but_the_revision,
    of_many_at_once_the_last_counts,
    a_deleted_one_is_past_it,
    an_absent_one_is_not_found,
    an_ill_formed_name_is_told_as_such,
);

async fn its_tokens_work_again_at_once(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let before = server.get_workspace(&acme).await;
    let suspended = server.suspend(&acme).await.revision.expect("told");
    let answer = server.resume(&acme).await;
    assert_eq!(answer.workspace, Some(before), "it is as it was");
    assert_eq!(server.get_token(&token.public.name).await, token.public, "and so is its token");
    assert_eq!(server.verdict(question(&token.secret, &acme, &["repository"])).await.decision(), Decision::Allow);
    let resumed = answer.revision.expect("told");
    assert_eq!((resumed.epoch, resumed.number), (suspended.epoch, suspended.number + 1), "each is a revision");
    server.token(token_in(&acme)).await;
}

async fn what_ended_meanwhile_stays_ended(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let revoked = server.token(token_in(&acme)).await;
    let expired = server.token(CreateTokenRequest { expiry: after(Duration::from_secs(60)), ..token_in(&acme) }).await;
    server.suspend(&acme).await;
    server.revoke(&revoked.public.name).await;
    installation.clock().set_ahead(Duration::from_secs(60));
    assert_eq!(server.resume(&acme).await.workspace.expect("told").active_token_count, 0);
    let told = async |secret: &str| server.verdict(question(secret, &acme, &[])).await.deny_reason();
    assert_eq!(told(&revoked.secret).await, DenyReason::Revoked);
    assert_eq!(told(&expired.secret).await, DenyReason::Expired);
}

async fn resuming_an_active_one_changes_nothing_but_the_revision(installation: Installation) {
    let server = installation.start().await;
    let mut records = Records::of_installation(&installation).await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.secret;
    let before = server.get_workspace(&acme).await;
    let (first, second) = (server.resume(&acme).await, server.resume(&acme).await);
    assert_eq!(first.workspace.as_ref(), Some(&before));
    assert_eq!(second.workspace, Some(before));
    assert_eq!(second.revision.expect("told").number, first.revision.expect("told").number + 1);
    assert_eq!(server.verdict(question(&token, &acme, &[])).await.decision(), Decision::Allow);
    let kinds: Vec<_> = records.of("acme").await.into_iter().map(|record| record.kind).collect();
    assert_eq!(kinds, ["workspace.created", "token.created"], "what changed nothing is not on record");
}

/// Revisions are the order of the changes: each answer tells the state right after its own, and the last one's stays.
async fn of_many_at_once_the_last_counts(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.secret;
    let mut calls = Vec::new();
    for n in 0..12 {
        // On connections of their own so that nothing puts them in a row.
        let (admin, name) = (server.client(server.admin_key()).await.workspace_admin(), acme.clone());
        calls.push(tokio::spawn(async move {
            let mut admin = admin;
            let (workspace, revision, state) = if n % 2 == 0 {
                let request = SuspendWorkspaceRequest { name, no_wait: false };
                let answer = admin.suspend_workspace(request).await.expect("it is suspended").into_inner();
                (answer.workspace, answer.revision, State::Suspended)
            } else {
                let request = ResumeWorkspaceRequest { name };
                let answer = admin.resume_workspace(request).await.expect("it is resumed").into_inner();
                (answer.workspace, answer.revision, State::Active)
            };
            let workspace: Workspace = workspace.expect("told");
            assert_eq!((workspace.state(), workspace.active_token_count), (state, 1));
            (revision.expect("told").number, state)
        }));
    }
    let mut changes = Vec::new();
    for call in calls {
        changes.push(call.await.expect("it does not panic"));
    }
    changes.sort_unstable_by_key(|(number, _)| *number);
    let last = changes.last().expect("there are some").1;
    assert_eq!(server.get_workspace(&acme).await.state(), last);
    let wanted = if last == State::Active { Decision::Allow } else { Decision::Deny };
    assert_eq!(server.verdict(question(&token, &acme, &[])).await.decision(), wanted);
}

async fn a_deleted_one_is_past_it(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.secret;
    server.suspend(&acme).await;
    let deleted = server.delete_workspace(&acme).await.workspace.expect("told");
    let answer = server.admin().workspace_admin().resume_workspace(ResumeWorkspaceRequest { name: acme.clone() }).await;
    answer.refused(Code::FailedPrecondition, ErrorReason::WorkspaceDeleted);
    assert_eq!(server.get_workspace(&acme).await, deleted);
    assert_eq!(server.verdict(question(&token, &acme, &[])).await.deny_reason(), DenyReason::WorkspaceDeleted);
}

async fn an_absent_one_is_not_found(installation: Installation) {
    let server = installation.start().await;
    let request = ResumeWorkspaceRequest { name: "workspaces/nobody".to_owned() };
    let answer = server.admin().workspace_admin().resume_workspace(request).await;
    answer.refused(Code::NotFound, ErrorReason::WorkspaceNotFound);
}

async fn an_ill_formed_name_is_told_as_such(installation: Installation) {
    let server = installation.start().await;
    for name in ["", "acme", "workspaces/", "workspaces/Acme", "workspaces/acme/", "organizations/acme", "workspaces/-"] {
        let request = ResumeWorkspaceRequest { name: name.to_owned() };
        server.admin().workspace_admin().resume_workspace(request).await.refused_field("name");
    }
}
