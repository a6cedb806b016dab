//! The reserved lane: whatever waits in the ordinary one, what comes by it is done.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokend_store::{Insert, Store, StoreError};
use tokend_tests::eventually;
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use crate::support::{Fixture, insert_workspace, on_both, workspace, workspace_id};

on_both!(a_reserved_write_overtakes_those_that_wait, what_waits_is_bounded, time_is_the_same_by_either_lane,);

/// Most time for what must not wait.
const SOON: Duration = Duration::from_secs(5);

/// A write that begins, and ends when told to.
async fn stuck_write(store: &Store) -> (JoinHandle<Result<(), StoreError>>, oneshot::Sender<()>) {
    let ((has_begun, begun), (go_on, mut told)) = (oneshot::channel(), oneshot::channel::<()>());
    let store = store.clone();
    let write = tokio::spawn(async move {
        store
            .write(move |tx| {
                Box::pin(async move {
                    tx.now().await?;
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
    (write, go_on)
}

async fn a_reserved_write_overtakes_those_that_wait(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    // All want the same row. The first holds it for a while, so that the others wait behind it.
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut writes = Vec::new();
    for number in 0..40 {
        let (store, order) = (store.clone(), Arc::clone(&order));
        writes.push(tokio::spawn(async move {
            let write = store.write::<_, StoreError, _>(move |tx| {
                Box::pin(async move {
                    tx.lock_workspace(&workspace_id("acme")).await?.expect("it is there");
                    order.lock().expect("no writer panics").push(number);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    Ok(())
                })
            });
            write.await
        }));
    }
    eventually("they stand in line", async || (!order.lock().expect("no writer panics").is_empty()).then_some(())).await;
    let reserved = store.reserved();
    let revoked =
        reserved.write_advancing::<_, StoreError, _>(|tx| Box::pin(async { tx.lock_workspace(&workspace_id("acme")).await }));
    timeout(SOON, revoked).await.expect("it is done soon").expect("it is done");
    let overtaken = 40 - order.lock().expect("no writer panics").len();
    assert!(overtaken > 20, "only {overtaken} were overtaken");
    for write in writes {
        write.await.expect("it ends").expect("nobody is turned away for that");
    }
}

async fn what_waits_is_bounded(mut fixture: Fixture) {
    fixture.settings.max_waiting = 4;
    let store = fixture.initialized().await;
    let turns = if fixture.is_sqlite() { 1 } else { 4 };
    let mut stuck = Vec::new();
    for _ in 0..turns {
        stuck.push(stuck_write(&store).await);
    }
    // Callers who gave up leave their work behind: it counts.
    for _ in turns..4 {
        let waiting = store.write::<(), StoreError, _>(|_| Box::pin(async { Ok(()) }));
        assert!(timeout(Duration::from_millis(50), waiting).await.is_err());
    }
    let refused = store.write::<(), StoreError, _>(|_| Box::pin(async { Ok(()) })).await;
    assert!(matches!(refused, Err(StoreError::Overloaded)), "{refused:?}");
    assert!(matches!(store.now().await, Err(StoreError::Overloaded)));
    store.reserved().now().await.expect("the other lane has room");
    for (write, go_on) in stuck {
        go_on.send(()).expect("it waits");
        write.await.expect("it ends").expect("it is done");
    }
    eventually("there is room again", async || store.now().await.ok()).await;
}

/// SQLite's floor under time is one for both.
async fn time_is_the_same_by_either_lane(fixture: Fixture) {
    let store = fixture.initialized().await;
    fixture.set_clock_ahead(Duration::from_secs(3_600));
    let later = store.now().await.expect("time");
    store.raise_time_floor(later).await.expect("it is stored");
    fixture.set_clock_ahead(Duration::ZERO);
    let (ordinary, reserved) = (store.now().await.expect("time"), store.reserved().now().await.expect("time"));
    if fixture.is_sqlite() {
        assert!(ordinary >= later && reserved >= later);
    } else {
        assert!(ordinary < later && reserved < later);
    }
}
