//! What is noted of tokens' ends: found by an index, changed where it is still what was read.

use std::time::Duration;

use tokend_core::{
    credential::CredentialId,
    expiry_notice::{ExpiryNotice, Told},
    name::TokenName,
    time::Timestamp,
    token::{Expiry, Token},
};
use tokend_store::{DueTokens, Duty, Insert, Noted, Store, StoreError, WriteTx};

use crate::support::{Fixture, after, insert_token, insert_workspace, on_both, only_on, workspace, workspace_id};

on_both!(
    tokens_are_due_in_the_order_in_which_they_wait,
    a_note_is_changed_where_it_is_what_was_read,
    what_has_no_end_has_no_note,
    a_rotation_brings_the_look_forward,
    a_look_is_put_off,
);
only_on!(on_postgres, Postgres: a_duty_is_taken_by_one);

const HOUR: u64 = 3_600;

async fn noted(store: &Store, token: &Token) -> Option<Noted> {
    let id = token.name.id;
    store.write::<_, StoreError, _>(move |tx| Box::pin(async move { tx.noted(id).await })).await.expect("it works")
}

async fn note(store: &Store, id: CredentialId, read: Option<Noted>, noted: Noted) -> bool {
    store.write::<_, StoreError, _>(move |tx| Box::pin(async move { tx.note(id, read, noted).await })).await.expect("it works")
}

/// A workspace, and the time.
async fn acme(fixture: &Fixture) -> (Store, Timestamp) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    (store, now)
}

/// A token of it that was not rotated.
async fn token(fixture: &Fixture, store: &Store, now: Timestamp, expiry: Expiry) -> Token {
    let token = fixture.token(&workspace_id("acme"), now);
    let token = Token { own_expiry: expiry, requested_expiry: expiry, rotated_from: None, rotated_to: None, ..token };
    assert_eq!(insert_token(store, &token).await, Insert::Done);
    token
}

async fn tokens_are_due_in_the_order_in_which_they_wait(fixture: Fixture) {
    let (store, now) = acme(&fixture).await;
    let mut waiting = Vec::new();
    // Some end in the same moment.
    for hours in [3, 1, 2, 2, 2, 1, 3, 9] {
        waiting.push((hours, token(&fixture, &store, now, Expiry::At(after(now, hours * HOUR))).await.name));
    }
    assert!(store.due_notices(None, 10).await.expect("it works").tokens.is_empty(), "none has ended");
    assert_eq!(store.oldest_due_notice().await.expect("it works"), None);

    fixture.set_clock_ahead(Duration::from_secs(3 * HOUR));
    waiting.retain(|(hours, _)| *hours <= 3);
    waiting.sort_by_key(|(hours, name)| (*hours, *name.id.as_bytes()));
    let expected: Vec<_> = waiting.into_iter().map(|(_, name)| name).collect();
    for limit in [1, 2, 3, 7, 8] {
        let (mut found, mut after) = (Vec::<TokenName>::new(), None);
        loop {
            let DueTokens { tokens, next } = store.due_notices(after, limit).await.expect("it works");
            assert!(tokens.len() as u64 <= limit);
            found.extend(tokens.into_iter().map(|token| token.expect("a name")));
            match next {
                None => break,
                next => after = next,
            }
        }
        assert_eq!(found, expected, "{limit}");
    }
    assert_eq!(store.oldest_due_notice().await.expect("it works"), Some(after(now, HOUR)));
}

async fn a_note_is_changed_where_it_is_what_was_read(fixture: Fixture) {
    let (store, now) = acme(&fixture).await;
    let end = after(now, 40 * 24 * HOUR);
    let token = token(&fixture, &store, now, Expiry::At(end)).await;
    let id = token.name.id;
    let first = noted(&store, &token).await.expect("it has an end");
    assert_eq!(first, Noted { told: Told::NOTHING, look_time: Some(after(now, 10 * 24 * HOUR)), end_time: None });

    let second = Noted { told: Told::NOTHING.with(ExpiryNotice::ThirtyDays), look_time: Some(end), end_time: None };
    let third = Noted { told: second.told.with(ExpiryNotice::End), look_time: None, end_time: Some(end) };
    assert!(note(&store, id, Some(first), second).await);
    assert!(!note(&store, id, Some(first), third).await, "somebody else was faster");
    assert!(!note(&store, id, None, third).await);
    assert_eq!(noted(&store, &token).await, Some(second));
    assert!(note(&store, id, Some(second), third).await);
    assert!(!note(&store, id, Some(Noted { end_time: Some(now), ..third }), second).await);
    assert_eq!(noted(&store, &token).await, Some(third));
}

