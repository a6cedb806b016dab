//! A restored backup revives no revoked token, caller or caller key: `tokend restore` applies the revocations file
//! before a server runs.

use std::{fs, path::PathBuf, time::Duration};

use tokend_client::v1::{
    Decision, DeleteCallerRequest, DenyReason, ListWorkspacesRequest, RevokeCallerKeyRequest, Role, RotateTokenRequest,
};
use tokend_tests::{
    Backup, Finished, Installation, Process, Records, Server, eventually, on_both_databases, question, token_in,
};
use tonic::Code;

on_both_databases!(
    a_restore_applies_the_revocations_since_the_backup,
    a_restored_token_keeps_the_expiry_of_its_rotation,
    tokens_purged_since_the_backup_are_restored_as_revoked_or_expired,
    without_a_revocations_file_every_token_is_revoked,
    a_database_in_use_is_not_restored,
);

pub(crate) fn file(installation: &Installation) -> PathBuf {
    installation.directory().join("revocations")
}

pub(crate) fn lines(installation: &Installation) -> Vec<String> {
    fs::read_to_string(file(installation))
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

pub(crate) async fn serve(installation: &Installation, admin_key: &str) -> Server {
    installation
        .serve_with(admin_key, ["--revocations-file", &file(installation).to_string_lossy()])
        .await
}

pub(crate) async fn restore(installation: &Installation) -> Finished {
    installation
        .run_on_data(["restore", "--revocations", &file(installation).to_string_lossy()])
        .await
}

pub(crate) async fn exported(installation: &Installation, name: &str) {
    eventually("the revocation is exported", async || {
        lines(installation).iter().any(|line| line.contains(name)).then_some(())
    })
    .await;
}

async fn delete_caller(server: &Server, id: &str) {
    let request = DeleteCallerRequest {
        name: format!("callers/{id}"),
        no_wait: false,
    };
    server
        .admin()
        .caller_admin()
        .delete_caller(request)
        .await
        .expect("DeleteCaller succeeds");
}

async fn is_known(server: &Server, key: &str) -> bool {
    let client = server.client(key).await;
    match client
        .workspace_admin()
        .list_workspaces(ListWorkspacesRequest::default())
        .await
    {
        Ok(_) => true,
        Err(status) => {
            assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
            false
        }
    }
}

async fn a_restore_applies_the_revocations_since_the_backup(installation: Installation) {
    let admin_key = installation.init().await;
    let server = serve(&installation, &admin_key).await;
    let acme = server.workspace("acme").await;
    let (revoked, alive) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    let early = server.token(token_in(&acme)).await;
    server.revoke(&early.public.name).await;
    let gate = server.caller("gate", Role::Auditor).await;
    // `phoenix` is deleted and created again before the backup: the exported deletion is for the first one.
    server.caller("phoenix", Role::Auditor).await;
    delete_caller(&server, "phoenix").await;
    let phoenix = server.caller("phoenix", Role::Auditor).await;
    let other = server.caller("other", Role::Auditor).await;
    assert!(server.stop().await.status.success());
    let backup = Backup::of(&installation).await;

    let server = serve(&installation, &admin_key).await;
    let lost = server.token(token_in(&acme)).await;
    server.revoke(&revoked.public.name).await;
    delete_caller(&server, "gate").await;
    let revoke = RevokeCallerKeyRequest {
        name: other.public.clone(),
        no_wait: false,
    };
    server
        .admin()
        .caller_admin()
        .revoke_caller_key(revoke)
        .await
        .expect("RevokeCallerKey succeeds");
    assert!(
        server.stop().await.status.success(),
        "the server exports the rest before it stops"
    );
    assert_eq!(lines(&installation).len(), 5, "{:#?}", lines(&installation));
    let output = installation.run_on_data(["export-revocations"]).await.succeeded();
    assert_eq!(
        output.lines().collect::<Vec<_>>(),
        lines(&installation),
        "export-revocations prints the lines of the file"
    );

    backup.restore(&installation).await;
    // With the file, a server refuses the database. Without the file, it accepts the revoked credentials.
    let mut command = installation.command_on_data(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]);
    command.arg("--revocations-file").arg(file(&installation));
    let sentence = Process::spawn(command, "").finish().await.failed_with_a_sentence();
    assert!(sentence.contains("tokend restore"), "{sentence}");
    let without_file = installation.serve(&admin_key).await;
    let verdict = without_file.verdict(question(&revoked.secret, &acme, &[])).await;
    assert_eq!(verdict.decision(), Decision::Allow, "the token works in the backup");
    assert!(is_known(&without_file, &gate.secret).await && is_known(&without_file, &other.secret).await);
    let old_epoch = verdict.revision.expect("the verdict has a revision").epoch;
    assert!(without_file.stop().await.status.success());

    // A second restore changes nothing.
    let output = [restore(&installation).await, restore(&installation).await].map(|finished| {
        assert!(finished.status.success(), "{finished:#?}");
        finished.stderr
    });
    assert!(
        output[0].contains("1 tokens, 1 callers, 1 caller keys")
            && output[1].contains("0 tokens, 0 callers, 0 caller keys"),
        "{output:?}"
    );
    let server = serve(&installation, &admin_key).await;
    for (token, reason) in [
        (&revoked, DenyReason::Revoked),
        (&early, DenyReason::Revoked),
        (&lost, DenyReason::Unrecognized),
    ] {
        let verdict = server.verdict(question(&token.secret, &acme, &[])).await;
        assert_eq!((verdict.decision(), verdict.deny_reason()), (Decision::Deny, reason));
    }
    let verdict = server.verdict(question(&alive.secret, &acme, &[])).await;
    assert_eq!(verdict.decision(), Decision::Allow);
    assert_ne!(
        verdict.revision.expect("the verdict has a revision").epoch,
        old_epoch,
        "earlier revisions are no longer valid"
    );
    assert!(!is_known(&server, &gate.secret).await && !is_known(&server, &other.secret).await);
    assert!(
        is_known(&server, &phoenix.secret).await,
        "the deletion was for the earlier caller with this name"
    );
    assert_eq!(
        server.get_token(&revoked.public.name).await.revoke_reason,
        "it leaked",
        "the restored token has its revocation reason"
    );

    let query = "SELECT type FROM audit_events \
                WHERE detail LIKE '%ended again' OR detail LIKE 'restored%' ORDER BY chain, sequence";
    let types = installation.texts(query).await;
    let restored = "installation.restored";
    assert_eq!(
        types,
        [
            "caller.deleted",
            "caller_key.revoked",
            restored,
            restored,
            "token.revoked"
        ],
        "the audit log records every restored revocation"
    );

    // The next restore applies the revocations from before and after this restore.
    server.revoke(&alive.public.name).await;
    exported(&installation, &alive.public.name).await;
    assert!(server.stop().await.status.success());
    backup.restore(&installation).await;
    let output = restore(&installation).await;
    assert!(
        output.status.success() && output.stderr.contains("2 tokens, 1 callers, 1 caller keys"),
        "{output:#?}"
    );
    let server = serve(&installation, &admin_key).await;
    for token in [&revoked, &alive] {
        assert_eq!(
            server.verdict(question(&token.secret, &acme, &[])).await.deny_reason(),
            DenyReason::Revoked
        );
    }
}

