//! Usage batches of several servers are merged correctly, even if they are late, reordered or repeated.

use std::{collections::BTreeMap, net::IpAddr};

use tokend_core::{caller::CallerKey, credential::CredentialId, time::Timestamp, token::Token, token::usage::Usage};
use tokend_store::{Insert, Store, StoreError, WriteTx};
use tokend_test_support::{on_both_databases, on_postgres};

use crate::support::{
    Fixture, after, caller, insert_caller, insert_caller_key, insert_token, insert_workspace, workspace, workspace_id,
};

on_both_databases!(
    recorded_usage_is_read_back,
    batches_are_merged_in_any_order,
    missing_tokens_do_not_block_a_batch,
    unreadable_usage_is_replaced_and_hides_no_others,
    deleted_usage_is_not_found,
    recording_usage_does_not_change_the_token,
    the_use_of_a_key_is_written_once_a_minute,
    deleting_a_caller_deletes_the_usage_of_its_keys,
);

on_postgres!(postgres_alone: concurrent_batches_lose_nothing, a_batch_does_not_wait_for_a_locked_token);

fn usage(at: Timestamp, addresses: &[(u64, &str)], scopes: &[&str]) -> Usage {
    let seen = |(seconds, address): &(u64, &str)| (after(at, *seconds), address.parse::<IpAddr>().expect("an address"));
    Usage {
        last_used_time: at,
        addresses: addresses.iter().map(seen).collect(),
        asked_scopes: scopes.iter().map(|scope| scope.parse().expect("a scope")).collect(),
    }
}

async fn tokens(fixture: &Fixture, store: &Store, count: u64) -> Vec<Token> {
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(store, &workspace("acme", now)).await, Insert::Done);
    let mut tokens = Vec::new();
    for seconds in 0..count {
        let token = fixture.token(&workspace_id("acme"), after(now, seconds));
        assert_eq!(insert_token(store, &token).await, Insert::Done);
        tokens.push(token);
    }
    tokens
}

async fn stored(store: &Store, id: CredentialId) -> Option<Usage> {
    store.usage_of(&[id]).await.expect("the read succeeds").remove(&id)
}

async fn record(store: &Store, batch: &[(CredentialId, &Usage)]) {
    let batch = batch.iter().map(|(id, usage)| (*id, (*usage).clone())).collect();
    store.record_usage(batch).await.expect("the usage is recorded");
}

async fn recorded_usage_is_read_back(fixture: Fixture) {
    let store = fixture.initialized().await;
    let tokens = tokens(&fixture, &store, 3).await;
    let [one, two, never] = [0, 1, 2].map(|index: usize| tokens[index].name.id);
    let now = store.now().await.expect("time");
    let rich = usage(
        now,
        &[(1, "192.0.2.1"), (2, "2001:db8::1"), (3, "::1"), (4, "0.0.0.0")],
        &["a", "a:b", "c.d_e-f"],
    );
    let bare = usage(now, &[], &[]);
    record(&store, &[(one, &rich), (two, &bare)]).await;
    let read = store.usage_of(&[one, two, never]).await.expect("the read succeeds");
    assert_eq!(read, BTreeMap::from([(one, rich.clone()), (two, bare)]));
    assert_eq!(store.usage_of(&[]).await.expect("nothing"), BTreeMap::new());

    let got = store
        .token(&tokens[0].name)
        .await
        .expect("the read succeeds")
        .expect("the row exists");
    assert_eq!((got.token, got.usage), (tokens[0].clone(), Some(rich.clone())));
    let page = store
        .list_tokens(&workspace_id("acme"), None, 10)
        .await
        .expect("the read succeeds")
        .expect("the row exists");
    assert_eq!(
        (page.tokens.len(), page.usage.get(&one), page.usage.get(&never)),
        (3, Some(&rich), None)
    );
}

async fn batches_are_merged_in_any_order(fixture: Fixture) {
    let store = fixture.initialized().await;
    let id = tokens(&fixture, &store, 1).await[0].name.id;
    let now = store.now().await.expect("time");
    let batches = [
        usage(
            after(now, 30),
            &[(0, "192.0.2.1"), (1, "192.0.2.2"), (2, "192.0.2.3")],
            &["a"],
        ),
        usage(after(now, 10), &[(5, "192.0.2.9"), (26, "192.0.2.4")], &["b"]),
        usage(
            after(now, 20),
            &[(14, "192.0.2.5"), (15, "192.0.2.6"), (16, "192.0.2.1")],
            &["a", "c"],
        ),
    ];
    let mut wanted = batches[0].clone();
    batches.iter().for_each(|batch| wanted.merge(batch));
    assert_eq!(wanted.last_used_time, after(now, 30), "time never goes back");
    // A late batch, and a repeated one.
    for index in [0, 1, 2, 1, 0] {
        record(&store, &[(id, &batches[index])]).await;
    }
    assert_eq!(stored(&store, id).await, Some(wanted));
}

