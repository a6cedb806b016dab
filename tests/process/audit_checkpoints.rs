//! `tokend audit verify` with checkpoints: it reports a truncated or missing chain, and accepts a chain that was pruned
//! or whose key is retired.

use std::{fs, time::Duration};

use tokend_client::v1::{
    CreateCallerKeyRequest, DeleteCallerRequest, ListAuditEventsRequest, ListCallerKeysRequest, ListTokensRequest,
    RevokeCallerKeyRequest,
};
use tokend_tests::{Installation, Records, on_both_databases, token_in};

use crate::audit_verify::{assert_reports, busy, token_without_expiry, verify};

on_both_databases!(
    a_checkpoint_reveals_a_truncated_chain,
    a_missing_chain_is_reported,
    old_records_are_pruned_up_to_a_checkpoint,
    records_of_a_retired_key_are_verified,
);

async fn a_checkpoint_reveals_a_truncated_chain(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    server.token(token_in(&acme)).await;
    let mut database = Records::of_installation(&installation).await;
    for table in ["audit_chains", "tokens"] {
        database
            .execute(&format!("CREATE TABLE old_{table} AS SELECT * FROM {table}"))
            .await;
    }
    let token = server.token(token_in(&acme)).await.public.name;
    // A server's log contains the checkpoints too.
    let log = installation.directory().join("log");
    fs::write(&log, server.stop().await.stderr).expect("the file is written");
    let log = log.to_str().expect("the text is UTF-8");
    verify(&installation, &["--checkpoint", log])
        .await
        .expect("the verification succeeds");

    // Remove every record of the second token, and restore the earlier rows.
    database
        .execute("DELETE FROM audit_events WHERE chain = 'acme' AND sequence = 3")
        .await;
    database.execute("DELETE FROM audit_checkpoints").await;
    for (table, only) in [("audit_chains", "WHERE chain = 'acme'"), ("tokens", "")] {
        database.execute(&format!("DELETE FROM {table} {only}")).await;
        database
            .execute(&format!("INSERT INTO {table} SELECT * FROM old_{table} {only}"))
            .await;
    }
    verify(&installation, &[])
        .await
        .unwrap_or_else(|output| panic!("the database alone shows no trace of {token}: {output}"));
    let output = verify(&installation, &["--checkpoint", log]).await;
    assert_reports(
        output,
        &["chain acme ends at record 2, and a checkpoint has record 3: its end was cut off"],
    );
}

async fn a_missing_chain_is_reported(installation: Installation) {
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
    let expected = [
        "the installation's head counts 2 chains, and 1 exist",
        "chain acme is gone, although the record of the workspace's creation names it",
    ];
    assert_reports(
        verify(&installation, &[]).await,
        &[
            expected[0],
            expected[1],
            "chain acme is gone, although the workspace names it",
        ],
    );
    database.execute("DELETE FROM workspaces").await;
    assert_reports(verify(&installation, &[]).await, &expected);
}

async fn old_records_are_pruned_up_to_a_checkpoint(installation: Installation) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let (server, _) = busy(&installation).await;
    let key = server.admin_key().to_owned();
    assert!(server.stop().await.status.success());
    let mut records = Records::of_installation(&installation).await;
    let all = records.all().await.len();

    // Records younger than the retention stay.
    installation.clock().set_ahead(DAY * 29);
    let server = installation.serve_with(&key, ["--audit-retention-days", "30"]).await;
    server.token(token_without_expiry("workspaces/acme")).await;
    assert!(server.stop().await.status.success());
    assert_eq!(records.all().await.len(), all + 1);

    installation.clock().set_ahead(DAY * 31);
    let server = installation.serve_with(&key, ["--audit-retention-days", "30"]).await;
    let left = tokend_tests::eventually("the old records are deleted", async || {
        let left = records.all().await;
        (left.len() == 1).then_some(left)
    });
    assert_eq!((left.await[0].chain.as_str(), "acme"), ("acme", "acme"));
    server.token(token_in("workspaces/acme")).await;
    verify(&installation, &[])
        .await
        .expect("the rest of the chain is verified");
    assert!(server.stop().await.status.success());
    verify(&installation, &[])
        .await
        .expect("the rest of the chain is verified");
    // The verification still covers the kept records.
    records
        .execute("DELETE FROM audit_events WHERE chain = 'acme' AND sequence = 5")
        .await;
    assert_reports(
        verify(&installation, &[]).await,
        &["chain acme: records 5 to 5 are missing"],
    );
}

async fn records_of_a_retired_key_are_verified(installation: Installation) {
    let (server, _) = busy(&installation).await;
    let first = server.admin_key().to_owned();
    let tokens = ListTokensRequest {
        parent: "workspaces/acme".to_owned(),
        ..Default::default()
    };
    for token in server
        .admin()
        .token_admin()
        .list_tokens(tokens)
        .await
        .expect("ListTokens succeeds")
        .into_inner()
        .tokens
    {
        server.revoke(&token.name).await;
    }
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
    assert!(server.stop().await.status.success());
    for arguments in [&["keyring", "add"][..], &["keyring", "activate", "1", "--force"]] {
        installation.run_on_data(arguments).await.succeeded();
    }
    // The first caller's key is the last row that the old key signed.
    let server = installation.serve(&first).await;
    let request = CreateCallerKeyRequest {
        parent: "callers/admin".to_owned(),
        ttl: None,
    };
    let second = server
        .admin()
        .caller_admin()
        .create_caller_key(request)
        .await
        .expect("CreateCallerKey succeeds")
        .into_inner()
        .secret;
    let keys = ListCallerKeysRequest {
        parent: "callers/admin".to_owned(),
        ..Default::default()
    };
    let keys = server
        .admin()
        .caller_admin()
        .list_caller_keys(keys)
        .await
        .expect("ListCallerKeys succeeds")
        .into_inner()
        .keys;
    let revoke = RevokeCallerKeyRequest {
        name: keys.last().expect("the list has a key").name.clone(),
        no_wait: true,
    };
    server
        .admin()
        .caller_admin()
        .revoke_caller_key(revoke)
        .await
        .expect("RevokeCallerKey succeeds");
    assert!(server.stop().await.status.success());
    installation.run_on_data(["keyring", "retire", "0"]).await.succeeded();

    verify(&installation, &[])
        .await
        .expect("the records of the retired key are verified");
    let mut records = Records::of_installation(&installation).await;
    let of_keys: Vec<_> = records
        .of("-")
        .await
        .into_iter()
        .filter(|record| record.kind.starts_with("ring_key."))
        .collect();
    let lines: Vec<_> = of_keys
        .iter()
        .map(|record| format!("{} {}", record.kind, record.detail))
        .collect();
    assert_eq!(
        lines,
        [
            "ring_key.added key 1",
            "ring_key.activated key 1",
            "ring_key.retired key 0"
        ]
    );
    let server = installation.serve(&second).await;
    let list = ListAuditEventsRequest {
        parent: "-".to_owned(),
        page_size: 1_000,
        ..Default::default()
    };
    let events = server
        .admin()
        .audit_log()
        .list_audit_events(list)
        .await
        .expect("ListAuditEvents succeeds")
        .into_inner()
        .events;
    assert_eq!(
        events.last().expect("the list has an event").r#type,
        "installation.created"
    );
    assert_eq!(events.len(), records.of("-").await.len());
    // A change to such a record is still reported.
    records
        .execute("UPDATE audit_events SET detail = 'x' WHERE chain = 'acme' AND sequence = 1")
        .await;
    assert_reports(verify(&installation, &[]).await, &["chain acme: record 1 was changed"]);
}
