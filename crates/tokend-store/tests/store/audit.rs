//! The audit log has one chain for the installation and one for each workspace. A record is stored in the transaction
//! of its change, or not at all.

use std::sync::Arc;

use tokend_core::audit::{Chain, Event, EventType, Origin, Outcome, RowAfter};
use tokend_store::{Insert, OpenError, Store, StoreError, WriteTx};
use tokend_test_support::on_both_databases;

use crate::support::{Fixture, insert_token, insert_workspace, workspace, workspace_id};

on_both_databases!(
    a_chain_starts_with_the_creation_of_its_subject,
    an_older_installation_gets_a_log,
    a_failed_change_leaves_no_record,
    a_tampered_head_rejects_new_records,
    concurrent_writers_leave_no_gaps,
);

fn event(chain: Chain, kind: EventType) -> Event {
    Event {
        chain,
        kind,
        origin: Origin::default(),
        resource: "workspaces/acme".to_owned(),
        outcome: Outcome::Done,
        reason: String::new(),
        detail: String::new(),
        row: RowAfter::None,
    }
}

fn acme() -> Chain {
    Chain::Workspace(workspace_id("acme"))
}

async fn audit(store: &Store, event: Event) -> Result<(), StoreError> {
    store
        .write(async move |tx: &WriteTx| {
            tx.append_event(event);
            Ok(())
        })
        .await
}

async fn kinds(store: &Store, chain: &Chain) -> Vec<String> {
    let page = store.list_audit(chain, None, 100).await.expect("a page");
    let mut kinds: Vec<_> = page
        .records
        .into_iter()
        .map(|record| record.expect("the record is intact").kind)
        .collect();
    kinds.reverse();
    kinds
}

async fn chains(store: &Store) -> u64 {
    store
        .audit_head(&Chain::Installation)
        .await
        .expect("`audit_head` succeeds")
        .expect("the chain has a head")
        .chains
}

async fn a_chain_starts_with_the_creation_of_its_subject(fixture: Fixture) {
    let store = fixture.initialized().await;
    assert_eq!(
        kinds(&store, &Chain::Installation).await,
        ["installation.created", "caller.created", "caller_key.created"]
    );
    assert_eq!(chains(&store).await, 1);
    audit(&store, event(acme(), EventType::WorkspaceCreated))
        .await
        .expect("the event is appended");
    audit(&store, event(acme(), EventType::TokenCreated))
        .await
        .expect("the event is appended");
    assert_eq!(kinds(&store, &acme()).await, ["workspace.created", "token.created"]);
    assert_eq!(chains(&store).await, 2);
    // A chain that starts later has a `log.begun` record.
    let late = Chain::Workspace(workspace_id("late"));
    audit(&store, event(late.clone(), EventType::TokenRevoked))
        .await
        .expect("the event is appended");
    assert_eq!(kinds(&store, &late).await, ["log.begun", "token.revoked"]);
    assert_eq!(chains(&store).await, 3);
}

async fn an_older_installation_gets_a_log(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    store.close().await;
    // A deleted log is not started again: the sealed feed shows that there was one.
    const TABLES: [&str; 2] = ["audit_events", "audit_chains"];
    for table in TABLES {
        fixture
            .sql(&format!(
                "CREATE TABLE kept_{table} AS SELECT * FROM {table}; DELETE FROM {table}"
            ))
            .await;
    }
    let refused = Store::open(&fixture.settings, Arc::clone(&fixture.roots), fixture.clock())
        .await
        .expect_err("the log is missing");
    assert!(
        matches!(
            refused,
            OpenError::Store(StoreError::Tampered {
                table: "audit_chains",
                ..
            })
        ),
        "{refused:?}"
    );
    for table in TABLES {
        fixture
            .sql(&format!(
                "INSERT INTO {table} SELECT * FROM kept_{table}; DROP TABLE kept_{table}"
            ))
            .await;
    }

    // The tables as the migration that introduced the log leaves them.
    fixture.forget_seal().await;
    for table in TABLES {
        fixture.sql(&format!("DELETE FROM {table}")).await;
    }

    for _ in 0..2 {
        let store = fixture.open().await;
        assert_eq!(
            (kinds(&store, &Chain::Installation).await, chains(&store).await),
            (vec!["log.begun".to_owned()], 1)
        );
        store.close().await;
    }
}

