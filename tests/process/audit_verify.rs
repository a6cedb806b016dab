//! `tokend audit verify` reports every change that another program made to the database, with its place, and nothing
//! else.

use std::{fs, os::unix::fs::PermissionsExt};

use tokend_client::v1::{
    CreateTokenRequest, DeleteCallerRequest, RevokeCallerKeyRequest, Role, create_token_request::Expiry,
};
use tokend_tests::{Installation, Records, Server, on_both_databases, on_sqlite, token_in};

on_both_databases!(
    an_unchanged_database_is_verified,
    an_older_version_of_a_row_is_reported,
    changes_to_the_audit_log_are_reported,
);

mod anywhere {
    use super::*;

    on_sqlite!(
        a_checkpoint_file_is_appended_to,
        a_file_without_checkpoints_is_refused,
        another_key_ring_is_refused
    );

    async fn a_checkpoint_file_is_appended_to(installation: Installation) {
        let file = installation.directory().join("checkpoints");
        let path = file.to_str().expect("the text is UTF-8").to_owned();
        let key = installation.init().await;
        let mut lines = 0;
        for _ in 0..2 {
            let server = installation.serve_with(&key, ["--audit-checkpoint-file", &path]).await;
            server.workspace(&format!("w{lines}")).await;
            assert!(server.stop().await.status.success());
            let text = fs::read_to_string(&file).expect("the file is readable");
            assert!(
                text.lines().all(|line| line.starts_with("tokend-checkpoint v1 chain=")),
                "{text}"
            );
            // The installation's chain, and the workspace's.
            assert_eq!(text.lines().count(), lines + 2, "{text}");
            lines += 2;
        }
        assert_eq!(
            fs::metadata(&file).expect("the file exists").permissions().mode() & 0o777,
            0o600
        );
        let output = verify(&installation, &["--checkpoint", &path])
            .await
            .expect("the verification succeeds");
        assert!(
            output.contains("8 checkpoints"),
            "the checkpoints of the database and of the file: {output}"
        );
        let directory = installation.directory().to_str().expect("the text is UTF-8").to_owned();
        installation
            .refused_to_serve(["--audit-checkpoint-file", &directory])
            .await;
    }

    async fn a_file_without_checkpoints_is_refused(installation: Installation) {
        installation.init().await;
        let file = installation.directory().join("checkpoints");
        for text in ["", "nothing\n", "tokend-checkpoint v1 chain=- sequence=x\n"] {
            fs::write(&file, text).expect("the file is written");
            let output = verify(
                &installation,
                &["--checkpoint", file.to_str().expect("the text is UTF-8")],
            )
            .await
            .expect_err("the file has no checkpoints");
            assert!(output.contains("can't read checkpoints"), "{output}");
        }
    }

    async fn another_key_ring_is_refused(installation: Installation) {
        installation.init().await;
        let other = installation.directory().join("other");
        let ring = installation.run_on_data([
            "init",
            "--database-url",
            "sqlite://other.db",
            "--keyring",
            other.to_str().expect("the text is UTF-8"),
        ]);
        ring.await.succeeded();
        let output = verify(
            &installation,
            &["--keyring", other.to_str().expect("the text is UTF-8")],
        )
        .await
        .expect_err("the key ring is another one");
        assert!(output.contains("key ring does not fit"), "{output}");
    }
}

/// Runs `tokend audit verify`. Returns its output: `Ok` for an intact database, `Err` for one with differences.
pub(crate) async fn verify(installation: &Installation, arguments: &[&str]) -> Result<String, String> {
    let finished = installation
        .run_on_data([&["audit", "verify"], arguments].concat())
        .await;
    match finished.code() {
        0 => Ok(finished.stdout),
        1 => Err(finished.stdout + &finished.stderr),
        _ => panic!("{finished:#?}"),
    }
}

#[track_caller]
pub(crate) fn assert_reports(output: Result<String, String>, what: &[&str]) {
    let output = output.expect_err("the verification fails");
    for what in what {
        assert!(output.contains(what), "{what:?} is not in:\n{output}");
    }
}

/// Returns a request for a token that never expires.
pub(crate) fn token_without_expiry(workspace: &str) -> CreateTokenRequest {
    CreateTokenRequest {
        expiry: Some(Expiry::NoExpiry(true)),
        ..token_in(workspace)
    }
}

/// Starts a server and makes calls that add many kinds of audit records. Returns the server and the name of a revoked
/// token.
pub(crate) async fn busy(installation: &Installation) -> (Server, String) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.public.name;
    server.token(token_without_expiry(&acme)).await;
    server.revoke(&token).await;
    let key = server.caller("gone", Role::Auditor).await.public;
    let revoke = RevokeCallerKeyRequest {
        name: key,
        no_wait: true,
    };
    server
        .admin()
        .caller_admin()
        .revoke_caller_key(revoke)
        .await
        .expect("RevokeCallerKey succeeds");
    let delete = DeleteCallerRequest {
        name: "callers/gone".to_owned(),
        no_wait: true,
    };
    server
        .admin()
        .caller_admin()
        .delete_caller(delete)
        .await
        .expect("DeleteCaller succeeds");
    server.caller("gone", Role::Verifier).await;
    server
        .admin()
        .token_admin()
        .get_token(tokend_client::v1::GetTokenRequest::default())
        .await
        .expect_err("a request without a name is refused");
    (server, token)
}