async fn what_has_no_end_has_no_note(fixture: Fixture) {
    let (store, now) = acme(&fixture).await;
    let token = token(&fixture, &store, now, Expiry::Never).await;
    assert_eq!(noted(&store, &token).await, None);
}

async fn rotate(store: &Store, name: TokenName, end: Timestamp) -> Token {
    let rotate = async move |tx: &WriteTx| {
        let read = tx.token(&name).await?.expect("it is there");
        let rotated_to = Some(CredentialId::from_bytes([9; CredentialId::BYTES]));
        let rotated = Token { own_expiry: read.own_expiry.earlier(Expiry::At(end)), rotated_to, ..(*read).clone() };
        Ok(tx.rotate_token(&read, rotated).await?.expect("it is as it was read").into_inner())
    };
    let rotated = store.write_advancing::<_, StoreError, _>(move |tx| Box::pin(async move { rotate(tx).await }));
    rotated.await.expect("it works").0
}

async fn a_rotation_brings_the_look_forward(fixture: Fixture) {
    let (store, now) = acme(&fixture).await;
    let overlap_end = after(now, HOUR);
    for expiry in [Expiry::Never, Expiry::At(after(now, 100 * 24 * HOUR)), Expiry::At(after(now, HOUR / 2))] {
        let token = token(&fixture, &store, now, expiry).await;
        let rotated = rotate(&store, token.name.clone(), overlap_end).await;
        let wanted = Noted { look_time: rotated.own_expiry.time(), ..Noted::default() };
        assert_eq!(noted(&store, &token).await, Some(wanted), "{expiry:?}");
    }
    // One that has ended, and is replaced nevertheless: it is kept for as long as if it had ended now.
    let ended = token(&fixture, &store, now, Expiry::At(after(now, 1))).await;
    let read = noted(&store, &ended).await;
    let over = Noted { told: Told::NOTHING.with(ExpiryNotice::End), look_time: None, end_time: Some(after(now, 1)) };
    assert!(note(&store, ended.name.id, read, over).await);
    fixture.set_clock_ahead(Duration::from_secs(HOUR));
    rotate(&store, ended.name.clone(), after(now, 2 * HOUR)).await;
    let left = noted(&store, &ended).await.expect("it is there");
    assert_eq!((left.told, left.look_time), (over.told, None), "it is not told again");
    assert!(left.end_time.expect("it is on record") >= after(now, HOUR));
}

async fn a_look_is_put_off(fixture: Fixture) {
    let (store, now) = acme(&fixture).await;
    let token = token(&fixture, &store, now, Expiry::At(after(now, HOUR))).await;
    let id = token.name.id;
    fixture.set_clock_ahead(Duration::from_secs(HOUR));
    let later = Duration::from_secs(HOUR);
    store.write::<_, StoreError, _>(move |tx| Box::pin(async move { tx.look_later(id, later).await })).await.expect("it works");
    assert!(store.due_notices(None, 10).await.expect("it works").tokens.is_empty());
    fixture.set_clock_ahead(3 * later);
    assert_eq!(store.due_notices(None, 10).await.expect("it works").tokens.len(), 1);
}

async fn taken(store: &Store, duty: Duty) -> bool {
    store.write::<_, StoreError, _>(move |tx| Box::pin(async move { tx.takes(duty).await })).await.expect("it works")
}

async fn a_duty_is_taken_by_one(fixture: Fixture) {
    let store = fixture.initialized().await;
    let other = store.clone();
    let meanwhile = store.write::<_, StoreError, _>(move |tx: &WriteTx| {
        Box::pin(async move {
            assert!(tx.takes(Duty::Notices).await?);
            assert!(tx.takes(Duty::Notices).await?, "it has it");
            Ok(taken(&other, Duty::Notices).await)
        })
    });
    assert!(!meanwhile.await.expect("it works"), "without waiting");
    assert!(taken(&store, Duty::Notices).await, "given back");
}
