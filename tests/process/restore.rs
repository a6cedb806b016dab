//! A restored backup revives nothing: what ended since is kept outside the database, and is ended again before a server runs.

use std::{fs, path::PathBuf, time::Duration};

use tokend_client::v1::{
    CreateTokenRequest, Decision, DeleteCallerRequest, DenyReason, ListWorkspacesRequest, RevokeCallerKeyRequest, Role,
    RotateTokenRequest, token_policy::ExistingTokens,
};
use tokend_tests::{
    Backup, Finished, Installation, Process, Records, Server, after, eventually, max_lifetime, on_both_databases, question,
    token_in,
};
use tonic::Code;

on_both_databases!(
    nothing_that_ended_comes_back,
    workspaces_are_as_they_were_last,
    policies_are_as_they_were_last,
    a_rotated_token_ends_with_its_overlap_again,
    what_was_purged_since_comes_back_dead,
    without_an_export_every_token_ends,
    a_database_in_use_is_left_alone,
);

pub(crate) fn file(installation: &Installation) -> PathBuf {
    installation.directory().join("revocations")
}

pub(crate) fn lines(installation: &Installation) -> Vec<String> {
    fs::read_to_string(file(installation)).unwrap_or_default().lines().map(str::to_owned).collect()
}

pub(crate) async fn serve(installation: &Installation, admin_key: &str) -> Server {
    installation.serve_with(admin_key, ["--revocations-file", &file(installation).to_string_lossy()]).await
}

pub(crate) async fn restore(installation: &Installation) -> Finished {
    installation.run_on_data(["restore", "--revocations", &file(installation).to_string_lossy()]).await
}

pub(crate) async fn exported(installation: &Installation, name: &str) {
    eventually("what ended is exported", async || lines(installation).iter().any(|line| line.contains(name)).then_some(())).await;
}

async fn delete_caller(server: &Server, id: &str) {
    let request = DeleteCallerRequest { name: format!("callers/{id}"), no_wait: false };
    server.admin().caller_admin().delete_caller(request).await.expect("it is deleted");
}

async fn is_known(server: &Server, key: &str) -> bool {
    let client = server.client(key).await;
    match client.workspace_admin().list_workspaces(ListWorkspacesRequest::default()).await {
        Ok(_) => true,
        Err(status) => {
            assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
            false
        }
    }
}