async fn a_restored_token_keeps_the_expiry_of_its_rotation(installation: Installation) {
    let admin_key = installation.init().await;
    let server = serve(&installation, &admin_key).await;
    let acme = server.workspace("acme").await;
    let (old, alive) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    assert!(server.stop().await.status.success());
    let backup = Backup::of(&installation).await;

    let server = serve(&installation, &admin_key).await;
    let rotate = RotateTokenRequest {
        name: old.public.name.clone(),
        overlap: Some(Default::default()),
        ..Default::default()
    };
    let rotated = server
        .admin()
        .token_admin()
        .rotate_token(rotate.clone())
        .await
        .expect("RotateToken succeeds")
        .into_inner();
    assert!(
        server.stop().await.status.success(),
        "the server exports the rest before it stops"
    );
    backup.restore(&installation).await;
    for again in [false, true] {
        let output = restore(&installation).await;
        assert!(output.status.success(), "{again}: {output:#?}");
    }

    let server = serve(&installation, &admin_key).await;
    let reason = async |secret: &str| server.verdict(question(secret, &acme, &[])).await.deny_reason();
    assert_eq!(reason(&old.secret).await, DenyReason::Expired);
    assert_eq!(
        server.get_token(&old.public.name).await.expire_time,
        rotated
            .predecessor
            .expect("the response has the predecessor")
            .expire_time
    );
    assert_eq!(
        reason(&rotated.secret).await,
        DenyReason::Unrecognized,
        "the token is newer than the backup"
    );
    assert_eq!(
        reason(&alive.secret).await,
        DenyReason::Unspecified,
        "only the rotated token expires"
    );
    let rotated = server
        .admin()
        .token_admin()
        .rotate_token(rotate)
        .await
        .expect("RotateToken succeeds")
        .into_inner();
    assert_eq!(reason(&rotated.secret).await, DenyReason::Unspecified);
    assert!(server.stop().await.status.success());
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}

