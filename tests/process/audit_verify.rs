//! `tokend audit verify`: what was done to the database behind tokend's back is told, with where; nothing else is.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use tokend_client::v1::{
    CreateCallerKeyRequest, CreateTokenRequest, DeleteCallerRequest, ListAuditEventsRequest, ListCallerKeysRequest,
    ListTokensRequest, RevokeCallerKeyRequest, Role, create_token_request::Expiry,
};
use tokend_tests::{Installation, Records, Server, on_both_databases, on_sqlite, token_in};

on_both_databases!(
    what_nobody_touched_is_right,
    a_row_that_was_put_back_is_told,
    what_was_done_to_the_log_is_told,
    a_cut_tail_shows_by_a_checkpoint,
    a_chain_that_is_gone_is_missed,
    old_records_are_cut_at_a_checkpoint,
    records_outlive_their_key,
);

mod anywhere {
    use super::*;

    on_sqlite!(a_checkpoint_file_is_appended_to, a_file_without_checkpoints_is_none, another_key_ring_verifies_nothing);

    async fn a_checkpoint_file_is_appended_to(installation: Installation) {
        let file = installation.directory().join("checkpoints");
        let path = file.to_str().expect("UTF-8").to_owned();
        let key = installation.init().await;
        let mut lines = 0;
        for _ in 0..2 {
            let server = installation.serve_with(&key, ["--audit-checkpoint-file", &path]).await;
            server.workspace(&format!("w{lines}")).await;
            assert!(server.stop().await.status.success());
            let text = fs::read_to_string(&file).expect("it was made");
            assert!(text.lines().all(|line| line.starts_with("tokend-checkpoint v1 chain=")), "{text}");
            // The installation's chain, and the workspace's.
            assert_eq!(text.lines().count(), lines + 2, "{text}");
            lines += 2;
        }
        assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
        let told = verify(&installation, &["--checkpoint", &path]).await.expect("it is right");
        assert!(told.contains("8 checkpoints"), "those of the database and of the file: {told}");
        let directory = installation.directory().to_str().expect("UTF-8").to_owned();
        let refused = installation.run_on_data(["serve", "--listen", "127.0.0.1:0", "--audit-checkpoint-file", &directory]).await;
        refused.failed_with_a_sentence();
    }

    async fn a_file_without_checkpoints_is_none(installation: Installation) {
        installation.init().await;
        let file = installation.directory().join("checkpoints");
        for text in ["", "nothing\n", "tokend-checkpoint v1 chain=- sequence=x\n"] {
            fs::write(&file, text).expect("it can be written");
            let told = verify(&installation, &["--checkpoint", file.to_str().expect("UTF-8")]).await.expect_err("there are none");
            assert!(told.contains("can't read checkpoints"), "{told}");
        }
    }

    async fn another_key_ring_verifies_nothing(installation: Installation) {
        installation.init().await;
        let other = installation.directory().join("other");
        let ring =
            installation.run_on_data(["init", "--database-url", "sqlite://other.db", "--keyring", other.to_str().expect("UTF-8")]);
        ring.await.succeeded();
        let told = verify(&installation, &["--keyring", other.to_str().expect("UTF-8")]).await.expect_err("it is another");
        assert!(told.contains("key ring does not fit"), "{told}");
    }
}

/// What the command says: all of it if it is content, else what is wrong.
async fn verify(installation: &Installation, arguments: &[&str]) -> Result<String, String> {
    let finished = installation.run_on_data([&["audit", "verify"], arguments].concat()).await;
    match finished.code() {
        0 => Ok(finished.stdout),
        1 => Err(finished.stdout + &finished.stderr),
        _ => panic!("{finished:#?}"),
    }
}

#[track_caller]
fn assert_tells(told: Result<String, String>, what: &[&str]) {
    let told = told.expect_err("something is wrong");
    for what in what {
        assert!(told.contains(what), "{what:?} is not in:\n{told}");
    }
}

/// Asks for a token of whose end nothing is ever told.
fn endless(workspace: &str) -> CreateTokenRequest {
    CreateTokenRequest { expiry: Some(Expiry::NoExpiry(true)), ..token_in(workspace) }
}

