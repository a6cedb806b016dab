//! No server starts on a database in which something revoked may work again: one whose restore was not finished, one that is older than
//! the revocations file, or one whose feed row somebody else has written.

use std::fs;

use tokend_client::v1::{Decision, DenyReason, Token};
use tokend_tests::{
    Backup, Installation, Issued, Process, SERVE_ON_FREE_PORTS, Server, Storage, on_both_databases, question, token_in,
};

use crate::restore::{file, lines, restore, serve};

on_both_databases!(
    an_unfinished_restore_is_not_served,
    a_backup_from_before_an_earlier_restore_is_noticed,
    a_file_that_does_not_continue_the_backup_is_refused,
    a_file_that_knows_more_than_the_restored_one_is_noticed,
    a_changed_feed_row_is_refused,
    a_lost_seal_is_refused,
);

/// Starts a server that refuses to serve, and returns the sentence that says why.
async fn refused_to_serve(installation: &Installation, arguments: &[&str]) -> String {
    let mut command = installation.command_on_data(["serve"]);
    command.args(SERVE_ON_FREE_PORTS).args(arguments);
    Process::spawn(command, "").finish().await.failed_with_a_sentence()
}

async fn refused_to_serve_with_file(installation: &Installation) -> String {
    refused_to_serve(installation, &["--revocations-file", &file(installation).to_string_lossy()]).await
}

/// An installation with tokens in `acme` of which `yesterday`'s backup knows nothing revoked, and the second is revoked since. No server
/// runs.
struct Restorable {
    admin_key: String,
    acme: String,
    tokens: Vec<Issued<Token>>,
    yesterday: Backup,
}

impl Restorable {
    async fn of(installation: &Installation) -> Self {
        let admin_key = installation.init().await;
        let server = serve(installation, &admin_key).await;
        let acme = server.workspace("acme").await;
        let mut tokens = Vec::new();
        for _ in 0..5 {
            tokens.push(server.token(token_in(&acme)).await);
        }
        server.revoke(&tokens[0].public.name).await;
        assert!(server.stop().await.status.success());
        let yesterday = Backup::of(installation).await;
        let made = Self { admin_key, acme, tokens, yesterday };
        made.revoke_more(installation, &[1]).await;
        made
    }

    /// Revokes some tokens under a server of their own.
    async fn revoke_more(&self, installation: &Installation, which: &[usize]) {
        let server = serve(installation, &self.admin_key).await;
        for index in which {
            server.revoke(&self.tokens[*index].public.name).await;
        }
        assert!(server.stop().await.status.success());
    }

    async fn is_revoked(&self, server: &Server, index: usize) -> bool {
        let verdict = server.verdict(question(&self.tokens[index].secret, &self.acme, &[])).await;
        verdict.decision() == Decision::Deny && verdict.deny_reason() == DenyReason::Revoked
    }
}

/// Has the database refuse to revoke any token: a restore gets as far as its first transaction.
async fn stop_revocations(installation: &Installation) {
    let trigger = match installation.storage() {
        Storage::Sqlite => {
            "CREATE TRIGGER test_stop BEFORE UPDATE OF revoke_time ON tokens BEGIN SELECT RAISE(ABORT, 'stopped'); END"
        }
        Storage::Postgres => {
            "CREATE FUNCTION test_stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'stopped'; END $$; \
             CREATE TRIGGER test_stop BEFORE UPDATE OF revoke_time ON tokens FOR EACH ROW EXECUTE FUNCTION test_stop()"
        }
    };
    installation.sql(trigger).await;
}

async fn let_revocations_go_on(installation: &Installation) {
    let drop = match installation.storage() {
        Storage::Sqlite => "DROP TRIGGER test_stop",
        Storage::Postgres => "DROP TRIGGER test_stop ON tokens; DROP FUNCTION test_stop()",
    };
    installation.sql(drop).await;
}

async fn an_unfinished_restore_is_not_served(installation: Installation) {
    let made = Restorable::of(&installation).await;
    made.yesterday.restore(&installation).await;
    stop_revocations(&installation).await;
    assert!(!restore(&installation).await.status.success(), "it was stopped behind its first transaction");
    for sentence in [refused_to_serve(&installation, &[]).await, refused_to_serve_with_file(&installation).await] {
        assert!(sentence.contains("restore was begun and not finished") && sentence.contains("tokend restore"), "{sentence}");
    }
    // A copy of it is no better, and nothing else works on it either.
    let copy = Backup::of(&installation).await;
    copy.restore(&installation).await;
    let sentence = installation.run_on_data(["export-revocations"]).await.failed_with_a_sentence();
    assert!(sentence.contains("tokend restore"), "{sentence}");
    let verified = installation.run_on_data(["audit", "verify"]).await;
    assert!(!verified.status.success() && verified.stdout.contains("restore"), "{verified:#?}");
    // Another way to restore it has to come to its end, too.
    assert!(!installation.run_on_data(["restore", "--revoke-all"]).await.status.success());
    assert!(refused_to_serve(&installation, &[]).await.contains("tokend restore"));

    let_revocations_go_on(&installation).await;
    installation.run_on_data(["restore", "--revocations", &file(&installation).to_string_lossy()]).await.succeeded();
    let server = serve(&installation, &made.admin_key).await;
    assert!(made.is_revoked(&server, 0).await && made.is_revoked(&server, 1).await && !made.is_revoked(&server, 2).await);
    assert!(server.stop().await.status.success());
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}