async fn tokens_purged_since_the_backup_are_restored_as_revoked_or_expired(installation: Installation) {
    let day = Duration::from_secs(24 * 3_600);
    let admin_key = installation.init().await;
    let server = serve(&installation, &admin_key).await;
    let acme = server.workspace("acme").await;
    let (revoked, expired) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    assert!(server.stop().await.status.success());
    let backup = Backup::of(&installation).await;

    let file = file(&installation).to_string_lossy().into_owned();
    let server = installation
        .serve_with(&admin_key, ["--revocations-file", &file, "--token-retention-days", "1"])
        .await;
    server.revoke(&revoked.public.name).await;
    let mut records = Records::of_installation(&installation).await;
    for (ahead, left) in [(day, 2), (2 * day, 1), (3 * day, 0)] {
        installation.clock().set_ahead(ahead);
        let left = async || (records.count("SELECT count(*) FROM tokens").await <= left).then_some(());
        eventually("the token is purged", left).await;
        let expired = async || {
            let query = "SELECT count(*) FROM audit_events WHERE type = 'token.expired'";
            (records.count(query).await == 1).then_some(())
        };
        eventually("the expiry is recorded", expired).await;
    }
    drop(records);
    assert!(server.stop().await.status.success());

    backup.restore(&installation).await;
    assert!(restore(&installation).await.status.success());
    let server = serve(&installation, &admin_key).await;
    for (token, reason) in [(revoked, DenyReason::Revoked), (expired, DenyReason::Expired)] {
        assert_eq!(
            server.verdict(question(&token.secret, &acme, &[])).await.deny_reason(),
            reason
        );
    }
}

async fn without_a_revocations_file_every_token_is_revoked(installation: Installation) {
    let server = installation.start().await;
    let admin_key = server.admin_key().to_owned();
    let (acme, globex) = (server.workspace("acme").await, server.workspace("globex").await);
    let mut tokens = Vec::new();
    // More than one batch.
    for number in 0..130 {
        let parent = if number % 3 == 0 { &globex } else { &acme };
        tokens.push((parent.clone(), server.token(token_in(parent)).await));
    }
    server.revoke(&tokens[0].1.public.name).await;
    assert!(server.stop().await.status.success());
    let backup = Backup::of(&installation).await;
    backup.restore(&installation).await;
    let sentence = installation.run_on_data(["restore"]).await.failed_with_a_sentence();
    assert!(
        sentence.contains("129 tokens") && sentence.contains("--revoke-all"),
        "{sentence}"
    );
    // A restore that was killed can be repeated.
    let restoring = Process::spawn(installation.command_on_data(["restore", "--revoke-all"]), "");
    eventually("the restore has begun", async || {
        has_begun(&installation).await.then_some(())
    })
    .await;
    restoring.kill();
    let output = installation.run_on_data(["restore", "--revoke-all"]).await;
    assert!(output.status.success(), "{output:#?}");
    let output = installation.run_on_data(["restore", "--revoke-all"]).await;
    assert!(
        output.status.success() && output.stderr.contains(" 0 tokens"),
        "{output:#?}"
    );
    let server = installation.serve(&admin_key).await;
    for (parent, token) in &tokens {
        assert_eq!(
            server.verdict(question(&token.secret, parent, &[])).await.deny_reason(),
            DenyReason::Revoked
        );
    }
    let new = server.token(token_in(&acme)).await;
    assert_eq!(
        server.verdict(question(&new.secret, &acme, &[])).await.decision(),
        Decision::Allow
    );
}

/// Returns whether a restore has committed its first batch, or is about to.
async fn has_begun(installation: &Installation) -> bool {
    if installation.postgres().is_some() {
        let revoked = installation
            .texts("SELECT count(*)::text FROM tokens WHERE revoke_time IS NOT NULL")
            .await;
        return revoked != ["1"];
    }
    // Another connection would count as a server.
    fs::metadata(installation.data_dir().join("tokend.db-wal")).is_ok_and(|log| log.len() > 64 * 1024)
}

async fn a_database_in_use_is_not_restored(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let sentence = installation
        .run_on_data(["restore", "--revoke-all"])
        .await
        .failed_with_a_sentence();
    assert!(sentence.contains("stop every server"), "{sentence}");
    assert_eq!(
        server.verdict(question(&token.secret, &acme, &[])).await.decision(),
        Decision::Allow
    );
    // The server still works.
    server.token(token_in(&acme)).await;
}
