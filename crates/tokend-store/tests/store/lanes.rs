//! Writes through the reserved lane succeed even if many writes wait in the ordinary one.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokend_store::{Insert, Store, StoreError, WriteTx};
use tokend_test_support::{eventually, on_both_databases};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use crate::support::{Fixture, insert_workspace, workspace, workspace_id};

on_both_databases!(
    a_reserved_write_overtakes_waiting_writes,
    the_number_of_waiting_writes_is_limited,
    both_lanes_have_the_same_time,
);

/// The time limit of a reserved write.
const SOON: Duration = Duration::from_secs(5);

/// Starts a write that commits when it gets the signal.
async fn stuck_write(store: &Store) -> (JoinHandle<Result<(), StoreError>>, oneshot::Sender<()>) {
    let ((has_begun, begun), (commit, mut signal)) = (oneshot::channel(), oneshot::channel::<()>());
    let store = store.clone();
    let write = tokio::spawn(async move {
        store
            .write(async move |tx: &WriteTx| {
                tx.now().await?;
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
    (write, commit)
}

async fn a_reserved_write_overtakes_waiting_writes(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    // All writes lock the same row. The first holds it for a while, so that the others wait.
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut writes = Vec::new();
    for number in 0..40 {
        let (store, order) = (store.clone(), Arc::clone(&order));
        writes.push(tokio::spawn(async move {
            let write = store.write::<_, StoreError, _>(async move |tx: &WriteTx| {
                tx.lock_workspace(&workspace_id("acme"))
                    .await?
                    .expect("the workspace exists");
                order.lock().expect("no writer panics").push(number);
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok(())
            });
            write.await
        }));
    }
    eventually("the first write holds the lock", async || {
        (!order.lock().expect("no writer panics").is_empty()).then_some(())
    })
    .await;
    let reserved = store.reserved();
    let revoked = reserved
        .write_advancing::<_, StoreError, _>(async move |tx: &WriteTx| tx.lock_workspace(&workspace_id("acme")).await);
    timeout(SOON, revoked)
        .await
        .expect("the reserved write does not wait")
        .expect("the reserved write is committed");
    let overtaken = 40 - order.lock().expect("no writer panics").len();
    assert!(overtaken > 20, "only {overtaken} were overtaken");
    for write in writes {
        write
            .await
            .expect("the write finishes")
            .expect("the overtaken write is committed");
    }
}

async fn the_number_of_waiting_writes_is_limited(mut fixture: Fixture) {
    fixture.settings.max_waiting = 4;
    let store = fixture.initialized().await;
    let turns = if fixture.is_sqlite() { 1 } else { 4 };
    let mut stuck = Vec::new();
    for _ in 0..turns {
        stuck.push(stuck_write(&store).await);
    }
    // A write counts even if its caller gave up.
    for _ in turns..4 {
        let waiting = store.write::<(), StoreError, _>(async move |_: &WriteTx| Ok(()));
        assert!(timeout(Duration::from_millis(50), waiting).await.is_err());
    }
    let refused = store.write::<(), StoreError, _>(async move |_: &WriteTx| Ok(())).await;
    assert!(matches!(refused, Err(StoreError::Overloaded)), "{refused:?}");
    assert!(matches!(store.now().await, Err(StoreError::Overloaded)));
    store.reserved().now().await.expect("the reserved lane accepts reads");
    for (write, commit) in stuck {
        commit.send(()).expect("the write waits");
        write
            .await
            .expect("the write finishes")
            .expect("the write is committed");
    }
    eventually("there is room again", async || store.now().await.ok()).await;
}

/// Both lanes share SQLite's time floor.
async fn both_lanes_have_the_same_time(fixture: Fixture) {
    let store = fixture.initialized().await;
    fixture.set_clock_ahead(Duration::from_secs(3_600));
    let later = store.now().await.expect("time");
    store.raise_time_floor(later).await.expect("the floor is stored");
    fixture.set_clock_ahead(Duration::ZERO);
    let (ordinary, reserved) = (
        store.now().await.expect("time"),
        store.reserved().now().await.expect("time"),
    );
    if fixture.is_sqlite() {
        assert!(ordinary >= later && reserved >= later);
    } else {
        assert!(ordinary < later && reserved < later);
    }
}