async fn a_backup_from_before_an_earlier_restore_is_noticed(installation: Installation) {
    let made = Restorable::of(&installation).await;
    made.yesterday.restore(&installation).await;
    restore(&installation).await.succeeded();
    made.revoke_more(&installation, &[2]).await;
    // The old one once more, in which neither is revoked.
    made.yesterday.restore(&installation).await;
    let sentence = refused_to_serve_with_file(&installation).await;
    assert!(sentence.contains("tokend restore --revocations"), "{sentence}");
    let blind = installation.serve(&made.admin_key).await;
    assert!(!made.is_revoked(&blind, 1).await && !made.is_revoked(&blind, 2).await, "else this test would show nothing");
    assert!(blind.stop().await.status.success());
    let told = restore(&installation).await;
    assert!(told.status.success() && told.stderr.contains("2 tokens"), "{told:#?}");
    let server = serve(&installation, &made.admin_key).await;
    for index in 0..3 {
        assert!(made.is_revoked(&server, index).await, "{index}");
    }
    assert!(server.stop().await.status.success());
    // What the file holds is one chain, whatever was restored how often.
    made.revoke_more(&installation, &[3]).await;
    let positions: Vec<_> = lines(&installation).iter().map(|line| position(line)).collect();
    assert_eq!(positions, [1, 2, 3, 4]);
    let told = installation.run_on_data(["export-revocations"]).await.succeeded();
    assert_eq!(told.lines().collect::<Vec<_>>(), lines(&installation), "and the database holds the same");
}

fn position(line: &str) -> u64 {
    let line: serde_json::Value = serde_json::from_str(line).expect("whole lines of JSON");
    line["position"].as_u64().expect("a position")
}

async fn a_file_that_does_not_continue_the_backup_is_refused(installation: Installation) {
    let made = Restorable::of(&installation).await;
    let older = lines(&installation);
    made.revoke_more(&installation, &[2]).await;
    let today = Backup::of(&installation).await;
    made.revoke_more(&installation, &[3]).await;
    let whole = lines(&installation);
    assert_eq!((older.len(), whole.len()), (2, 4));
    today.restore(&installation).await;
    let with = |lines: &[String]| {
        let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        fs::write(file(&installation), text).expect("it can be written");
    };
    // Empty, or as it was before the backup: what it says is all known, and what has been revoked since it does not say.
    for lines in [&[][..], &older[..1], &older[..]] {
        with(lines);
        let sentence = restore(&installation).await.failed_with_a_sentence();
        assert!(sentence.contains("--revoke-all"), "{sentence}");
    }
    // Cut off at the front.
    with(&whole[3..]);
    let sentence = restore(&installation).await.failed_with_a_sentence();
    assert!(sentence.contains("lines are missing before line 1"), "{sentence}");
    let blind = installation.serve(&made.admin_key).await;
    assert!(!made.is_revoked(&blind, 3).await, "nothing was changed");
    assert!(blind.stop().await.status.success());
    // That one has gone on by itself: the file and the database agree on nothing that came since.
    let blind = installation.serve(&made.admin_key).await;
    blind.revoke(&made.tokens[4].public.name).await;
    assert!(blind.stop().await.status.success());
    with(&whole);
    let sentence = restore(&installation).await.failed_with_a_sentence();
    assert!(sentence.contains("last"), "{sentence}");
    assert!(refused_to_serve_with_file(&installation).await.contains("tokend restore"));

    today.restore(&installation).await;
    restore(&installation).await.succeeded();
    let server = serve(&installation, &made.admin_key).await;
    assert!(made.is_revoked(&server, 3).await && !made.is_revoked(&server, 4).await);
}

