//! `tokend serve` refuses a database in which a revoked token may work again: the restore is unfinished, the database
//! is older than the revocations file, or another program changed the feed row.

use std::fs;

use tokend_client::v1::{Decision, DenyReason, Token};
use tokend_tests::{Backup, Installation, Issued, Server, Storage, on_both_databases, question, token_in};

use crate::restore::{file, lines, restore, serve};

on_both_databases!(
    an_unfinished_restore_is_not_served,
    a_backup_from_before_an_earlier_restore_is_refused,
    a_revocations_file_that_does_not_continue_the_backup_is_refused,
    a_revocations_file_newer_than_the_restored_one_is_refused,
    a_changed_feed_row_is_refused,
    a_feed_row_without_a_seal_is_refused,
);

async fn refused_to_serve_with_file(installation: &Installation) -> String {
    installation
        .refused_to_serve(["--revocations-file", &file(installation).to_string_lossy()])
        .await
}

/// An installation with five tokens in `acme`. The first token is revoked before the backup, the second after it. No
/// server runs.
struct Restorable {
    admin_key: String,
    acme: String,
    tokens: Vec<Issued<Token>>,
    backup: Backup,
}

impl Restorable {
    async fn create(installation: &Installation) -> Self {
        let admin_key = installation.init().await;
        let server = serve(installation, &admin_key).await;
        let acme = server.workspace("acme").await;
        let mut tokens = Vec::new();
        for _ in 0..5 {
            tokens.push(server.token(token_in(&acme)).await);
        }
        server.revoke(&tokens[0].public.name).await;
        assert!(server.stop().await.status.success());
        let backup = Backup::of(installation).await;
        let restorable = Self {
            admin_key,
            acme,
            tokens,
            backup,
        };
        restorable.revoke_more(installation, &[1]).await;
        restorable
    }

    /// Starts a server, revokes the tokens at `indexes` and stops the server.
    async fn revoke_more(&self, installation: &Installation, indexes: &[usize]) {
        let server = serve(installation, &self.admin_key).await;
        for index in indexes {
            server.revoke(&self.tokens[*index].public.name).await;
        }
        assert!(server.stop().await.status.success());
    }

    async fn is_revoked(&self, server: &Server, index: usize) -> bool {
        let verdict = server
            .verdict(question(&self.tokens[index].secret, &self.acme, &[]))
            .await;
        verdict.decision() == Decision::Deny && verdict.deny_reason() == DenyReason::Revoked
    }
}

/// Adds a trigger that fails every revocation, so a restore stops after its first transaction.
async fn block_revocations(installation: &Installation) {
    let trigger = match installation.storage() {
        Storage::Sqlite => {
            "CREATE TRIGGER test_stop BEFORE UPDATE OF revoke_time ON tokens BEGIN SELECT RAISE(ABORT, 'stopped'); END"
        }
        Storage::Postgres => {
            "CREATE FUNCTION test_stop() RETURNS trigger LANGUAGE plpgsql \
             AS $$ BEGIN RAISE EXCEPTION 'stopped'; END $$; \
             CREATE TRIGGER test_stop BEFORE UPDATE OF revoke_time ON tokens FOR EACH ROW EXECUTE FUNCTION test_stop()"
        }
    };
    installation.sql(trigger).await;
}

async fn allow_revocations(installation: &Installation) {
    let drop = match installation.storage() {
        Storage::Sqlite => "DROP TRIGGER test_stop",
        Storage::Postgres => "DROP TRIGGER test_stop ON tokens; DROP FUNCTION test_stop()",
    };
    installation.sql(drop).await;
}

async fn an_unfinished_restore_is_not_served(installation: Installation) {
    let restorable = Restorable::create(&installation).await;
    restorable.backup.restore(&installation).await;
    block_revocations(&installation).await;
    assert!(
        !restore(&installation).await.status.success(),
        "the restore fails after its first transaction"
    );
    for sentence in [
        installation.refused_to_serve::<&str>([]).await,
        refused_to_serve_with_file(&installation).await,
    ] {
        assert!(
            sentence.contains("restore was begun and not finished") && sentence.contains("tokend restore"),
            "{sentence}"
        );
    }
    // A copy of the database is refused too, and no other command works on it.
    let copy = Backup::of(&installation).await;
    copy.restore(&installation).await;
    let sentence = installation
        .run_on_data(["export-revocations"])
        .await
        .failed_with_a_sentence();
    assert!(sentence.contains("tokend restore"), "{sentence}");
    let verified = installation.run_on_data(["audit", "verify"]).await;
    assert!(
        !verified.status.success() && verified.stdout.contains("restore"),
        "{verified:#?}"
    );
    // A restore with `--revoke-all` fails as well and leaves the database unfinished.
    assert!(
        !installation
            .run_on_data(["restore", "--revoke-all"])
            .await
            .status
            .success()
    );
    assert!(
        installation
            .refused_to_serve::<&str>([])
            .await
            .contains("tokend restore")
    );

    allow_revocations(&installation).await;
    installation
        .run_on_data(["restore", "--revocations", &file(&installation).to_string_lossy()])
        .await
        .succeeded();
    let server = serve(&installation, &restorable.admin_key).await;
    assert!(
        restorable.is_revoked(&server, 0).await
            && restorable.is_revoked(&server, 1).await
            && !restorable.is_revoked(&server, 2).await
    );
    assert!(server.stop().await.status.success());
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}