async fn missing_tokens_do_not_block_a_batch(fixture: Fixture) {
    let store = fixture.initialized().await;
    let there = tokens(&fixture, &store, 2).await;
    let now = store.now().await.expect("time");
    let (first, used) = (usage(now, &[], &["a"]), usage(after(now, 1), &[], &["b"]));
    let gone = CredentialId::from_bytes([0x55; CredentialId::BYTES]);
    record(&store, &[(there[0].name.id, &first)]).await;
    record(
        &store,
        &[(gone, &used), (there[0].name.id, &used), (there[1].name.id, &used)],
    )
    .await;
    record(&store, &[(gone, &used)]).await;
    assert_eq!(stored(&store, gone).await, None);
    assert_eq!(
        stored(&store, there[0].name.id).await,
        Some(usage(after(now, 1), &[], &["a", "b"]))
    );
    assert_eq!(stored(&store, there[1].name.id).await, Some(used));
}

async fn unreadable_usage_is_replaced_and_hides_no_others(fixture: Fixture) {
    let store = fixture.initialized().await;
    let tokens = tokens(&fixture, &store, 2).await;
    let [bad, good] = [0, 1].map(|index: usize| tokens[index].name.id);
    let now = store.now().await.expect("time");
    let used = usage(now, &[(0, "192.0.2.1")], &["a"]);
    record(&store, &[(bad, &used), (good, &used)]).await;
    for damage in [
        "addresses = 'somewhere'",
        "addresses = '192.0.2.1@x'",
        "asked_scopes = 'A B'",
        "last_used_time = 9223372036854775807",
    ] {
        let id = fixture.bytes(bad.as_bytes());
        assert_eq!(
            fixture
                .sql(&format!("UPDATE token_usage SET {damage} WHERE token = {id}"))
                .await,
            1
        );
        let page = store
            .list_tokens(&workspace_id("acme"), None, 10)
            .await
            .expect("the read succeeds")
            .expect("the row exists");
        assert_eq!(
            (
                page.tokens.iter().flatten().count(),
                page.usage.len(),
                page.usage.get(&good)
            ),
            (2, 1, Some(&used)),
            "{damage}"
        );
        record(&store, &[(bad, &used), (good, &used)]).await;
        assert_eq!(stored(&store, bad).await.as_ref(), Some(&used), "{damage}");
    }
}

async fn deleted_usage_is_not_found(fixture: Fixture) {
    let store = fixture.initialized().await;
    let tokens = tokens(&fixture, &store, 2).await;
    let [one, other] = [0, 1].map(|index: usize| tokens[index].name.id);
    let used = usage(store.now().await.expect("time"), &[], &[]);
    record(&store, &[(one, &used), (other, &used)]).await;
    store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.forget_usage(&[one]).await)
        .await
        .expect("the usage is deleted");
    assert_eq!(
        (stored(&store, one).await, stored(&store, other).await),
        (None, Some(used))
    );
}

async fn recording_usage_does_not_change_the_token(fixture: Fixture) {
    let store = fixture.initialized().await;
    let token = &tokens(&fixture, &store, 1).await[0];
    let rows = async || fixture.column::<Vec<u8>>("SELECT mac FROM tokens").await;
    let before = rows().await;
    record(
        &store,
        &[(token.name.id, &usage(store.now().await.expect("time"), &[], &[]))],
    )
    .await;
    assert_eq!(rows().await, before);
    let read = store
        .token(&token.name)
        .await
        .expect("the read succeeds")
        .expect("the row exists");
    assert_eq!(read.token, *token);
}

async fn keys(fixture: &Fixture, store: &Store) -> Vec<CallerKey> {
    let caller = caller("ci", store.now().await.expect("time"));
    assert_eq!(insert_caller(store, &caller).await, Insert::Done);
    let keys = vec![fixture.caller_key(&caller), fixture.caller_key(&caller)];
    for key in &keys {
        assert_eq!(insert_caller_key(store, key).await, Insert::Done);
    }
    keys
}

