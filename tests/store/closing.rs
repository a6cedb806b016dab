//! Whatever its caller does, a write that began ends; whatever ends, nothing hangs or panics.

use std::time::Duration;

use tokend_core::workspace::Workspace;
use tokend_store::{Insert, Store, StoreError};
use tokend_tests::eventually;
use tokio::{sync::oneshot, time::timeout};

use crate::support::{Fixture, insert_workspace, on_both, only_on, workspace, workspace_id};

on_both!(
    a_dropped_caller_cancels_no_write,
    a_dropped_store_ends_its_writes,
    closing_waits_for_writes,
    a_closed_store_is_unavailable,
    a_panic_reaches_the_caller_and_leaves_nothing,
);
only_on!(postgres_alone, Postgres: a_cut_connection_is_replaced, a_stuck_write_does_not_stop_the_others);

/// A write that inserts `acme`, tells when it has, and goes on when told to.
async fn start_write(store: Store) -> (tokio::task::JoinHandle<Result<(), StoreError>>, oneshot::Sender<()>) {
    let now = store.now().await.expect("time");
    let acme = Workspace { organization: None, ..workspace("acme", now) };
    let (has_begun, begun) = oneshot::channel();
    let (go_on, mut told) = oneshot::channel::<()>();
    let caller = tokio::spawn(async move {
        store
            .write(move |tx| {
                Box::pin(async move {
                    assert_eq!(tx.insert_workspace(&acme).await?, Insert::Done);
                    has_begun.send(()).expect("the test waits");
                    // PostgreSQL would end a transaction in which nothing happens.
                    while timeout(Duration::from_millis(100), &mut told).await.is_err() {
                        tx.now().await?;
                    }
                    Ok(())
                })
            })
            .await
    });
    begun.await.expect("it begins");
    (caller, go_on)
}

async fn written(fixture: &Fixture) -> Option<()> {
    (fixture.number("SELECT count(*) FROM workspaces").await == 1).then_some(())
}

async fn a_dropped_caller_cancels_no_write(fixture: Fixture) {
    let store = fixture.initialized().await;
    let (caller, go_on) = start_write(store.clone()).await;
    caller.abort();
    assert!(caller.await.expect_err("it was aborted").is_cancelled());
    assert_eq!(written(&fixture).await, None);
    go_on.send(()).expect("the write goes on without its caller");
    eventually("the write is committed", async || written(&fixture).await).await;
    assert!(store.workspace(&workspace_id("acme")).await.expect("it works").is_some());
}

async fn a_dropped_store_ends_its_writes(fixture: Fixture) {
    let store = fixture.initialized().await;
    let (caller, go_on) = start_write(store.clone()).await;
    // The last clone goes with the caller, within a runtime.
    drop(store);
    caller.abort();
    assert!(caller.await.is_err());
    go_on.send(()).expect("the write goes on");
    eventually("the write is committed", async || written(&fixture).await).await;
}

async fn closing_waits_for_writes(fixture: Fixture) {
    let store = fixture.initialized().await;
    let (caller, go_on) = start_write(store.clone()).await;
    let closing = tokio::spawn(store.close());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!closing.is_finished());
    go_on.send(()).expect("the write goes on");
    closing.await.expect("it closes");
    assert_eq!(written(&fixture).await, Some(()));
    caller.await.expect("it ends").expect("its answer arrives");
}

async fn a_closed_store_is_unavailable(fixture: Fixture) {
    let store = fixture.initialized().await;
    let clone = store.clone();
    store.close().await;
    assert!(matches!(clone.now().await, Err(StoreError::Unavailable { .. })));
    let write = clone.write::<(), StoreError, _>(|_| Box::pin(async { Ok(()) })).await;
    assert!(matches!(write, Err(StoreError::Unavailable { .. })));
    clone.close().await;
    // And the database can be opened again.
    fixture.open().await.close().await;
}

async fn a_panic_reaches_the_caller_and_leaves_nothing(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let acme = workspace("acme", now);
    let clone = store.clone();
    let caller = tokio::spawn(async move {
        clone
            .write::<(), StoreError, _>(move |tx| {
                Box::pin(async move {
                    assert_eq!(tx.insert_workspace(&acme).await?, Insert::Done);
                    panic!("as tests do");
                })
            })
            .await
    });
    assert!(caller.await.expect_err("it panics").is_panic());
    assert!(store.workspace(&workspace_id("acme")).await.expect("it works").is_none());
    let again = workspace("acme", now);
    let inserted = store.write::<_, StoreError, _>(move |tx| Box::pin(async move { tx.insert_workspace(&again).await })).await;
    assert_eq!(inserted.expect("nothing is locked"), Insert::Done);
}

async fn a_cut_connection_is_replaced(fixture: Fixture) {
    let store = fixture.initialized().await;
    store.now().await.expect("time");
    let cut =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    fixture.sql(cut).await;
    // Once for each connection at most, it is told as what it is.
    eventually("it works again", async || match store.now().await {
        Ok(_) => Some(()),
        Err(StoreError::Unavailable { .. }) => None,
        Err(other) => panic!("{other:?}"),
    })
    .await;
}

async fn a_stuck_write_does_not_stop_the_others(mut fixture: Fixture) {
    // However late a busy PostgreSQL ends the stuck one.
    fixture.settings.lock_timeout = Duration::from_secs(30);
    fixture.settings.statement_timeout = Duration::from_secs(30);
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    let ((has_begun, begun), (go_on, told)) = (oneshot::channel(), oneshot::channel::<()>());
    let stuck = store.clone();
    let stuck = tokio::spawn(async move {
        stuck
            .write_advancing::<(), StoreError, _>(move |tx| {
                Box::pin(async move {
                    tx.lock_workspace(&workspace_id("acme")).await?.expect("it is there");
                    has_begun.send(()).expect("the test waits");
                    // As a paused process would.
                    told.await.expect("the test tells");
                    Ok(())
                })
            })
            .await
    });
    begun.await.expect("it begins");
    let other =
        store.write_advancing::<_, StoreError, _>(|tx| Box::pin(async move { tx.lock_workspace(&workspace_id("acme")).await }));
    let (found, revision) = other.await.expect("the lock is taken from the stuck one");
    assert!(found.is_some() && !stuck.is_finished());
    assert_eq!(revision.number, 1);
    go_on.send(()).expect("it waits");
    let lost = stuck.await.expect("it ends");
    assert!(matches!(lost, Err(StoreError::Unavailable { .. })), "{lost:?}");
}