async fn a_failed_change_leaves_no_record(fixture: Fixture) {
    let store = fixture.initialized().await;
    let failed = store
        .write::<(), StoreError, _>(async move |tx: &WriteTx| {
            tx.append_event(event(acme(), EventType::WorkspaceCreated));
            Err(StoreError::Overloaded)
        })
        .await;
    assert!(failed.is_err());
    assert_eq!((kinds(&store, &acme()).await.len(), chains(&store).await), (0, 1));
}

async fn a_tampered_head_rejects_new_records(fixture: Fixture) {
    let store = fixture.initialized().await;
    audit(&store, event(acme(), EventType::WorkspaceCreated))
        .await
        .expect("the event is appended");
    for edit in [
        "sequence = 0",
        "sequence = sequence + 1",
        "base_sequence = 1",
        "chains = 7",
        "begin_time = 0",
        "kid = 'Z'",
    ] {
        fixture.sql("CREATE TABLE original AS SELECT * FROM audit_chains").await;
        assert_eq!(
            fixture
                .sql(&format!("UPDATE audit_chains SET {edit} WHERE chain = 'acme'"))
                .await,
            1
        );
        let refused = audit(&store, event(acme(), EventType::TokenCreated)).await;
        assert!(
            matches!(
                refused,
                Err(StoreError::Tampered {
                    table: "audit_chains",
                    ..
                })
            ),
            "{edit}: {refused:?}"
        );
        fixture.sql("DELETE FROM audit_chains").await;
        fixture.sql("INSERT INTO audit_chains SELECT * FROM original").await;
        fixture.sql("DROP TABLE original").await;
    }
    audit(&store, event(acme(), EventType::TokenCreated))
        .await
        .expect("the restored head is accepted");
    // Likewise if a record with the next number exists, or if the head is missing.
    fixture
        .sql("UPDATE audit_events SET sequence = 3 WHERE chain = 'acme' AND sequence = 1")
        .await;
    let refused = audit(&store, event(acme(), EventType::TokenCreated)).await;
    assert!(
        matches!(
            refused,
            Err(StoreError::Tampered {
                table: "audit_events",
                ..
            })
        ),
        "{refused:?}"
    );
    fixture.sql("DELETE FROM audit_chains WHERE chain = '-'").await;
    let refused = audit(&store, event(Chain::Installation, EventType::CallRefused)).await;
    assert!(
        matches!(
            refused,
            Err(StoreError::Tampered {
                table: "audit_chains",
                ..
            })
        ),
        "{refused:?}"
    );
}

async fn concurrent_writers_leave_no_gaps(fixture: Fixture) {
    const WRITERS: usize = 6;
    const WRITES: usize = 10;
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    // The workspace is older than the log: the first writer starts its chain.
    for table in ["audit_events", "audit_chains"] {
        fixture.sql(&format!("DELETE FROM {table} WHERE chain = 'acme'")).await;
    }
    let tasks: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (store, tokens) = (
                store.clone(),
                Vec::from_iter((0..WRITES).map(|_| fixture.token(&workspace_id("acme"), now))),
            );
            tokio::spawn(async move {
                for token in tokens {
                    assert_eq!(insert_token(&store, &token).await, Insert::Done);
                    audit(&store, event(Chain::Installation, EventType::CallRefused))
                        .await
                        .expect("the event is appended");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("the writer finishes");
    }
    for (chain, before) in [(acme(), 1), (Chain::Installation, 5)] {
        let records = store
            .audit_after(&chain, 0, 1_000)
            .await
            .expect("`audit_after` succeeds");
        assert_eq!(records.len(), WRITERS * WRITES + before);
        for (index, record) in records.iter().enumerate() {
            assert_eq!(record.place.sequence, index as u64 + 1);
        }
        assert!(
            records
                .windows(2)
                .all(|pair| pair[1].previous_hash == pair[0].hash && pair[1].time_micros >= pair[0].time_micros)
        );
    }
}
