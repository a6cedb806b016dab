//! After a restore, workspaces and policies have their last state.

use std::time::Duration;

use tokend_client::v1::{CreateTokenRequest, Decision, DenyReason, token_policy::ExistingTokens};
use tokend_tests::{Backup, Installation, Server, after, max_lifetime, on_both_databases, question, token_in};

use crate::restore::{restore, serve};

on_both_databases!(
    restored_workspaces_have_their_last_state,
    restored_workspaces_have_their_last_policy,
    a_damaged_audit_chain_holds_up_no_revocation,
);

async fn restored_workspaces_have_their_last_state(installation: Installation) {
    let admin_key = installation.init().await;
    let server = serve(&installation, &admin_key).await;
    let [deleted, suspended, resumed, twice] = ["deleted", "suspended", "resumed", "twice"];
    let mut tokens = Vec::new();
    for id in [deleted, suspended, resumed, twice] {
        let workspace = server.workspace(id).await;
        tokens.push((server.token(token_in(&workspace)).await.secret, workspace));
    }
    server.suspend(&tokens[2].1).await;
    assert!(server.stop().await.status.success());
    let backup = Backup::of(&installation).await;

    let server = serve(&installation, &admin_key).await;
    server.delete_workspace(&tokens[0].1).await;
    server.suspend(&tokens[1].1).await;
    server.resume(&tokens[2].1).await;
    server.suspend(&tokens[3].1).await;
    server.resume(&tokens[3].1).await;
    let gone = server.workspace("gone").await;
    server.delete_workspace(&gone).await;
    assert!(server.stop().await.status.success());

    backup.restore(&installation).await;
    let outputs = [restore(&installation).await, restore(&installation).await];
    assert!(
        outputs[0].stderr.contains("3 workspaces, 0 tokens") && outputs[1].stderr.contains("0 workspaces, 0 tokens"),
        "{outputs:#?}"
    );
    let server = serve(&installation, &admin_key).await;
    let allowed = DenyReason::Unspecified;
    for ((secret, workspace), reason) in tokens.iter().zip([
        DenyReason::WorkspaceDeleted,
        DenyReason::WorkspaceSuspended,
        allowed,
        allowed,
    ]) {
        assert_eq!(
            server.verdict(question(secret, workspace, &[])).await.deny_reason(),
            reason,
            "{workspace}"
        );
    }
    // The ID of a workspace that the backup lacks is free. The exported deletion does not apply to its new workspace.
    let token = server.token(token_in(&server.workspace("gone").await)).await.secret;
    assert!(server.stop().await.status.success());
    assert!(
        restore(&installation).await.stderr.contains("0 workspaces"),
        "the deletion was for the earlier workspace"
    );
    let server = serve(&installation, &admin_key).await;
    assert_eq!(
        server.verdict(question(&token, &gone, &[])).await.decision(),
        Decision::Allow
    );
    assert!(
        installation.run_on_data(["audit", "verify"]).await.status.success(),
        "the audit log records every change"
    );
}

async fn restored_workspaces_have_their_last_policy(installation: Installation) {
    const HOUR: Duration = Duration::from_secs(3_600);
    let admin_key = installation.init().await;
    let server = serve(&installation, &admin_key).await;
    let initech = server.organization("initech").await;
    let (acme, beta) = (
        server.workspace_in("acme", &initech).await,
        server.workspace("beta").await,
    );
    let long = |workspace: &str| CreateTokenRequest {
        expiry: after(HOUR * 24),
        ..token_in(workspace)
    };
    let tokens = [server.token(long(&acme)).await, server.token(long(&beta)).await];
    server
        .set_policy(max_lifetime(&beta, HOUR, ExistingTokens::Apply))
        .await;
    assert!(server.stop().await.status.success());
    let backup = Backup::of(&installation).await;

    // One policy is lifted and replaced, and one is new.
    let server = serve(&installation, &admin_key).await;
    server.set_policy(max_lifetime(&beta, HOUR, ExistingTokens::Keep)).await;
    server
        .set_policy(max_lifetime(&beta, HOUR * 3, ExistingTokens::Apply))
        .await;
    server
        .set_policy(max_lifetime(&initech, HOUR * 2, ExistingTokens::Apply))
        .await;
    let policies = [server.get_policy(&initech).await, server.get_policy(&beta).await];
    let expire_times = async |server: &Server| {
        let [one, two] = [&tokens[0], &tokens[1]].map(|token| server.get_token(&token.public.name));
        [one.await.expire_time, two.await.expire_time]
    };
    let before = expire_times(&server).await;
    assert!(server.stop().await.status.success());

    backup.restore(&installation).await;
    let without_file = installation.serve(&admin_key).await;
    assert_ne!(
        expire_times(&without_file).await,
        before,
        "the backup has the old expiry"
    );
    assert!(without_file.stop().await.status.success());
    let outputs = [restore(&installation).await, restore(&installation).await];
    assert!(
        outputs[0].stderr.contains("2 policies") && outputs[1].stderr.contains("0 policies"),
        "{outputs:#?}"
    );
    let server = serve(&installation, &admin_key).await;
    assert_eq!(
        [server.get_policy(&initech).await, server.get_policy(&beta).await],
        policies,
        "the policies keep their etags"
    );
    assert_eq!(expire_times(&server).await, before);
    installation.clock().set_ahead(HOUR * 2 + Duration::from_secs(1));
    let verdicts = [DenyReason::Expired, DenyReason::Unspecified];
    for ((token, workspace), reason) in tokens.iter().zip([&acme, &beta]).zip(verdicts) {
        assert_eq!(
            server
                .verdict(question(&token.secret, workspace, &[]))
                .await
                .deny_reason(),
            reason,
            "{workspace}"
        );
    }
    assert!(
        installation.run_on_data(["audit", "verify"]).await.status.success(),
        "the audit log records every change"
    );
}

async fn a_damaged_audit_chain_holds_up_no_revocation(installation: Installation) {
    let admin_key = installation.init().await;
    let server = serve(&installation, &admin_key).await;
    let [acme, other] = [server.workspace("acme").await, server.workspace("other").await];
    let [in_acme, in_other] = [
        server.token(token_in(&acme)).await,
        server.token(token_in(&other)).await,
    ];
    assert!(server.stop().await.status.success());
    let backup = Backup::of(&installation).await;

    let server = serve(&installation, &admin_key).await;
    server.revoke(&in_acme.public.name).await;
    server.revoke(&in_other.public.name).await;
    assert!(server.stop().await.status.success());

    backup.restore(&installation).await;
    let damage = "UPDATE audit_chains SET sequence = sequence + 1 WHERE chain = 'acme'";
    assert_eq!(installation.sql(damage).await, 1);
    let restored = restore(&installation).await;
    assert!(restored.stderr.contains("0 workspaces, 2 tokens"), "{restored:#?}");
    let server = serve(&installation, &admin_key).await;
    for (token, workspace) in [(in_acme, acme), (in_other, other)] {
        let verdict = server.verdict(question(&token.secret, &workspace, &[])).await;
        assert_eq!(verdict.deny_reason(), DenyReason::Revoked, "{workspace}");
    }
    assert!(server.stop().await.status.success());
}