/// A server that has done some of everything, and the name of a token that was revoked.
async fn busy(installation: &Installation) -> (Server, String) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.public.name;
    server.token(endless(&acme)).await;
    server.revoke(&token).await;
    let gone = server.caller("gone", Role::Auditor).await.public;
    let revoke = RevokeCallerKeyRequest { name: gone, no_wait: true };
    server.admin().caller_admin().revoke_caller_key(revoke).await.expect("it is revoked");
    let delete = DeleteCallerRequest { name: "callers/gone".to_owned(), no_wait: true };
    server.admin().caller_admin().delete_caller(delete).await.expect("it is deleted");
    server.caller("gone", Role::Verifier).await;
    server.admin().token_admin().get_token(tokend_client::v1::GetTokenRequest::default()).await.expect_err("it is refused");
    (server, token)
}

async fn what_nobody_touched_is_right(installation: Installation) {
    let (server, _) = busy(&installation).await;
    // While it runs, and after it has ended.
    for _ in 0..2 {
        let told = verify(&installation, &[]).await.expect("it is right");
        assert!(told.starts_with("2 chains, 15 records") && told.contains("7 rows"), "{told}");
        assert!(told.ends_with("everything is as it was recorded\n"), "{told}");
    }
    assert!(server.stop().await.status.success());
    verify(&installation, &[]).await.expect("it is right");
}

async fn a_row_that_was_put_back_is_told(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.public.name;
    let gate = server.caller("gate", Role::Verifier).await.public;
    let mut database = Records::of_installation(&installation).await;
    for table in ["tokens", "caller_keys", "callers", "workspaces"] {
        database.execute(&format!("CREATE TABLE old_{table} AS SELECT * FROM {table}")).await;
    }
    server.revoke(&token).await;
    server.token(token_in(&acme)).await;
    let revoke = RevokeCallerKeyRequest { name: gate.clone(), no_wait: true };
    server.admin().caller_admin().revoke_caller_key(revoke).await.expect("it is revoked");
    verify(&installation, &[]).await.expect("it is right");

    // Each row is valid, and each was so once.
    for table in ["tokens", "caller_keys"] {
        database.execute(&format!("DELETE FROM {table}")).await;
        database.execute(&format!("INSERT INTO {table} SELECT * FROM old_{table}")).await;
    }
    let told = verify(&installation, &[]).await;
    assert_tells(
        told,
        &[
            &format!("{token} is not as record 3 left it"),
            &format!("{gate} is not as record 7 left it"),
            "is gone, although record 4",
        ],
    );

    let delete = DeleteCallerRequest { name: "callers/gate".to_owned(), no_wait: true };
    server.admin().caller_admin().delete_caller(delete).await.expect("it is deleted");
    database.execute("INSERT INTO callers SELECT * FROM old_callers WHERE id = 'gate'").await;
    assert_tells(verify(&installation, &[]).await, &["callers/gate is there, although it was deleted by record 8"]);
    database.execute("UPDATE callers SET role = 'ADMIN' WHERE id = 'gate'").await;
    assert_tells(verify(&installation, &[]).await, &["callers/gate can't be believed"]);
}

