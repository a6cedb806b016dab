//! Tokens with due expiry notices are found through an index. A notice state is replaced only if it is unchanged since
//! it was read.

use std::time::Duration;

use tokend_core::{
    credential::CredentialId,
    name::TokenName,
    time::Timestamp,
    token::expiry_notice::{ExpiryNotice, SentNotices},
    token::{Expiry, Token},
};
use tokend_store::{DueTokens, Insert, Job, NoticeState, Store, StoreError, WriteTx};
use tokend_test_support::{on_both_databases, on_postgres};

use crate::support::{Fixture, after, insert_token, insert_workspace, workspace, workspace_id};

on_both_databases!(
    due_tokens_are_listed_by_their_due_time,
    a_notice_state_is_replaced_only_if_it_is_unchanged,
    a_token_that_never_expires_has_no_notice_state,
    a_rotation_brings_the_due_time_forward,
    a_notice_is_postponed,
);
on_postgres!(on_postgres: a_job_is_locked_by_one_transaction);

const HOUR: u64 = 3_600;

async fn notice_state(store: &Store, token: &Token) -> Option<NoticeState> {
    let id = token.name.id;
    store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.notice_state(id).await)
        .await
        .expect("`notice_state` succeeds")
}

async fn set_notice_state(store: &Store, id: CredentialId, read: Option<NoticeState>, new: NoticeState) -> bool {
    store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.set_notice_state(id, read, new).await)
        .await
        .expect("`set_notice_state` succeeds")
}

/// Creates a workspace; returns the store and the time.
async fn acme(fixture: &Fixture) -> (Store, Timestamp) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    (store, now)
}

/// Creates a token of the workspace that was not rotated.
async fn token(fixture: &Fixture, store: &Store, now: Timestamp, expiry: Expiry) -> Token {
    let token = fixture.token(&workspace_id("acme"), now);
    let token = Token {
        own_expiry: expiry,
        requested_expiry: expiry,
        rotated_from: None,
        rotated_to: None,
        ..token
    };
    assert_eq!(insert_token(store, &token).await, Insert::Done);
    token
}

async fn due_tokens_are_listed_by_their_due_time(fixture: Fixture) {
    let (store, now) = acme(&fixture).await;
    let mut waiting = Vec::new();
    // Some expire at the same moment.
    for hours in [3, 1, 2, 2, 2, 1, 3, 9] {
        waiting.push((
            hours,
            token(&fixture, &store, now, Expiry::At(after(now, hours * HOUR)))
                .await
                .name,
        ));
    }
    assert!(
        store
            .due_notices(None, 10)
            .await
            .expect("`due_notices` succeeds")
            .tokens
            .is_empty(),
        "no token has expired"
    );
    assert_eq!(
        store.oldest_due_notice().await.expect("`oldest_due_notice` succeeds"),
        None
    );

    fixture.set_clock_ahead(Duration::from_secs(3 * HOUR));
    waiting.retain(|(hours, _)| *hours <= 3);
    waiting.sort_by_key(|(hours, name)| (*hours, *name.id.as_bytes()));
    let expected: Vec<_> = waiting.into_iter().map(|(_, name)| name).collect();
    for limit in [1, 2, 3, 7, 8] {
        let (mut found, mut after) = (Vec::<TokenName>::new(), None);
        loop {
            let DueTokens { tokens, next } = store.due_notices(after, limit).await.expect("`due_notices` succeeds");
            assert!(tokens.len() as u64 <= limit);
            found.extend(tokens.into_iter().map(|token| token.expect("a name")));
            match next {
                None => break,
                next => after = next,
            }
        }
        assert_eq!(found, expected, "{limit}");
    }
    assert_eq!(
        store.oldest_due_notice().await.expect("`oldest_due_notice` succeeds"),
        Some(after(now, HOUR))
    );
}

async fn a_notice_state_is_replaced_only_if_it_is_unchanged(fixture: Fixture) {
    let (store, now) = acme(&fixture).await;
    let end = after(now, 40 * 24 * HOUR);
    let token = token(&fixture, &store, now, Expiry::At(end)).await;
    let id = token.name.id;
    let first = notice_state(&store, &token)
        .await
        .expect("the token has a notice state");
    assert_eq!(
        first,
        NoticeState {
            told: SentNotices::NONE,
            look_time: Some(after(now, 10 * 24 * HOUR)),
            end_time: None
        }
    );

    let second = NoticeState {
        told: SentNotices::NONE.with(ExpiryNotice::ThirtyDays),
        look_time: Some(end),
        end_time: None,
    };
    let third = NoticeState {
        told: second.told.with(ExpiryNotice::End),
        look_time: None,
        end_time: Some(end),
    };
    assert!(set_notice_state(&store, id, Some(first), second).await);
    assert!(
        !set_notice_state(&store, id, Some(first), third).await,
        "another transaction replaced the state"
    );
    assert!(!set_notice_state(&store, id, None, third).await);
    assert_eq!(notice_state(&store, &token).await, Some(second));
    assert!(set_notice_state(&store, id, Some(second), third).await);
    assert!(
        !set_notice_state(
            &store,
            id,
            Some(NoticeState {
                end_time: Some(now),
                ..third
            }),
            second
        )
        .await
    );
    assert_eq!(notice_state(&store, &token).await, Some(third));
}