async fn a_backup_from_before_an_earlier_restore_is_refused(installation: Installation) {
    let restorable = Restorable::create(&installation).await;
    restorable.backup.restore(&installation).await;
    restore(&installation).await.succeeded();
    restorable.revoke_more(&installation, &[2]).await;
    // In the old backup neither token is revoked.
    restorable.backup.restore(&installation).await;
    let sentence = refused_to_serve_with_file(&installation).await;
    assert!(sentence.contains("tokend restore --revocations"), "{sentence}");
    let without_file = installation.serve(&restorable.admin_key).await;
    assert!(
        !restorable.is_revoked(&without_file, 1).await && !restorable.is_revoked(&without_file, 2).await,
        "the tokens work in the backup"
    );
    assert!(without_file.stop().await.status.success());
    let output = restore(&installation).await;
    assert!(
        output.status.success() && output.stderr.contains("2 tokens"),
        "{output:#?}"
    );
    let server = serve(&installation, &restorable.admin_key).await;
    for index in 0..3 {
        assert!(restorable.is_revoked(&server, index).await, "{index}");
    }
    assert!(server.stop().await.status.success());
    // The file continues one chain across all restores.
    restorable.revoke_more(&installation, &[3]).await;
    let positions: Vec<_> = lines(&installation).iter().map(|line| position(line)).collect();
    assert_eq!(positions, [1, 2, 3, 4]);
    let output = installation.run_on_data(["export-revocations"]).await.succeeded();
    assert_eq!(
        output.lines().collect::<Vec<_>>(),
        lines(&installation),
        "the database holds the same lines"
    );
}

fn position(line: &str) -> u64 {
    let line: serde_json::Value = serde_json::from_str(line).expect("the line is JSON");
    line["position"].as_u64().expect("the line has a position")
}

async fn a_revocations_file_that_does_not_continue_the_backup_is_refused(installation: Installation) {
    let restorable = Restorable::create(&installation).await;
    let older = lines(&installation);
    restorable.revoke_more(&installation, &[2]).await;
    let today = Backup::of(&installation).await;
    restorable.revoke_more(&installation, &[3]).await;
    let all_lines = lines(&installation);
    assert_eq!((older.len(), all_lines.len()), (2, 4));
    today.restore(&installation).await;
    let write_lines = |lines: &[String]| {
        let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        fs::write(file(&installation), text).expect("the file is written");
    };
    // An empty file, or one from before the backup, lacks the revocations since the backup.
    for lines in [&[][..], &older[..1], &older[..]] {
        write_lines(lines);
        let sentence = restore(&installation).await.failed_with_a_sentence();
        assert!(sentence.contains("--revoke-all"), "{sentence}");
    }
    // A file whose first lines are missing.
    write_lines(&all_lines[3..]);
    let sentence = restore(&installation).await.failed_with_a_sentence();
    assert!(sentence.contains("lines are missing before line 1"), "{sentence}");
    let without_file = installation.serve(&restorable.admin_key).await;
    assert!(
        !restorable.is_revoked(&without_file, 3).await,
        "the refused restore changes nothing"
    );
    assert!(without_file.stop().await.status.success());
    // A server without the file revokes a token, so the file and the database diverge after the backup.
    let without_file = installation.serve(&restorable.admin_key).await;
    without_file.revoke(&restorable.tokens[4].public.name).await;
    assert!(without_file.stop().await.status.success());
    write_lines(&all_lines);
    let sentence = restore(&installation).await.failed_with_a_sentence();
    assert!(sentence.contains("last"), "{sentence}");
    assert!(
        refused_to_serve_with_file(&installation)
            .await
            .contains("tokend restore")
    );

    today.restore(&installation).await;
    restore(&installation).await.succeeded();
    let server = serve(&installation, &restorable.admin_key).await;
    assert!(restorable.is_revoked(&server, 3).await && !restorable.is_revoked(&server, 4).await);
}