/// Each server keeps a file of its own, and one of them may be behind.
async fn a_file_that_knows_more_than_the_restored_one_is_noticed(installation: Installation) {
    let made = Restorable::of(&installation).await;
    made.revoke_more(&installation, &[2]).await;
    let whole = fs::read_to_string(file(&installation)).expect("it is there");
    let other = installation.directory().join("other");
    let behind: String = lines(&installation)[..2].iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    fs::write(&other, &behind).expect("it can be written");
    made.yesterday.restore(&installation).await;
    installation.run_on_data(["restore", "--revocations", &other.to_string_lossy()]).await.succeeded();
    let sentence = refused_to_serve_with_file(&installation).await;
    assert!(sentence.contains("tokend restore --revocations"), "{sentence}");
    // The file that it was restored from goes on.
    let server = installation.serve_with(&made.admin_key, ["--revocations-file", &other.to_string_lossy()]).await;
    assert!(!made.is_revoked(&server, 2).await);
    assert!(server.stop().await.status.success());

    // With the newest, any server's file goes on.
    made.yesterday.restore(&installation).await;
    assert_eq!(fs::read_to_string(file(&installation)).expect("it is there"), whole, "a refused start writes nothing");
    restore(&installation).await.succeeded();
    fs::write(&other, &behind).expect("it can be written");
    let server = installation.serve_with(&made.admin_key, ["--revocations-file", &other.to_string_lossy()]).await;
    assert!(made.is_revoked(&server, 2).await);
    assert!(server.stop().await.status.success());
    assert_eq!(fs::read_to_string(&other).expect("it is there"), whole);
}

async fn a_changed_feed_row_is_refused(installation: Installation) {
    let made = Restorable::of(&installation).await;
    for (change, back) in [
        ("epoch = epoch + 1", "epoch = epoch - 1"),
        ("revision = revision + 1", "revision = revision - 1"),
        ("last_ending = last_ending - 1", "last_ending = last_ending + 1"),
        ("restoring = 1", "restoring = 0"),
        ("grant_micros = grant_micros - 1", "grant_micros = grant_micros + 1"),
        ("wait_micros = wait_micros + 1", "wait_micros = wait_micros - 1"),
    ] {
        assert_eq!(installation.sql(&format!("UPDATE feed SET {change}")).await, 1);
        for sentence in [refused_to_serve(&installation, &[]).await, refused_to_serve_with_file(&installation).await] {
            assert!(sentence.contains("the feed") && sentence.contains("tokend restore"), "{change}: {sentence}");
        }
        let verified = installation.run_on_data(["audit", "verify"]).await;
        assert!(!verified.status.success() && verified.stdout.contains("feed"), "{change}: {verified:#?}");
        assert_eq!(installation.sql(&format!("UPDATE feed SET {back}")).await, 1);
    }
    // What ended last is held to the same seal.
    let last = installation.texts("SELECT line FROM endings WHERE position = 2").await.remove(0);
    installation.sql("DELETE FROM endings WHERE position = 2").await;
    assert!(refused_to_serve(&installation, &[]).await.contains("tokend restore"));
    let verified = installation.run_on_data(["audit", "verify"]).await;
    assert!(!verified.status.success() && verified.stdout.contains("endings"), "{verified:#?}");
    installation.sql(&format!("INSERT INTO endings (position, epoch, line) SELECT 2, epoch, '{last}' FROM feed")).await;
    installation.run_on_data(["audit", "verify"]).await.succeeded();

    // A server that runs does not seal what somebody else wrote, and a restore that can be relied on makes it whole.
    let server = serve(&installation, &made.admin_key).await;
    installation.sql("UPDATE feed SET epoch = epoch + 1").await;
    let revoke = tokend_client::v1::RevokeTokenRequest { name: made.tokens[2].public.name.clone(), ..Default::default() };
    assert!(server.admin().token_admin().revoke_token(revoke).await.is_err());
    assert!(server.stop().await.status.success());
    assert!(refused_to_serve_with_file(&installation).await.contains("tokend restore"));
    restore(&installation).await.succeeded();
    let server = serve(&installation, &made.admin_key).await;
    assert!(made.is_revoked(&server, 1).await && !made.is_revoked(&server, 2).await);
    server.revoke(&made.tokens[2].public.name).await;
    assert!(server.stop().await.status.success());
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}

/// Only a database that an older tokend made has no seal, and it gets one once.
async fn a_lost_seal_is_refused(installation: Installation) {
    let made = Restorable::of(&installation).await;
    assert_eq!(installation.sql("UPDATE feed SET mac = NULL").await, 1);
    for _ in 0..2 {
        let sentence = refused_to_serve_with_file(&installation).await;
        assert!(sentence.contains("the feed"), "{sentence}");
    }
    let verified = installation.run_on_data(["audit", "verify"]).await;
    assert!(!verified.status.success() && verified.stdout.contains("feed"), "{verified:#?}");
    restore(&installation).await.succeeded();
    let server = serve(&installation, &made.admin_key).await;
    assert!(made.is_revoked(&server, 1).await);
}
