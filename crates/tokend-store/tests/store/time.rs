//! The store uses the database's time. On SQLite, time never falls below the last stored time.

use std::{sync::Arc, time::Duration};

use sqlx::{Connection, SqliteConnection};
use tokend_core::time::Timestamp;
use tokend_store::{Store, StoreError, WriteTx};
use tokend_test_support::{on_both_databases, on_postgres, on_sqlite};

use crate::support::{Fixture, after};

on_both_databases!(time_is_adjusted_by_the_clock);
on_sqlite!(sqlite_alone:
    time_does_not_fall_below_a_write,
    time_does_not_fall_below_a_raised_floor,
    a_floor_is_raised_once,
);
on_postgres!(postgres_alone: postgres_keeps_no_time_floor);

const HOUR: Duration = Duration::from_secs(3_600);

async fn time_is_adjusted_by_the_clock(fixture: Fixture) {
    let store = fixture.initialized().await;
    let before = store.now().await.expect("time");
    fixture.set_clock_ahead(HOUR);
    let later = store.now().await.expect("time");
    let span = later.saturating_since(before);
    assert!(span >= HOUR && span < HOUR * 2, "{span:?}");
    let in_write = store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.now().await)
        .await
        .expect("`now` succeeds");
    assert!(in_write >= later);
}

/// Corrects the clock, opens the store again and returns its time.
async fn after_a_restart(fixture: &Fixture, store: Store) -> Timestamp {
    store.close().await;
    fixture.set_clock_ahead(Duration::ZERO);
    fixture.open().await.now().await.expect("time")
}

async fn time_does_not_fall_below_a_write(fixture: Fixture) {
    let store = fixture.initialized().await;
    fixture.set_clock_ahead(HOUR);
    let written = store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.now().await)
        .await
        .expect("`now` succeeds");
    // In the same process, in another one, and in every read that returns a time.
    fixture.set_clock_ahead(Duration::ZERO);
    assert!(store.now().await.expect("time") >= written);
    let reopened = Store::open(&fixture.settings, Arc::clone(&fixture.roots), fixture.clock())
        .await
        .expect("the database opens");
    let page = reopened
        .list_caller_keys(&"root".parse().expect("an id"), None, 1)
        .await
        .expect("`list_caller_keys` succeeds")
        .expect("the row exists");
    assert!(page.now >= written);
    assert!(after_a_restart(&fixture, store).await >= written);

    // A write that advances the revision stores the time, too.
    fixture.set_clock_ahead(HOUR * 2);
    let (written, _) = reopened
        .write_advancing::<_, StoreError, _>(async move |tx: &WriteTx| tx.now().await)
        .await
        .expect("`now` succeeds");
    assert!(after_a_restart(&fixture, reopened).await >= written);
}

async fn time_does_not_fall_below_a_raised_floor(fixture: Fixture) {
    let store = fixture.initialized().await;
    fixture.set_clock_ahead(HOUR);
    let seen = store.now().await.expect("time");
    // A time that was only read is not stored, so the store's time falls with the clock.
    fixture.set_clock_ahead(Duration::ZERO);
    assert!(store.now().await.expect("time") < seen);
    fixture.set_clock_ahead(HOUR);
    store.raise_time_floor(seen).await.expect("`raise_time_floor` succeeds");
    assert!(after_a_restart(&fixture, store).await >= seen);
}

async fn a_floor_is_raised_once(fixture: Fixture) {
    let store = fixture.initialized().await;
    let expiry = after(store.now().await.expect("time"), 60);
    store
        .raise_time_floor(expiry)
        .await
        .expect("`raise_time_floor` succeeds");
    assert!(store.now().await.expect("time") >= expiry);
    // A write would wait for this lock and finally fail.
    let mut other = SqliteConnection::connect(&fixture.settings.url)
        .await
        .expect("the database opens");
    let lock = other
        .begin_with("BEGIN IMMEDIATE")
        .await
        .expect("the database is locked");
    for floor in [expiry, Timestamp::UNIX_EPOCH] {
        store.raise_time_floor(floor).await.expect("no write is needed");
    }
    lock.rollback().await.expect("the transaction ends");
}

async fn postgres_keeps_no_time_floor(fixture: Fixture) {
    let store = fixture.initialized().await;
    let later = after(store.now().await.expect("time"), 3_600);
    store
        .raise_time_floor(later)
        .await
        .expect("`raise_time_floor` succeeds");
    assert!(store.now().await.expect("time") < later);
    assert_eq!(fixture.number("SELECT time_floor FROM feed").await, 0);
}