async fn a_token_that_never_expires_has_no_notice_state(fixture: Fixture) {
    let (store, now) = acme(&fixture).await;
    let token = token(&fixture, &store, now, Expiry::Never).await;
    assert_eq!(notice_state(&store, &token).await, None);
}

async fn rotate(store: &Store, name: TokenName, end: Timestamp) -> Token {
    let rotate = async move |tx: &WriteTx| {
        let read = tx.token(&name).await?.expect("the token exists");
        let rotated_to = Some(CredentialId::from_bytes([9; CredentialId::BYTES]));
        let rotated = Token {
            own_expiry: read.own_expiry.earlier(Expiry::At(end)),
            rotated_to,
            ..(*read).clone()
        };
        Ok(tx
            .rotate_token(&read, rotated)
            .await?
            .expect("the row is unchanged")
            .into_inner())
    };
    let rotated = store.write_advancing::<_, StoreError, _>(async move |tx: &WriteTx| rotate(tx).await);
    rotated.await.expect("the write is committed").0
}

async fn a_rotation_brings_the_due_time_forward(fixture: Fixture) {
    let (store, now) = acme(&fixture).await;
    let overlap_end = after(now, HOUR);
    for expiry in [
        Expiry::Never,
        Expiry::At(after(now, 100 * 24 * HOUR)),
        Expiry::At(after(now, HOUR / 2)),
    ] {
        let token = token(&fixture, &store, now, expiry).await;
        let rotated = rotate(&store, token.name.clone(), overlap_end).await;
        let expected = NoticeState {
            look_time: rotated.own_expiry.time(),
            ..NoticeState::default()
        };
        assert_eq!(notice_state(&store, &token).await, Some(expected), "{expiry:?}");
    }
    // A rotated token that has already expired is kept for as long as if it had expired now.
    let expired = token(&fixture, &store, now, Expiry::At(after(now, 1))).await;
    let read = notice_state(&store, &expired).await;
    let after_expiry = NoticeState {
        told: SentNotices::NONE.with(ExpiryNotice::End),
        look_time: None,
        end_time: Some(after(now, 1)),
    };
    assert!(set_notice_state(&store, expired.name.id, read, after_expiry).await);
    fixture.set_clock_ahead(Duration::from_secs(HOUR));
    rotate(&store, expired.name.clone(), after(now, 2 * HOUR)).await;
    let state = notice_state(&store, &expired)
        .await
        .expect("the token has a notice state");
    assert_eq!(
        (state.told, state.look_time),
        (after_expiry.told, None),
        "the notice is not sent again"
    );
    assert!(state.end_time.expect("the end time is recorded") >= after(now, HOUR));
}

async fn a_notice_is_postponed(fixture: Fixture) {
    let (store, now) = acme(&fixture).await;
    let token = token(&fixture, &store, now, Expiry::At(after(now, HOUR))).await;
    let id = token.name.id;
    fixture.set_clock_ahead(Duration::from_secs(HOUR));
    let later = Duration::from_secs(HOUR);
    store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.postpone_notices(id, later).await)
        .await
        .expect("`postpone_notices` succeeds");
    assert!(
        store
            .due_notices(None, 10)
            .await
            .expect("`due_notices` succeeds")
            .tokens
            .is_empty()
    );
    fixture.set_clock_ahead(3 * later);
    assert_eq!(
        store
            .due_notices(None, 10)
            .await
            .expect("`due_notices` succeeds")
            .tokens
            .len(),
        1
    );
}

async fn try_lock(store: &Store, job: Job) -> bool {
    store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.try_lock_job(job).await)
        .await
        .expect("`try_lock_job` succeeds")
}

async fn a_job_is_locked_by_one_transaction(fixture: Fixture) {
    let store = fixture.initialized().await;
    let other = store.clone();
    let meanwhile = store.write::<_, StoreError, _>(async move |tx: &WriteTx| {
        assert!(tx.try_lock_job(Job::Notices).await?);
        assert!(
            tx.try_lock_job(Job::Notices).await?,
            "the transaction already has the lock"
        );
        Ok(try_lock(&other, Job::Notices).await)
    });
    assert!(
        !meanwhile.await.expect("`try_lock_job` succeeds"),
        "it is locked by the other transaction"
    );
    assert!(try_lock(&store, Job::Notices).await, "the lock was released");
}