async fn what_was_done_to_the_log_is_told(installation: Installation) {
    let (server, _) = busy(&installation).await;
    assert!(server.stop().await.status.success());
    let mut database = Records::of_installation(&installation).await;
    for table in ["audit_events", "audit_chains", "audit_checkpoints"] {
        database.execute(&format!("CREATE TABLE old_{table} AS SELECT * FROM {table}")).await;
    }
    let in_acme = |change: &str| format!("{change} WHERE chain = 'acme'");
    for (change, told) in [
        (in_acme("UPDATE audit_events SET caller = 'callers/nobody'") + " AND sequence = 2", "chain acme: record 2 was changed"),
        (in_acme("UPDATE audit_events SET time = time + 1") + " AND sequence = 4", "chain acme: record 4 was changed"),
        (in_acme("UPDATE audit_events SET kid = 'Z'") + " AND sequence = 1", "record 1 names key Z"),
        (in_acme("UPDATE audit_events SET previous_hash = hash") + " AND sequence = 3", "record 3 does not go on"),
        (in_acme("DELETE FROM audit_events") + " AND sequence = 2", "records 2 to 2 are missing"),
        (in_acme("DELETE FROM audit_events") + " AND sequence > 2", "records 3 to 4 are missing"),
        (in_acme("DELETE FROM audit_events"), "records 1 to 4 are missing"),
        (in_acme("UPDATE audit_chains SET sequence = 3"), "the chain's head was changed"),
        (in_acme("UPDATE audit_chains SET base_sequence = 1"), "the chain's head was changed"),
        (in_acme("DELETE FROM audit_chains"), "chain acme has records and no head"),
        ("DELETE FROM audit_chains WHERE chain = '-'".to_owned(), "the audit log is gone"),
        ("UPDATE audit_chains SET chains = 1 WHERE chain = '-'".to_owned(), "chain -: the chain's head was changed"),
        ("UPDATE audit_checkpoints SET time = time + 1".to_owned(), "is not one of this installation"),
    ] {
        assert!(database.execute(&change).await > 0, "{change}");
        assert_tells(verify(&installation, &[]).await, &[told, "not as they were recorded"]);
        for table in ["audit_events", "audit_chains", "audit_checkpoints"] {
            database.execute(&format!("DELETE FROM {table}")).await;
            database.execute(&format!("INSERT INTO {table} SELECT * FROM old_{table}")).await;
        }
    }
    verify(&installation, &[]).await.expect("it is as it was");
}

async fn a_cut_tail_shows_by_a_checkpoint(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    server.token(token_in(&acme)).await;
    let mut database = Records::of_installation(&installation).await;
    for table in ["audit_chains", "tokens"] {
        database.execute(&format!("CREATE TABLE old_{table} AS SELECT * FROM {table}")).await;
    }
    let token = server.token(token_in(&acme)).await.public.name;
    // The log of a server is as good as a file.
    let log = installation.directory().join("log");
    fs::write(&log, server.stop().await.stderr).expect("it can be written");
    let log = log.to_str().expect("UTF-8");
    verify(&installation, &["--checkpoint", log]).await.expect("it is right");

    // Everything that tells of the second token is undone, with the rows as they were before.
    database.execute("DELETE FROM audit_events WHERE chain = 'acme' AND sequence = 3").await;
    database.execute("DELETE FROM audit_checkpoints").await;
    for (table, only) in [("audit_chains", "WHERE chain = 'acme'"), ("tokens", "")] {
        database.execute(&format!("DELETE FROM {table} {only}")).await;
        database.execute(&format!("INSERT INTO {table} SELECT * FROM old_{table} {only}")).await;
    }
    verify(&installation, &[])
        .await
        .unwrap_or_else(|told| panic!("{token} was never there, as far as the database can tell: {told}"));
    let told = verify(&installation, &["--checkpoint", log]).await;
    assert_tells(told, &["chain acme ends at record 2, and a checkpoint tells of record 3: its end was cut off"]);
}

async fn a_chain_that_is_gone_is_missed(installation: Installation) {
    let (server, _) = busy(&installation).await;
    assert!(server.stop().await.status.success());
    let mut database = Records::of_installation(&installation).await;
    for statement in [
        "DELETE FROM audit_events WHERE chain = 'acme'",
        "DELETE FROM audit_chains WHERE chain = 'acme'",
        "DELETE FROM audit_checkpoints WHERE chain = 'acme'",
        "DELETE FROM tokens",
    ] {
        database.execute(statement).await;
    }
    let missed = ["2 chains were begun and 1 are there", "chain acme is gone, of which the record of the workspace's making tells"];
    assert_tells(verify(&installation, &[]).await, &[missed[0], missed[1], "chain acme is gone, of which the workspace tells"]);
    database.execute("DELETE FROM workspaces").await;
    assert_tells(verify(&installation, &[]).await, &missed);
}