/// Each server writes its own file, and one of them may be behind.
async fn a_revocations_file_newer_than_the_restored_one_is_refused(installation: Installation) {
    let restorable = Restorable::create(&installation).await;
    restorable.revoke_more(&installation, &[2]).await;
    let all_lines = fs::read_to_string(file(&installation)).expect("the file is readable");
    let other = installation.directory().join("other");
    let behind: String = lines(&installation)[..2]
        .iter()
        .flat_map(|line| [line.as_str(), "\n"])
        .collect();
    fs::write(&other, &behind).expect("the file is written");
    restorable.backup.restore(&installation).await;
    installation
        .run_on_data(["restore", "--revocations", &other.to_string_lossy()])
        .await
        .succeeded();
    let sentence = refused_to_serve_with_file(&installation).await;
    assert!(sentence.contains("tokend restore --revocations"), "{sentence}");
    // A server can continue the file of the restore.
    let server = installation
        .serve_with(&restorable.admin_key, ["--revocations-file", &other.to_string_lossy()])
        .await;
    assert!(!restorable.is_revoked(&server, 2).await);
    assert!(server.stop().await.status.success());

    // After a restore from the newest file, a server can continue any of the files.
    restorable.backup.restore(&installation).await;
    assert_eq!(
        fs::read_to_string(file(&installation)).expect("the file is readable"),
        all_lines,
        "a refused start writes nothing"
    );
    restore(&installation).await.succeeded();
    fs::write(&other, &behind).expect("the file is written");
    let server = installation
        .serve_with(&restorable.admin_key, ["--revocations-file", &other.to_string_lossy()])
        .await;
    assert!(restorable.is_revoked(&server, 2).await);
    assert!(server.stop().await.status.success());
    assert_eq!(fs::read_to_string(&other).expect("the file is readable"), all_lines);
}

async fn a_changed_feed_row_is_refused(installation: Installation) {
    let restorable = Restorable::create(&installation).await;
    for (change, back) in [
        ("epoch = epoch + 1", "epoch = epoch - 1"),
        ("revision = revision + 1", "revision = revision - 1"),
        ("last_ending = last_ending - 1", "last_ending = last_ending + 1"),
        ("restoring = 1", "restoring = 0"),
        ("grant_micros = grant_micros - 1", "grant_micros = grant_micros + 1"),
        ("wait_micros = wait_micros + 1", "wait_micros = wait_micros - 1"),
    ] {
        assert_eq!(installation.sql(&format!("UPDATE feed SET {change}")).await, 1);
        for sentence in [
            installation.refused_to_serve::<&str>([]).await,
            refused_to_serve_with_file(&installation).await,
        ] {
            assert!(
                sentence.contains("the feed") && sentence.contains("tokend restore"),
                "{change}: {sentence}"
            );
        }
        let verified = installation.run_on_data(["audit", "verify"]).await;
        assert!(
            !verified.status.success() && verified.stdout.contains("feed"),
            "{change}: {verified:#?}"
        );
        assert_eq!(installation.sql(&format!("UPDATE feed SET {back}")).await, 1);
    }
    // The same seal covers the last revocation.
    let last = installation
        .texts("SELECT line FROM endings WHERE position = 2")
        .await
        .remove(0);
    installation.sql("DELETE FROM endings WHERE position = 2").await;
    assert!(
        installation
            .refused_to_serve::<&str>([])
            .await
            .contains("tokend restore")
    );
    let verified = installation.run_on_data(["audit", "verify"]).await;
    assert!(
        !verified.status.success() && verified.stdout.contains("endings"),
        "{verified:#?}"
    );
    installation
        .sql(&format!(
            "INSERT INTO endings (position, epoch, line) SELECT 2, epoch, '{last}' FROM feed"
        ))
        .await;
    installation.run_on_data(["audit", "verify"]).await.succeeded();

    // A running server does not seal another program's change. A restore from a valid file repairs the row.
    let server = serve(&installation, &restorable.admin_key).await;
    installation.sql("UPDATE feed SET epoch = epoch + 1").await;
    let revoke = tokend_client::v1::RevokeTokenRequest {
        name: restorable.tokens[2].public.name.clone(),
        ..Default::default()
    };
    assert!(server.admin().token_admin().revoke_token(revoke).await.is_err());
    assert!(server.stop().await.status.success());
    assert!(
        refused_to_serve_with_file(&installation)
            .await
            .contains("tokend restore")
    );
    restore(&installation).await.succeeded();
    let server = serve(&installation, &restorable.admin_key).await;
    assert!(restorable.is_revoked(&server, 1).await && !restorable.is_revoked(&server, 2).await);
    server.revoke(&restorable.tokens[2].public.name).await;
    assert!(server.stop().await.status.success());
    installation.run_on_data(["audit", "verify"]).await.succeeded();
}

/// Only a database from an older tokend has no seal, and it receives its seal once.
async fn a_feed_row_without_a_seal_is_refused(installation: Installation) {
    let restorable = Restorable::create(&installation).await;
    assert_eq!(installation.sql("UPDATE feed SET mac = NULL").await, 1);
    for _ in 0..2 {
        let sentence = refused_to_serve_with_file(&installation).await;
        assert!(sentence.contains("the feed"), "{sentence}");
    }
    let verified = installation.run_on_data(["audit", "verify"]).await;
    assert!(
        !verified.status.success() && verified.stdout.contains("feed"),
        "{verified:#?}"
    );
    restore(&installation).await.succeeded();
    let server = serve(&installation, &restorable.admin_key).await;
    assert!(restorable.is_revoked(&server, 1).await);
}