async fn the_use_of_a_key_is_written_once_a_minute(fixture: Fixture) {
    let store = fixture.initialized().await;
    let keys = keys(&fixture, &store).await;
    let [used, never] = [0, 1].map(|index: usize| keys[index].name.id);
    let gone = CredentialId::from_bytes([0x55; CredentialId::BYTES]);
    let now = store.now().await.expect("time");
    for (seconds, expected) in [(0, 0), (59, 0), (60, 60), (30, 60), (119, 60), (180, 180)] {
        let at = after(now, seconds);
        store
            .record_key_usage(BTreeMap::from([(used, at), (gone, at)]))
            .await
            .expect("the usage is recorded");
        assert_eq!(
            store.last_use_of_key(used).await.expect("the read succeeds"),
            Some(after(now, expected)),
            "{seconds}"
        );
    }
    for other in [never, gone] {
        assert_eq!(store.last_use_of_key(other).await.expect("the read succeeds"), None);
    }
    let page = store
        .list_caller_keys(&keys[0].name.caller, None, 10)
        .await
        .expect("the read succeeds")
        .expect("the row exists");
    assert_eq!(
        (page.keys.len(), page.last_uses),
        (2, BTreeMap::from([(used, after(now, 180))]))
    );
}

async fn deleting_a_caller_deletes_the_usage_of_its_keys(fixture: Fixture) {
    let store = fixture.initialized().await;
    let keys = keys(&fixture, &store).await;
    let now = store.now().await.expect("time");
    store
        .record_key_usage(keys.iter().map(|key| (key.name.id, now)).collect())
        .await
        .expect("the usage is recorded");
    assert_eq!(fixture.number("SELECT count(*) FROM caller_key_usage").await, 2);
    let id = keys[0].name.caller.clone();
    let deleted = store
        .write_advancing::<_, StoreError, _>(async move |tx: &WriteTx| tx.delete_caller(&id).await)
        .await;
    assert!(deleted.expect("the caller is deleted").0.is_some());
    assert_eq!(fixture.number("SELECT count(*) FROM caller_key_usage").await, 0);
}

/// Two servers repeatedly write first and later uses of the same tokens.
async fn concurrent_batches_lose_nothing(fixture: Fixture) {
    let store = fixture.initialized().await;
    let other = fixture.open().await;
    let ids: Vec<_> = tokens(&fixture, &store, 40)
        .await
        .iter()
        .map(|token| token.name.id)
        .collect();
    let now = store.now().await.expect("time");
    for round in 0..10 {
        let of = |address: &str, scope: &str| usage(after(now, round), &[(0, address)], &[scope]);
        let (one, two) = (
            of("192.0.2.1", &format!("one{round}")),
            of("192.0.2.2", &format!("two{round}")),
        );
        let batch = |usage: &Usage| ids.iter().map(|id| (*id, usage.clone())).collect::<BTreeMap<_, _>>();
        let (one, two) = tokio::join!(store.record_usage(batch(&one)), other.record_usage(batch(&two)));
        one.and(two).expect("both are recorded");
    }
    let read = store.usage_of(&ids).await.expect("the read succeeds");
    assert_eq!(read.len(), 40);
    for usage in read.values() {
        assert_eq!(
            (usage.addresses.iter().count(), usage.asked_scopes.len()),
            (2, 20),
            "{usage:?}"
        );
        assert_eq!(usage.last_used_time, after(now, 9));
    }
}

/// A revocation holds such a lock.
async fn a_batch_does_not_wait_for_a_locked_token(fixture: Fixture) {
    let store = fixture.initialized().await;
    let token = tokens(&fixture, &store, 1).await.remove(0);
    let used = usage(store.now().await.expect("time"), &[], &["a"]);
    let (other, name) = (fixture.open().await, token.name.clone());
    let recorded = used.clone();
    let hold = async move |tx: &WriteTx| {
        assert!(tx.token(&name).await?.is_some());
        // A batch that waited for the lock would wait until after this block.
        other.record_usage(BTreeMap::from([(name.id, recorded)])).await
    };
    store
        .write::<_, StoreError, _>(hold)
        .await
        .expect("the batch does not wait for the lock");
    assert_eq!(stored(&store, token.name.id).await, Some(used));
}
