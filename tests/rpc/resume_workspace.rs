//! `WorkspaceAdmin.ResumeWorkspace`: tokens that were not revoked and did not expire meanwhile work again.

use std::time::Duration;

use tokend_client::v1::{
    CreateTokenRequest, Decision, DenyReason, ErrorReason, ResumeWorkspaceRequest, SuspendWorkspaceRequest, Workspace,
    workspace::State,
};
use tokend_tests::{Installation, Records, Refused, after, on_both_databases, question, token_in};
use tonic::Code;

on_both_databases!(
    the_tokens_of_a_resumed_workspace_work_at_once,
    tokens_that_were_revoked_or_expired_stay_denied,
    resuming_an_active_workspace_changes_nothing_but_the_revision,
    of_concurrent_calls_the_last_one_counts,
    a_deleted_workspace_can_not_be_resumed,
    an_absent_workspace_is_not_found,
    an_ill_formed_name_is_rejected,
);

async fn the_tokens_of_a_resumed_workspace_work_at_once(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let before = server.get_workspace(&acme).await;
    let suspended = server.suspend(&acme).await.revision.expect("a revision");
    let answer = server.resume(&acme).await;
    assert_eq!(answer.workspace, Some(before), "the workspace is as before");
    assert_eq!(
        server.get_token(&token.public.name).await,
        token.public,
        "the token is as before"
    );
    assert_eq!(
        server
            .verdict(question(&token.secret, &acme, &["repository"]))
            .await
            .decision(),
        Decision::Allow
    );
    let resumed = answer.revision.expect("a revision");
    assert_eq!(
        (resumed.epoch, resumed.number),
        (suspended.epoch, suspended.number + 1),
        "each change is a revision"
    );
    server.token(token_in(&acme)).await;
}

async fn tokens_that_were_revoked_or_expired_stay_denied(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let revoked = server.token(token_in(&acme)).await;
    let expired = server
        .token(CreateTokenRequest {
            expiry: after(Duration::from_secs(60)),
            ..token_in(&acme)
        })
        .await;
    server.suspend(&acme).await;
    server.revoke(&revoked.public.name).await;
    installation.clock().set_ahead(Duration::from_secs(60));
    assert_eq!(
        server
            .resume(&acme)
            .await
            .workspace
            .expect("a workspace")
            .active_token_count,
        0
    );
    let deny_reason = async |secret: &str| server.verdict(question(secret, &acme, &[])).await.deny_reason();
    assert_eq!(deny_reason(&revoked.secret).await, DenyReason::Revoked);
    assert_eq!(deny_reason(&expired.secret).await, DenyReason::Expired);
}

async fn resuming_an_active_workspace_changes_nothing_but_the_revision(installation: Installation) {
    let server = installation.start().await;
    let mut records = Records::of_installation(&installation).await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.secret;
    let before = server.get_workspace(&acme).await;
    let (first, second) = (server.resume(&acme).await, server.resume(&acme).await);
    assert_eq!(first.workspace.as_ref(), Some(&before));
    assert_eq!(second.workspace, Some(before));
    assert_eq!(
        second.revision.expect("a revision").number,
        first.revision.expect("a revision").number + 1
    );
    assert_eq!(
        server.verdict(question(&token, &acme, &[])).await.decision(),
        Decision::Allow
    );
    let kinds: Vec<_> = records.of("acme").await.into_iter().map(|record| record.kind).collect();
    assert_eq!(
        kinds,
        ["workspace.created", "token.created"],
        "a call that changes nothing is not recorded"
    );
}

/// Revisions order the changes: each answer has the state right after its own change, and the last one's remains.
async fn of_concurrent_calls_the_last_one_counts(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.secret;
    let mut calls = Vec::new();
    for n in 0..12 {
        // Each call has its own connection, so that the calls run concurrently.
        let (admin, name) = (server.client(server.admin_key()).await.workspace_admin(), acme.clone());
        calls.push(tokio::spawn(async move {
            let mut admin = admin;
            let (workspace, revision, state) = if n % 2 == 0 {
                let request = SuspendWorkspaceRequest { name, no_wait: false };
                let answer = admin
                    .suspend_workspace(request)
                    .await
                    .expect("SuspendWorkspace succeeds")
                    .into_inner();
                (answer.workspace, answer.revision, State::Suspended)
            } else {
                let request = ResumeWorkspaceRequest { name };
                let answer = admin
                    .resume_workspace(request)
                    .await
                    .expect("ResumeWorkspace succeeds")
                    .into_inner();
                (answer.workspace, answer.revision, State::Active)
            };
            let workspace: Workspace = workspace.expect("a workspace");
            assert_eq!((workspace.state(), workspace.active_token_count), (state, 1));
            (revision.expect("a revision").number, state)
        }));
    }
    let mut changes = Vec::new();
    for call in calls {
        changes.push(call.await.expect("the task does not panic"));
    }
    changes.sort_unstable_by_key(|(number, _)| *number);
    let last = changes.last().expect("a change").1;
    assert_eq!(server.get_workspace(&acme).await.state(), last);
    let expected = if last == State::Active {
        Decision::Allow
    } else {
        Decision::Deny
    };
    assert_eq!(server.verdict(question(&token, &acme, &[])).await.decision(), expected);
}

async fn a_deleted_workspace_can_not_be_resumed(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.secret;
    server.suspend(&acme).await;
    let deleted = server.delete_workspace(&acme).await.workspace.expect("a workspace");
    let answer = server
        .admin()
        .workspace_admin()
        .resume_workspace(ResumeWorkspaceRequest { name: acme.clone() })
        .await;
    answer.refused(Code::FailedPrecondition, ErrorReason::WorkspaceDeleted);
    assert_eq!(server.get_workspace(&acme).await, deleted);
    assert_eq!(
        server.verdict(question(&token, &acme, &[])).await.deny_reason(),
        DenyReason::WorkspaceDeleted
    );
}

async fn an_absent_workspace_is_not_found(installation: Installation) {
    let server = installation.start().await;
    let request = ResumeWorkspaceRequest {
        name: "workspaces/nobody".to_owned(),
    };
    let answer = server.admin().workspace_admin().resume_workspace(request).await;
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
        let request = ResumeWorkspaceRequest { name: name.to_owned() };
        server
            .admin()
            .workspace_admin()
            .resume_workspace(request)
            .await
            .refused_field("name");
    }
}