async fn nothing_that_ended_comes_back(installation: Installation) {
    let admin_key = installation.init().await;
    let server = serve(&installation, &admin_key).await;
    let acme = server.workspace("acme").await;
    let (ended, alive) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    let early = server.token(token_in(&acme)).await;
    server.revoke(&early.public.name).await;
    let gate = server.caller("gate", Role::Auditor).await;
    // Deleted before the backup, and made again: the deletion is of another.
    server.caller("phoenix", Role::Auditor).await;
    delete_caller(&server, "phoenix").await;
    let phoenix = server.caller("phoenix", Role::Auditor).await;
    let other = server.caller("other", Role::Auditor).await;
    assert!(server.stop().await.status.success());
    let yesterday = Backup::of(&installation).await;

    let server = serve(&installation, &admin_key).await;
    let lost = server.token(token_in(&acme)).await;
    server.revoke(&ended.public.name).await;
    delete_caller(&server, "gate").await;
    let revoke = RevokeCallerKeyRequest { name: other.public.clone(), no_wait: false };
    server.admin().caller_admin().revoke_caller_key(revoke).await.expect("it is revoked");
    assert!(server.stop().await.status.success(), "what is left is exported before it ends");
    assert_eq!(lines(&installation).len(), 5, "{:#?}", lines(&installation));
    let told = installation.run_on_data(["export-revocations"]).await.succeeded();
    assert_eq!(told.lines().collect::<Vec<_>>(), lines(&installation), "on demand, it is the same");

    yesterday.restore(&installation).await;
    // With the file at hand a server notices. Without it, it would let in what had ended.
    let mut careless = installation.command_on_data(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]);
    careless.arg("--revocations-file").arg(file(&installation));
    let sentence = Process::spawn(careless, "").finish().await.failed_with_a_sentence();
    assert!(sentence.contains("tokend restore"), "{sentence}");
    let blind = installation.serve(&admin_key).await;
    let verdict = blind.verdict(question(&ended.secret, &acme, &[])).await;
    assert_eq!(verdict.decision(), Decision::Allow, "else this test would show nothing");
    assert!(is_known(&blind, &gate.secret).await && is_known(&blind, &other.secret).await);
    let old_epoch = verdict.revision.expect("it is told").epoch;
    assert!(blind.stop().await.status.success());

    // Doing it again changes nothing more.
    let told = [restore(&installation).await, restore(&installation).await].map(|finished| {
        assert!(finished.status.success(), "{finished:#?}");
        finished.stderr
    });
    assert!(
        told[0].contains("1 tokens, 1 callers, 1 caller keys") && told[1].contains("0 tokens, 0 callers, 0 caller keys"),
        "{told:?}"
    );
    let server = serve(&installation, &admin_key).await;
    for (token, reason) in [(&ended, DenyReason::Revoked), (&early, DenyReason::Revoked), (&lost, DenyReason::Unrecognized)] {
        let verdict = server.verdict(question(&token.secret, &acme, &[])).await;
        assert_eq!((verdict.decision(), verdict.deny_reason()), (Decision::Deny, reason));
    }
    let verdict = server.verdict(question(&alive.secret, &acme, &[])).await;
    assert_eq!(verdict.decision(), Decision::Allow);
    assert_ne!(verdict.revision.expect("it is told").epoch, old_epoch, "revisions told before stand for nothing any more");
    assert!(!is_known(&server, &gate.secret).await && !is_known(&server, &other.secret).await);
    assert!(is_known(&server, &phoenix.secret).await, "it was another that had been deleted");
    assert_eq!(server.get_token(&ended.public.name).await.revoke_reason, "it leaked", "it is revoked as it had been");

    let told = "SELECT type FROM audit_events WHERE detail LIKE '%ended again' OR detail LIKE 'restored%' ORDER BY chain, sequence";
    let told = installation.texts(told).await;
    let restored = "installation.restored";
    assert_eq!(told, ["caller.deleted", "caller_key.revoked", restored, restored, "token.revoked"], "all on record");

    // And the next restore knows of both times.
    server.revoke(&alive.public.name).await;
    exported(&installation, &alive.public.name).await;
    assert!(server.stop().await.status.success());
    yesterday.restore(&installation).await;
    let told = restore(&installation).await;
    assert!(told.status.success() && told.stderr.contains("2 tokens, 1 callers, 1 caller keys"), "{told:#?}");
    let server = serve(&installation, &admin_key).await;
    for token in [&ended, &alive] {
        assert_eq!(server.verdict(question(&token.secret, &acme, &[])).await.deny_reason(), DenyReason::Revoked);
    }
}

async fn workspaces_are_as_they_were_last(installation: Installation) {
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
    let yesterday = Backup::of(&installation).await;

    let server = serve(&installation, &admin_key).await;
    server.delete_workspace(&tokens[0].1).await;
    server.suspend(&tokens[1].1).await;
    server.resume(&tokens[2].1).await;
    server.suspend(&tokens[3].1).await;
    server.resume(&tokens[3].1).await;
    let gone = server.workspace("gone").await;
    server.delete_workspace(&gone).await;
    assert!(server.stop().await.status.success());

    yesterday.restore(&installation).await;
    let told = [restore(&installation).await, restore(&installation).await];
    assert!(told[0].stderr.contains("3 workspaces, 0 tokens") && told[1].stderr.contains("0 workspaces, 0 tokens"), "{told:#?}");
    let server = serve(&installation, &admin_key).await;
    let allowed = DenyReason::Unspecified;
    for ((secret, workspace), reason) in
        tokens.iter().zip([DenyReason::WorkspaceDeleted, DenyReason::WorkspaceSuspended, allowed, allowed])
    {
        assert_eq!(server.verdict(question(secret, workspace, &[])).await.deny_reason(), reason, "{workspace}");
    }
    // An id that was lost with the newer database is free, and what takes it is another.
    let token = server.token(token_in(&server.workspace("gone").await)).await.secret;
    assert!(server.stop().await.status.success());
    assert!(restore(&installation).await.stderr.contains("0 workspaces"), "it is another that was deleted");
    let server = serve(&installation, &admin_key).await;
    assert_eq!(server.verdict(question(&token, &gone, &[])).await.decision(), Decision::Allow);
    assert!(installation.run_on_data(["audit", "verify"]).await.status.success(), "all is on record");
}

