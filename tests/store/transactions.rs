//! The boundaries of a transaction, and what becomes of a connection on which something failed.

use tokend_store::{Insert, Store, StoreError};
use tokend_tests::eventually;

use crate::support::{Fixture, insert_workspace, on_both, only_on, workspace, workspace_id};

on_both!(
    what_fails_leaves_nothing_and_no_connection_in_a_transaction,
    nothing_is_committed_after_a_statement_has_failed,
    a_statement_that_was_given_up_commits_nothing,
);
only_on!(sqlite_alone, Sqlite: a_transaction_that_the_database_has_ended_is_not_acknowledged);

/// More than there are connections.
const ROUNDS: usize = 20;

/// Makes statements on workspaces fail, until `mend_workspaces` is called.
async fn break_workspaces(fixture: &Fixture) {
    fixture.sql("ALTER TABLE workspaces RENAME TO workspaces_elsewhere").await;
}

async fn mend_workspaces(fixture: &Fixture) {
    fixture.sql("ALTER TABLE workspaces_elsewhere RENAME TO workspaces").await;
}

async fn failing_write(store: &Store) -> Result<(), StoreError> {
    store
        .write(|tx| {
            Box::pin(async move {
                tx.now().await?;
                tx.lock_workspace(&workspace_id("acme")).await.map(drop)
            })
        })
        .await
}

async fn what_fails_leaves_nothing_and_no_connection_in_a_transaction(fixture: Fixture) {
    let store = fixture.initialized().await;
    break_workspaces(&fixture).await;
    for _ in 0..ROUNDS {
        failing_write(&store).await.expect_err("the table is gone");
        failing_write(&store.reserved()).await.expect_err("the table is gone");
        store.workspace(&workspace_id("acme")).await.expect_err("the table is gone");
    }
    mend_workspaces(&fixture).await;
    let now = store.now().await.expect("time");
    for round in 0..ROUNDS {
        let name = format!("round-{round}");
        assert_eq!(insert_workspace(&store, &workspace(&name, now)).await, Insert::Done);
        let stored = fixture.number(&format!("SELECT count(*) FROM workspaces WHERE id = '{name}'")).await;
        assert_eq!(stored, 1, "what was acknowledged is there for everybody");
    }
}

async fn nothing_is_committed_after_a_statement_has_failed(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    break_workspaces(&fixture).await;
    let write = store.write::<_, StoreError, _>(move |tx| {
        Box::pin(async move {
            let organization = crate::support::organization("initech", now);
            assert_eq!(tx.insert_organization(&organization).await?, Insert::Done);
            // Not passed on.
            let _ = tx.lock_workspace(&workspace_id("acme")).await;
            Ok(())
        })
    });
    let refused = write.await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    mend_workspaces(&fixture).await;
    assert_eq!(fixture.number("SELECT count(*) FROM organizations").await, 0);
}

async fn a_statement_that_was_given_up_commits_nothing(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let write = store.write::<_, StoreError, _>(move |tx| {
        Box::pin(async move {
            let organization = crate::support::organization("initech", now);
            assert_eq!(tx.insert_organization(&organization).await?, Insert::Done);
            // Polled once, so that it is under way; again, should it have been answered at once.
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
        })
    });
    let refused = write.await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    assert_eq!(fixture.number("SELECT count(*) FROM organizations").await, 0);
    eventually("it writes", async || empty_write(&store).await.ok()).await;
}

async fn empty_write(store: &Store) -> Result<(), StoreError> {
    store.write::<(), StoreError, _>(|_| Box::pin(async { Ok(()) })).await
}

/// As a full disk does, a trigger ends the whole transaction in the middle of a statement.
async fn a_transaction_that_the_database_has_ended_is_not_acknowledged(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let trigger = "CREATE TRIGGER ended BEFORE INSERT ON workspaces BEGIN SELECT RAISE(ROLLBACK, 'ended'); END";
    fixture.sql(trigger).await;
    for _ in 0..ROUNDS {
        let acme = workspace("acme", now);
        let write = store.write::<_, StoreError, _>(move |tx| {
            Box::pin(async move {
                let organization = crate::support::organization("initech", now);
                assert_eq!(tx.insert_organization(&organization).await?, Insert::Done);
                let _ = tx.insert_workspace(&acme).await;
                // Outside of a transaction this would be stored at once.
                let _ = tx.insert_organization(&crate::support::organization("globex", now)).await;
                Ok(())
            })
        });
        write.await.expect_err("it is not committed");
        assert_eq!(fixture.number("SELECT count(*) FROM organizations").await, 0);
    }
    fixture.sql("DROP TRIGGER ended").await;
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    assert_eq!(fixture.number("SELECT count(*) FROM workspaces").await, 1);
}
