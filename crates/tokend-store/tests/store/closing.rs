//! A write that has begun completes, even if its caller is dropped. Closing, panics and lost connections neither hang
//! nor panic the store.

use std::time::Duration;

use tokend_core::workspace::Workspace;
use tokend_store::{Insert, Store, StoreError, WriteTx};
use tokend_test_support::{eventually, on_both_databases, on_postgres};
use tokio::{sync::oneshot, time::timeout};

use crate::support::{Fixture, insert_workspace, workspace, workspace_id};

on_both_databases!(
    a_dropped_caller_does_not_cancel_its_write,
    a_dropped_store_completes_its_writes,
    closing_waits_for_writes,
    a_closed_store_is_unavailable,
    a_panic_reaches_the_caller_and_stores_nothing,
);
on_postgres!(postgres_alone: a_cut_connection_is_replaced, a_stuck_write_does_not_stop_the_others);

/// Starts a write that inserts `acme`, and returns after the insert. The write commits when it gets the signal.
async fn start_write(store: Store) -> (tokio::task::JoinHandle<Result<(), StoreError>>, oneshot::Sender<()>) {
    let now = store.now().await.expect("time");
    let acme = Workspace {
        organization: None,
        ..workspace("acme", now)
    };
    let (has_begun, begun) = oneshot::channel();
    let (commit, mut signal) = oneshot::channel::<()>();
    let caller = tokio::spawn(async move {
        store
            .write(async move |tx: &WriteTx| {
                assert_eq!(tx.insert_workspace(&acme).await?, Insert::Done);
                has_begun.send(()).expect("the test waits");
                // PostgreSQL would abort an idle transaction.
                while timeout(Duration::from_millis(100), &mut signal).await.is_err() {
                    tx.now().await?;
                }
                Ok(())
            })
            .await
    });
    begun.await.expect("the write begins");
    (caller, commit)
}

async fn written(fixture: &Fixture) -> Option<()> {
    (fixture.number("SELECT count(*) FROM workspaces").await == 1).then_some(())
}

async fn a_dropped_caller_does_not_cancel_its_write(fixture: Fixture) {
    let store = fixture.initialized().await;
    let (caller, commit) = start_write(store.clone()).await;
    caller.abort();
    assert!(caller.await.expect_err("the caller was aborted").is_cancelled());
    assert_eq!(written(&fixture).await, None);
    commit.send(()).expect("the write continues without its caller");
    eventually("the write is committed", async || written(&fixture).await).await;
    assert!(
        store
            .workspace(&workspace_id("acme"))
            .await
            .expect("`workspace` succeeds")
            .is_some()
    );
}

async fn a_dropped_store_completes_its_writes(fixture: Fixture) {
    let store = fixture.initialized().await;
    let (caller, commit) = start_write(store.clone()).await;
    // The last clone is dropped with the caller, inside a runtime.
    drop(store);
    caller.abort();
    assert!(caller.await.is_err());
    commit.send(()).expect("the write continues");
    eventually("the write is committed", async || written(&fixture).await).await;
}

async fn closing_waits_for_writes(fixture: Fixture) {
    let store = fixture.initialized().await;
    let (caller, commit) = start_write(store.clone()).await;
    let closing = tokio::spawn(store.close());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!closing.is_finished());
    commit.send(()).expect("the write continues");
    closing.await.expect("the store closes");
    assert_eq!(written(&fixture).await, Some(()));
    caller
        .await
        .expect("the caller finishes")
        .expect("the write is committed");
}

async fn a_closed_store_is_unavailable(fixture: Fixture) {
    let store = fixture.initialized().await;
    let clone = store.clone();
    store.close().await;
    assert!(matches!(clone.now().await, Err(StoreError::Unavailable { .. })));
    let write = clone.write::<(), StoreError, _>(async move |_: &WriteTx| Ok(())).await;
    assert!(matches!(write, Err(StoreError::Unavailable { .. })));
    clone.close().await;
    // The database can be opened again.
    fixture.open().await.close().await;
}

async fn a_panic_reaches_the_caller_and_stores_nothing(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let acme = workspace("acme", now);
    let clone = store.clone();
    let caller = tokio::spawn(async move {
        clone
            .write::<(), StoreError, _>(async move |tx: &WriteTx| {
                assert_eq!(tx.insert_workspace(&acme).await?, Insert::Done);
                panic!("a panic in a write");
            })
            .await
    });
    assert!(caller.await.expect_err("the caller panics").is_panic());
    assert!(
        store
            .workspace(&workspace_id("acme"))
            .await
            .expect("`workspace` succeeds")
            .is_none()
    );
    let again = workspace("acme", now);
    let inserted = store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.insert_workspace(&again).await)
        .await;
    assert_eq!(inserted.expect("the panic left no lock"), Insert::Done);
}

async fn a_cut_connection_is_replaced(fixture: Fixture) {
    let store = fixture.initialized().await;
    store.now().await.expect("time");
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    fixture.sql(cut).await;
    // Each connection reports the cut at most once.
    eventually("the store works again", async || match store.now().await {
        Ok(_) => Some(()),
        Err(StoreError::Unavailable { .. }) => None,
        Err(other) => panic!("{other:?}"),
    })
    .await;
}

async fn a_stuck_write_does_not_stop_the_others(mut fixture: Fixture) {
    // A busy PostgreSQL may abort the stuck transaction late.
    fixture.settings.lock_timeout = Duration::from_secs(30);
    fixture.settings.statement_timeout = Duration::from_secs(30);
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    let ((has_begun, begun), (commit, signal)) = (oneshot::channel(), oneshot::channel::<()>());
    let stuck = store.clone();
    let stuck = tokio::spawn(async move {
        stuck
            .write_advancing::<(), StoreError, _>(async move |tx: &WriteTx| {
                tx.lock_workspace(&workspace_id("acme"))
                    .await?
                    .expect("the workspace exists");
                has_begun.send(()).expect("the test waits");
                // Like a paused process.
                signal.await.expect("the test sends the signal");
                Ok(())
            })
            .await
    });
    begun.await.expect("the write begins");
    let other = store
        .write_advancing::<_, StoreError, _>(async move |tx: &WriteTx| tx.lock_workspace(&workspace_id("acme")).await);
    let (found, revision) = other.await.expect("the stuck write loses its lock");
    assert!(found.is_some() && !stuck.is_finished());
    assert_eq!(revision.revision.number, 1);
    commit.send(()).expect("the write waits");
    let lost = stuck.await.expect("the write finishes");
    assert!(matches!(lost, Err(StoreError::Unavailable { .. })), "{lost:?}");
}