async fn policies_are_as_they_were_last(installation: Installation) {
    const HOUR: Duration = Duration::from_secs(3_600);
    let admin_key = installation.init().await;
    let server = serve(&installation, &admin_key).await;
    let initech = server.organization("initech").await;
    let (acme, beta) = (server.workspace_in("acme", &initech).await, server.workspace("beta").await);
    let long = |workspace: &str| CreateTokenRequest { expiry: after(HOUR * 24), ..token_in(workspace) };
    let tokens = [server.token(long(&acme)).await, server.token(long(&beta)).await];
    server.set_policy(max_lifetime(&beta, HOUR, ExistingTokens::Apply)).await;
    assert!(server.stop().await.status.success());
    let yesterday = Backup::of(&installation).await;

    // One is lifted and replaced, and one is new.
    let server = serve(&installation, &admin_key).await;
    server.set_policy(max_lifetime(&beta, HOUR, ExistingTokens::Keep)).await;
    server.set_policy(max_lifetime(&beta, HOUR * 3, ExistingTokens::Apply)).await;
    server.set_policy(max_lifetime(&initech, HOUR * 2, ExistingTokens::Apply)).await;
    let policies = [server.get_policy(&initech).await, server.get_policy(&beta).await];
    let ends = async |server: &Server| {
        let [one, two] = [&tokens[0], &tokens[1]].map(|token| server.get_token(&token.public.name));
        [one.await.expire_time, two.await.expire_time]
    };
    let before = ends(&server).await;
    assert!(server.stop().await.status.success());

    yesterday.restore(&installation).await;
    let blind = installation.serve(&admin_key).await;
    assert_ne!(ends(&blind).await, before, "else this test would show nothing");
    assert!(blind.stop().await.status.success());
    let told = [restore(&installation).await, restore(&installation).await];
    assert!(told[0].stderr.contains("2 policies") && told[1].stderr.contains("0 policies"), "{told:#?}");
    let server = serve(&installation, &admin_key).await;
    assert_eq!([server.get_policy(&initech).await, server.get_policy(&beta).await], policies, "etags, too");
    assert_eq!(ends(&server).await, before);
    installation.clock().set_ahead(HOUR * 2 + Duration::from_secs(1));
    let verdicts = [DenyReason::Expired, DenyReason::Unspecified];
    for ((token, workspace), reason) in tokens.iter().zip([&acme, &beta]).zip(verdicts) {
        assert_eq!(server.verdict(question(&token.secret, workspace, &[])).await.deny_reason(), reason, "{workspace}");
    }
    assert!(installation.run_on_data(["audit", "verify"]).await.status.success(), "all is on record");
}

async fn a_rotated_token_ends_with_its_overlap_again(installation: Installation) {
    let admin_key = installation.init().await;
    let server = serve(&installation, &admin_key).await;
    let acme = server.workspace("acme").await;
    let (old, alive) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    assert!(server.stop().await.status.success());
    let yesterday = Backup::of(&installation).await;

    let server = serve(&installation, &admin_key).await;
    let rotate = RotateTokenRequest { name: old.public.name.clone(), overlap: Some(Default::default()), ..Default::default() };
    let rotated = server.admin().token_admin().rotate_token(rotate.clone()).await.expect("it is rotated").into_inner();
    assert!(server.stop().await.status.success(), "what is left is exported before it ends");
    yesterday.restore(&installation).await;
    for again in [false, true] {
        let told = restore(&installation).await;
        assert!(told.status.success(), "{again}: {told:#?}");
    }

    let server = serve(&installation, &admin_key).await;
    let reason = async |secret: &str| server.verdict(question(secret, &acme, &[])).await.deny_reason();
    assert_eq!(reason(&old.secret).await, DenyReason::Expired);
    assert_eq!(server.get_token(&old.public.name).await.expire_time, rotated.predecessor.expect("told").expire_time);
    assert_eq!(reason(&rotated.secret).await, DenyReason::Unrecognized, "it was made after the backup");
    assert_eq!(reason(&alive.secret).await, DenyReason::Unspecified, "it alone");
    let rotated = server.admin().token_admin().rotate_token(rotate).await.expect("it is rotated again").into_inner();
    assert_eq!(reason(&rotated.secret).await, DenyReason::Unspecified);
    assert!(server.stop().await.status.success());
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}

