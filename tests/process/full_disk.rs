//! A temporarily full disk loses no acknowledged change, and the server writes again as soon as there is space.

use tokend_client::v1::{
    CreateWorkspaceRequest, Decision, DeleteCallerRequest, ErrorReason, RevokeTokenRequest, Token, VerifyResponse,
};
use tokend_tests::{Installation, Issued, Refused, Server, SmallDisk, eventually, on_sqlite, question, token_in};
use tonic::Code;

on_sqlite!(
    an_acknowledged_revocation_survives_a_full_disk,
    changes_acknowledged_between_full_disks_are_stored,
);

const MEGABYTES: u32 = 8;
const TOKENS: usize = 11;
/// The number of failed writes after which each pooled connection has failed at least once.
const FAILURES: usize = 6;

async fn tokens_in(server: &Server, workspace: &str) -> Vec<Issued<Token>> {
    let mut tokens = Vec::new();
    for _ in 0..TOKENS {
        tokens.push(server.token(token_in(workspace)).await);
    }
    tokens
}

/// Fills the disk, and writes until [`FAILURES`] writes have failed.
async fn fail_writes(server: &Server, disk: &SmallDisk) {
    disk.fill();
    let (mut failures, mut number) = (0, 0);
    eventually("writes fail", async || {
        number += 1;
        let request = CreateWorkspaceRequest {
            workspace_id: format!("full-{number}"),
            display_name: "Full".to_owned(),
            ..CreateWorkspaceRequest::default()
        };
        if let Err(status) = server.admin().workspace_admin().create_workspace(request).await {
            Err::<tonic::Response<()>, _>(status).refused(Code::Unavailable, ErrorReason::StorageUnavailable);
            failures += 1;
        }
        (failures >= FAILURES).then_some(())
    })
    .await;
}

/// Makes a call whose write is rolled back: the last ADMIN cannot be deleted.
async fn roll_back(server: &Server) {
    let request = DeleteCallerRequest {
        name: "callers/admin".to_owned(),
        no_wait: false,
    };
    let answer = server.admin().caller_admin().delete_caller(request).await;
    answer.refused(Code::FailedPrecondition, ErrorReason::LastAdmin);
}

async fn revoke(server: &Server, name: &str) -> bool {
    let request = RevokeTokenRequest {
        name: name.to_owned(),
        reason: "it leaked".to_owned(),
        no_wait: false,
    };
    server.admin().token_admin().revoke_token(request).await.is_ok()
}

async fn verdict(server: &Server, secret: &str) -> VerifyResponse {
    server
        .verdict(question(secret, "workspaces/acme", &["repository"]))
        .await
}

async fn an_acknowledged_revocation_survives_a_full_disk(installation: Installation) {
    let Some(disk) = SmallDisk::mount(&installation.data_dir(), MEGABYTES) else {
        return;
    };
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let tokens = tokens_in(&server, &acme).await;
    fail_writes(&server, &disk).await;
    disk.free();
    roll_back(&server).await;
    for Issued { public, secret } in &tokens {
        assert!(revoke(&server, &public.name).await, "there is space again");
        assert_eq!(verdict(&server, secret).await.decision(), Decision::Deny, "at once");
    }
    let admin_key = server.admin_key().to_owned();
    assert!(server.stop().await.status.success());
    let server = installation.serve(&admin_key).await;
    for Issued { secret, .. } in &tokens {
        assert_eq!(
            verdict(&server, secret).await.decision(),
            Decision::Deny,
            "after a restart"
        );
    }
}

async fn changes_acknowledged_between_full_disks_are_stored(installation: Installation) {
    let Some(disk) = SmallDisk::mount(&installation.data_dir(), MEGABYTES) else {
        return;
    };
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let tokens = tokens_in(&server, &acme).await;
    let mut revoked = Vec::new();
    for Issued { public, secret } in &tokens {
        fail_writes(&server, &disk).await;
        if revoke(&server, &public.name).await {
            revoked.push(secret);
        }
        disk.free();
        roll_back(&server).await;
    }
    for Issued { public, secret } in &tokens {
        if !revoked.contains(&secret) {
            assert!(revoke(&server, &public.name).await, "there is space again");
        }
        assert_eq!(verdict(&server, secret).await.decision(), Decision::Deny, "at once");
    }
    let admin_key = server.admin_key().to_owned();
    // The kill prevents any write at the end of the process.
    server.kill();
    let server = installation.serve(&admin_key).await;
    for Issued { secret, .. } in &tokens {
        assert_eq!(
            verdict(&server, secret).await.decision(),
            Decision::Deny,
            "after a crash"
        );
    }
}