async fn old_records_are_cut_at_a_checkpoint(installation: Installation) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let (server, _) = busy(&installation).await;
    let key = server.admin_key().to_owned();
    assert!(server.stop().await.status.success());
    let mut records = Records::of_installation(&installation).await;
    let all = records.all().await.len();

    // Not before their time.
    installation.clock().set_ahead(DAY * 29);
    let server = installation.serve_with(&key, ["--audit-retention-days", "30"]).await;
    server.token(endless("workspaces/acme")).await;
    assert!(server.stop().await.status.success());
    assert_eq!(records.all().await.len(), all + 1);

    installation.clock().set_ahead(DAY * 31);
    let server = installation.serve_with(&key, ["--audit-retention-days", "30"]).await;
    let left = tokend_tests::eventually("what is old is gone", async || {
        let left = records.all().await;
        (left.len() == 1).then_some(left)
    });
    assert_eq!((left.await[0].chain.as_str(), "acme"), ("acme", "acme"));
    server.token(token_in("workspaces/acme")).await;
    verify(&installation, &[]).await.expect("it can be verified from there on");
    assert!(server.stop().await.status.success());
    verify(&installation, &[]).await.expect("it can be verified from there on");
    // What is kept is still held to be whole, and what it tells of.
    records.execute("DELETE FROM audit_events WHERE chain = 'acme' AND sequence = 5").await;
    assert_tells(verify(&installation, &[]).await, &["chain acme: records 5 to 5 are missing"]);
}

async fn records_outlive_their_key(installation: Installation) {
    let (server, _) = busy(&installation).await;
    let first = server.admin_key().to_owned();
    let tokens = ListTokensRequest { parent: "workspaces/acme".to_owned(), ..Default::default() };
    for token in server.admin().token_admin().list_tokens(tokens).await.expect("a page").into_inner().tokens {
        server.revoke(&token.name).await;
    }
    let delete = DeleteCallerRequest { name: "callers/gone".to_owned(), no_wait: true };
    server.admin().caller_admin().delete_caller(delete).await.expect("it is deleted");
    assert!(server.stop().await.status.success());
    for arguments in [&["keyring", "add"][..], &["keyring", "activate", "1", "--force"]] {
        installation.run_on_data(arguments).await.succeeded();
    }
    // Only the key of the first caller is left of what the old key made.
    let server = installation.serve(&first).await;
    let request = CreateCallerKeyRequest { parent: "callers/admin".to_owned(), ttl: None };
    let second = server.admin().caller_admin().create_caller_key(request).await.expect("a key").into_inner().secret;
    let keys = ListCallerKeysRequest { parent: "callers/admin".to_owned(), ..Default::default() };
    let keys = server.admin().caller_admin().list_caller_keys(keys).await.expect("a page").into_inner().keys;
    let revoke = RevokeCallerKeyRequest { name: keys.last().expect("the oldest").name.clone(), no_wait: true };
    server.admin().caller_admin().revoke_caller_key(revoke).await.expect("it is revoked");
    assert!(server.stop().await.status.success());
    installation.run_on_data(["keyring", "retire", "0"]).await.succeeded();

    verify(&installation, &[]).await.expect("what the retired key wrote is still believed");
    let mut records = Records::of_installation(&installation).await;
    let of_keys: Vec<_> = records.of("-").await.into_iter().filter(|record| record.kind.starts_with("ring_key.")).collect();
    let told: Vec<_> = of_keys.iter().map(|record| format!("{} {}", record.kind, record.detail)).collect();
    assert_eq!(told, ["ring_key.added key 1", "ring_key.activated key 1", "ring_key.retired key 0"]);
    let server = installation.serve(&second).await;
    let list = ListAuditEventsRequest { parent: "-".to_owned(), page_size: 1_000, ..Default::default() };
    let events = server.admin().audit_log().list_audit_events(list).await.expect("a page").into_inner().events;
    assert_eq!(events.last().expect("the oldest").r#type, "installation.created");
    assert_eq!(events.len(), records.of("-").await.len());
    // And what was done to it is still found.
    records.execute("UPDATE audit_events SET detail = 'x' WHERE chain = 'acme' AND sequence = 1").await;
    assert_tells(verify(&installation, &[]).await, &["chain acme: record 1 was changed"]);
}