async fn what_was_purged_since_comes_back_dead(installation: Installation) {
    let day = Duration::from_secs(24 * 3_600);
    let admin_key = installation.init().await;
    let server = serve(&installation, &admin_key).await;
    let acme = server.workspace("acme").await;
    let (revoked, expired) = (server.token(token_in(&acme)).await, server.token(token_in(&acme)).await);
    assert!(server.stop().await.status.success());
    let yesterday = Backup::of(&installation).await;

    let file = file(&installation).to_string_lossy().into_owned();
    let server = installation.serve_with(&admin_key, ["--revocations-file", &file, "--token-retention-days", "1"]).await;
    server.revoke(&revoked.public.name).await;
    let mut records = Records::of_installation(&installation).await;
    for (ahead, left) in [(day, 2), (2 * day, 1), (3 * day, 0)] {
        installation.clock().set_ahead(ahead);
        let left = async || (records.count("SELECT count(*) FROM tokens").await <= left).then_some(());
        eventually("what has ended is purged", left).await;
        let expired = async || {
            let ends = "SELECT count(*) FROM audit_events WHERE type = 'token.expired'";
            (records.count(ends).await == 1).then_some(())
        };
        eventually("an end is on record", expired).await;
    }
    drop(records);
    assert!(server.stop().await.status.success());

    yesterday.restore(&installation).await;
    assert!(restore(&installation).await.status.success());
    let server = serve(&installation, &admin_key).await;
    for (token, reason) in [(revoked, DenyReason::Revoked), (expired, DenyReason::Expired)] {
        assert_eq!(server.verdict(question(&token.secret, &acme, &[])).await.deny_reason(), reason);
    }
}

async fn without_an_export_every_token_ends(installation: Installation) {
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
    assert!(sentence.contains("129 tokens") && sentence.contains("--revoke-all"), "{sentence}");
    // Crashed in the middle, it is done again.
    let restoring = Process::spawn(installation.command_on_data(["restore", "--revoke-all"]), "");
    eventually("it has begun", async || has_begun(&installation).await.then_some(())).await;
    restoring.kill();
    let told = installation.run_on_data(["restore", "--revoke-all"]).await;
    assert!(told.status.success(), "{told:#?}");
    let told = installation.run_on_data(["restore", "--revoke-all"]).await;
    assert!(told.status.success() && told.stderr.contains(" 0 tokens"), "{told:#?}");
    let server = installation.serve(&admin_key).await;
    for (parent, token) in &tokens {
        assert_eq!(server.verdict(question(&token.secret, parent, &[])).await.deny_reason(), DenyReason::Revoked);
    }
    let new = server.token(token_in(&acme)).await;
    assert_eq!(server.verdict(question(&new.secret, &acme, &[])).await.decision(), Decision::Allow);
}

/// Whether a restore has committed its first batch, or is about to.
async fn has_begun(installation: &Installation) -> bool {
    if installation.postgres().is_some() {
        let revoked = installation.texts("SELECT count(*)::text FROM tokens WHERE revoke_time IS NOT NULL").await;
        return revoked != ["1"];
    }
    // Another connection would count as a server.
    fs::metadata(installation.data_dir().join("tokend.db-wal")).is_ok_and(|log| log.len() > 64 * 1024)
}

async fn a_database_in_use_is_left_alone(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let sentence = installation.run_on_data(["restore", "--revoke-all"]).await.failed_with_a_sentence();
    assert!(sentence.contains("stop every server"), "{sentence}");
    assert_eq!(server.verdict(question(&token.secret, &acme, &[])).await.decision(), Decision::Allow);
    // Nor was the server hurt.
    server.token(token_in(&acme)).await;
}
