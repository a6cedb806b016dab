//! A transaction in which something failed commits nothing, and leaves a usable connection.

use tokend_store::{Insert, Store, StoreError, WriteTx};
use tokend_test_support::{eventually, on_both_databases, on_sqlite};

use crate::support::{Fixture, insert_workspace, workspace, workspace_id};

on_both_databases!(
    a_failed_write_leaves_a_usable_connection,
    a_failed_statement_prevents_the_commit,
    an_abandoned_statement_prevents_the_commit,
);
on_sqlite!(sqlite_alone: a_transaction_that_the_database_rolled_back_is_an_error);

/// More than the number of connections.
const ROUNDS: usize = 20;

/// Makes statements on workspaces fail, until `mend_workspaces` is called.
async fn break_workspaces(fixture: &Fixture) {
    fixture
        .sql("ALTER TABLE workspaces RENAME TO workspaces_elsewhere")
        .await;
}

async fn mend_workspaces(fixture: &Fixture) {
    fixture
        .sql("ALTER TABLE workspaces_elsewhere RENAME TO workspaces")
        .await;
}

async fn failing_write(store: &Store) -> Result<(), StoreError> {
    store
        .write(async move |tx: &WriteTx| {
            tx.now().await?;
            tx.lock_workspace(&workspace_id("acme")).await.map(drop)
        })
        .await
}

async fn a_failed_write_leaves_a_usable_connection(fixture: Fixture) {
    let store = fixture.initialized().await;
    break_workspaces(&fixture).await;
    for _ in 0..ROUNDS {
        failing_write(&store).await.expect_err("the table is missing");
        failing_write(&store.reserved())
            .await
            .expect_err("the table is missing");
        store
            .workspace(&workspace_id("acme"))
            .await
            .expect_err("the table is missing");
    }
    mend_workspaces(&fixture).await;
    let now = store.now().await.expect("time");
    for round in 0..ROUNDS {
        let name = format!("round-{round}");
        assert_eq!(insert_workspace(&store, &workspace(&name, now)).await, Insert::Done);
        let stored = fixture
            .number(&format!("SELECT count(*) FROM workspaces WHERE id = '{name}'"))
            .await;
        assert_eq!(stored, 1, "another connection reads the acknowledged write");
    }
}

async fn a_failed_statement_prevents_the_commit(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    break_workspaces(&fixture).await;
    let write = store.write::<_, StoreError, _>(async move |tx: &WriteTx| {
        let organization = crate::support::organization("initech", now);
        assert_eq!(tx.insert_organization(&organization).await?, Insert::Done);
        // The error is ignored.
        let _ = tx.lock_workspace(&workspace_id("acme")).await;
        Ok(())
    });
    let refused = write.await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    mend_workspaces(&fixture).await;
    assert_eq!(fixture.number("SELECT count(*) FROM organizations").await, 0);
}

async fn an_abandoned_statement_prevents_the_commit(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let write = store.write::<_, StoreError, _>(async move |tx: &WriteTx| {
        let organization = crate::support::organization("initech", now);
        assert_eq!(tx.insert_organization(&organization).await?, Insert::Done);
        // Poll once to start the statement; start another if it completes immediately.
        let mut waits = false;
        while !waits {
            let statement = std::pin::pin!(tx.now());
            waits = tokio::select! {
                biased;
                _ = statement => false,
                () = std::future::ready(()) => true,
            };
        }
        Ok(())
    });
    let refused = write.await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    assert_eq!(fixture.number("SELECT count(*) FROM organizations").await, 0);
    eventually("a write succeeds", async || empty_write(&store).await.ok()).await;
}

async fn empty_write(store: &Store) -> Result<(), StoreError> {
    store.write::<(), StoreError, _>(async move |_: &WriteTx| Ok(())).await
}

/// A trigger rolls back the whole transaction in the middle of a statement, as a full disk does.
async fn a_transaction_that_the_database_rolled_back_is_an_error(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let trigger = "CREATE TRIGGER ended BEFORE INSERT ON workspaces BEGIN SELECT RAISE(ROLLBACK, 'ended'); END";
    fixture.sql(trigger).await;
    for _ in 0..ROUNDS {
        let acme = workspace("acme", now);
        let write = store.write::<_, StoreError, _>(async move |tx: &WriteTx| {
            let organization = crate::support::organization("initech", now);
            assert_eq!(tx.insert_organization(&organization).await?, Insert::Done);
            let _ = tx.insert_workspace(&acme).await;
            // Outside a transaction, this statement would be stored immediately.
            let _ = tx
                .insert_organization(&crate::support::organization("globex", now))
                .await;
            Ok(())
        });
        write.await.expect_err("the write is not committed");
        assert_eq!(fixture.number("SELECT count(*) FROM organizations").await, 0);
    }
    fixture.sql("DROP TRIGGER ended").await;
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    assert_eq!(fixture.number("SELECT count(*) FROM workspaces").await, 1);
}