async fn an_unchanged_database_is_verified(installation: Installation) {
    let (server, _) = busy(&installation).await;
    // Verification succeeds while the server runs, and after it has stopped.
    for _ in 0..2 {
        let output = verify(&installation, &[]).await.expect("the verification succeeds");
        assert!(
            output.starts_with("2 chains, 15 records") && output.contains("7 rows"),
            "{output}"
        );
        assert!(output.ends_with("everything is as it was recorded\n"), "{output}");
    }
    assert!(server.stop().await.status.success());
    verify(&installation, &[]).await.expect("the verification succeeds");
}

async fn an_older_version_of_a_row_is_reported(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.public.name;
    let gate = server.caller("gate", Role::Verifier).await.public;
    let mut database = Records::of_installation(&installation).await;
    for table in ["tokens", "caller_keys", "callers", "workspaces"] {
        database
            .execute(&format!("CREATE TABLE old_{table} AS SELECT * FROM {table}"))
            .await;
    }
    server.revoke(&token).await;
    server.token(token_in(&acme)).await;
    let revoke = RevokeCallerKeyRequest {
        name: gate.clone(),
        no_wait: true,
    };
    server
        .admin()
        .caller_admin()
        .revoke_caller_key(revoke)
        .await
        .expect("RevokeCallerKey succeeds");
    verify(&installation, &[]).await.expect("the verification succeeds");

    // Each old row has a valid seal.
    for table in ["tokens", "caller_keys"] {
        database.execute(&format!("DELETE FROM {table}")).await;
        database
            .execute(&format!("INSERT INTO {table} SELECT * FROM old_{table}"))
            .await;
    }
    let output = verify(&installation, &[]).await;
    assert_reports(
        output,
        &[
            &format!("{token} is not as record 3 left it"),
            &format!("{gate} is not as record 7 left it"),
            "is gone, although record 4",
        ],
    );

    let delete = DeleteCallerRequest {
        name: "callers/gate".to_owned(),
        no_wait: true,
    };
    server
        .admin()
        .caller_admin()
        .delete_caller(delete)
        .await
        .expect("DeleteCaller succeeds");
    database
        .execute("INSERT INTO callers SELECT * FROM old_callers WHERE id = 'gate'")
        .await;
    assert_reports(
        verify(&installation, &[]).await,
        &["callers/gate exists, although record 8 deleted it"],
    );
    database
        .execute("UPDATE callers SET role = 'ADMIN' WHERE id = 'gate'")
        .await;
    assert_reports(verify(&installation, &[]).await, &["callers/gate can't be trusted"]);
}

async fn changes_to_the_audit_log_are_reported(installation: Installation) {
    let (server, _) = busy(&installation).await;
    assert!(server.stop().await.status.success());
    let mut database = Records::of_installation(&installation).await;
    for table in ["audit_events", "audit_chains", "audit_checkpoints"] {
        database
            .execute(&format!("CREATE TABLE old_{table} AS SELECT * FROM {table}"))
            .await;
    }
    let in_acme = |change: &str| format!("{change} WHERE chain = 'acme'");
    for (change, output) in [
        (
            in_acme("UPDATE audit_events SET caller = 'callers/nobody'") + " AND sequence = 2",
            "chain acme: record 2 was changed",
        ),
        (
            in_acme("UPDATE audit_events SET time = time + 1") + " AND sequence = 4",
            "chain acme: record 4 was changed",
        ),
        (
            in_acme("UPDATE audit_events SET kid = 'Z'") + " AND sequence = 1",
            "record 1 names key Z",
        ),
        (
            in_acme("UPDATE audit_events SET previous_hash = hash") + " AND sequence = 3",
            "record 3 does not continue",
        ),
        (
            in_acme("DELETE FROM audit_events") + " AND sequence = 2",
            "records 2 to 2 are missing",
        ),
        (
            in_acme("DELETE FROM audit_events") + " AND sequence > 2",
            "records 3 to 4 are missing",
        ),
        (in_acme("DELETE FROM audit_events"), "records 1 to 4 are missing"),
        (
            in_acme("UPDATE audit_chains SET sequence = 3"),
            "the chain's head was changed",
        ),
        (
            in_acme("UPDATE audit_chains SET base_sequence = 1"),
            "the chain's head was changed",
        ),
        (
            in_acme("DELETE FROM audit_chains"),
            "chain acme has records and no head",
        ),
        (
            "DELETE FROM audit_chains WHERE chain = '-'".to_owned(),
            "the audit log is gone",
        ),
        (
            "UPDATE audit_chains SET chains = 1 WHERE chain = '-'".to_owned(),
            "chain -: the chain's head was changed",
        ),
        (
            "UPDATE audit_checkpoints SET time = time + 1".to_owned(),
            "is not one of this installation",
        ),
    ] {
        assert!(database.execute(&change).await > 0, "{change}");
        assert_reports(
            verify(&installation, &[]).await,
            &[output, "differences from the audit log"],
        );
        for table in ["audit_events", "audit_chains", "audit_checkpoints"] {
            database.execute(&format!("DELETE FROM {table}")).await;
            database
                .execute(&format!("INSERT INTO {table} SELECT * FROM old_{table}"))
                .await;
        }
    }
    verify(&installation, &[])
        .await
        .expect("the original database is verified");
}
