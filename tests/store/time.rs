//! Time is the database's, and on SQLite it never falls below the last one stored.

use std::{sync::Arc, time::Duration};

use sqlx::{Connection, SqliteConnection};
use tokend_core::time::Timestamp;
use tokend_store::{Store, StoreError};

use crate::support::{Fixture, after, on_both, only_on};

on_both!(time_passes_through_the_clock);
only_on!(sqlite_alone, Sqlite: time_does_not_fall_below_a_write, time_does_not_fall_below_a_raised_floor, a_floor_is_raised_once);
only_on!(postgres_alone, Postgres: a_floor_is_not_kept);

const HOUR: Duration = Duration::from_secs(3_600);

async fn time_passes_through_the_clock(fixture: Fixture) {
    let store = fixture.initialized().await;
    let before = store.now().await.expect("time");
    fixture.set_clock_ahead(HOUR);
    let later = store.now().await.expect("time");
    let span = later.saturating_since(before);
    assert!(span >= HOUR && span < HOUR * 2, "{span:?}");
    let in_write = store.write::<_, StoreError, _>(|tx| Box::pin(async move { tx.now().await })).await.expect("it works");
    assert!(in_write >= later);
}

/// The time that a store opened anew tells when the clock is right again.
async fn after_a_restart(fixture: &Fixture, store: Store) -> Timestamp {
    store.close().await;
    fixture.set_clock_ahead(Duration::ZERO);
    fixture.open().await.now().await.expect("time")
}

async fn time_does_not_fall_below_a_write(fixture: Fixture) {
    let store = fixture.initialized().await;
    fixture.set_clock_ahead(HOUR);
    let written = store.write::<_, StoreError, _>(|tx| Box::pin(async move { tx.now().await })).await.expect("it works");
    // In the same process, in another one, and in every read that tells time.
    fixture.set_clock_ahead(Duration::ZERO);
    assert!(store.now().await.expect("time") >= written);
    let reopened = Store::open(&fixture.settings, Arc::clone(&fixture.roots), fixture.clock()).await.expect("it opens");
    let page = reopened.list_caller_keys(&"root".parse().expect("an id"), None, 1).await.expect("it works").expect("it is there");
    assert!(page.now >= written);
    assert!(after_a_restart(&fixture, store).await >= written);

    // A write that advances stores time, too.
    fixture.set_clock_ahead(HOUR * 2);
    let (written, _) =
        reopened.write_advancing::<_, StoreError, _>(|tx| Box::pin(async move { tx.now().await })).await.expect("it works");
    assert!(after_a_restart(&fixture, reopened).await >= written);
}

async fn time_does_not_fall_below_a_raised_floor(fixture: Fixture) {
    let store = fixture.initialized().await;
    fixture.set_clock_ahead(HOUR);
    let seen = store.now().await.expect("time");
    // Having been told is not enough: nothing was stored, so that the time told falls with the clock.
    fixture.set_clock_ahead(Duration::ZERO);
    assert!(store.now().await.expect("time") < seen);
    fixture.set_clock_ahead(HOUR);
    store.raise_time_floor(seen).await.expect("it works");
    assert!(after_a_restart(&fixture, store).await >= seen);
}

async fn a_floor_is_raised_once(fixture: Fixture) {
    let store = fixture.initialized().await;
    let expiry = after(store.now().await.expect("time"), 60);
    store.raise_time_floor(expiry).await.expect("it works");
    assert!(store.now().await.expect("time") >= expiry);
    // A write would have to wait for this one, and fail in the end.
    let mut other = SqliteConnection::connect(&fixture.settings.url).await.expect("it opens");
    let lock = other.begin_with("BEGIN IMMEDIATE").await.expect("nobody writes");
    for floor in [expiry, Timestamp::UNIX_EPOCH] {
        store.raise_time_floor(floor).await.expect("nothing is to be written");
    }
    lock.rollback().await.expect("it ends");
}

async fn a_floor_is_not_kept(fixture: Fixture) {
    let store = fixture.initialized().await;
    let later = after(store.now().await.expect("time"), 3_600);
    store.raise_time_floor(later).await.expect("it works");
    assert!(store.now().await.expect("time") < later);
    assert_eq!(fixture.number("SELECT time_floor FROM feed").await, 0);
}
