//! Usage in the database: batches of several servers, late, in any order and twice.

use std::{collections::BTreeMap, net::IpAddr};

use tokend_core::{caller::CallerKey, credential::CredentialId, time::Timestamp, token::Token, usage::Usage};
use tokend_store::{Insert, Store, StoreError, WriteTx};

use crate::support::{
    Fixture, after, caller, insert_caller, insert_caller_key, insert_token, insert_workspace, on_both, only_on, workspace,
    workspace_id,
};

on_both!(
    what_is_written_is_read,
    batches_are_merged_in_any_order,
    tokens_that_are_gone_hold_nothing_up,
    what_cannot_be_read_hides_nothing_and_is_mended,
    what_is_forgotten_is_gone,
    the_row_of_a_token_stays_as_it_is,
    a_key_is_written_once_in_a_minute,
    what_is_known_of_keys_goes_with_their_caller,
);

only_on!(postgres_alone, Postgres: batches_at_once_lose_nothing, a_locked_token_is_not_waited_for);

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
    store.usage_of(&[id]).await.expect("it is read").remove(&id)
}

async fn record(store: &Store, batch: &[(CredentialId, &Usage)]) {
    let batch = batch.iter().map(|(id, usage)| (*id, (*usage).clone())).collect();
    store.record_usage(batch).await.expect("it is recorded");
}

async fn what_is_written_is_read(fixture: Fixture) {
    let store = fixture.initialized().await;
    let tokens = tokens(&fixture, &store, 3).await;
    let [one, two, never] = [0, 1, 2].map(|index: usize| tokens[index].name.id);
    let now = store.now().await.expect("time");
    let rich = usage(now, &[(1, "192.0.2.1"), (2, "2001:db8::1"), (3, "::1"), (4, "0.0.0.0")], &["a", "a:b", "c.d_e-f"]);
    let bare = usage(now, &[], &[]);
    record(&store, &[(one, &rich), (two, &bare)]).await;
    let read = store.usage_of(&[one, two, never]).await.expect("it is read");
    assert_eq!(read, BTreeMap::from([(one, rich.clone()), (two, bare)]));
    assert_eq!(store.usage_of(&[]).await.expect("nothing"), BTreeMap::new());

    let got = store.token(&tokens[0].name).await.expect("it is read").expect("it is there");
    assert_eq!((got.token, got.usage), (tokens[0].clone(), Some(rich.clone())));
    let page = store.list_tokens(&workspace_id("acme"), None, 10).await.expect("it is read").expect("it is there");
    assert_eq!((page.tokens.len(), page.usage.get(&one), page.usage.get(&never)), (3, Some(&rich), None));
}

async fn batches_are_merged_in_any_order(fixture: Fixture) {
    let store = fixture.initialized().await;
    let id = tokens(&fixture, &store, 1).await[0].name.id;
    let now = store.now().await.expect("time");
    let batches = [
        usage(after(now, 30), &[(0, "192.0.2.1"), (1, "192.0.2.2"), (2, "192.0.2.3")], &["a"]),
        usage(after(now, 10), &[(5, "192.0.2.9"), (26, "192.0.2.4")], &["b"]),
        usage(after(now, 20), &[(14, "192.0.2.5"), (15, "192.0.2.6"), (16, "192.0.2.1")], &["a", "c"]),
    ];
    let mut wanted = batches[0].clone();
    batches.iter().for_each(|batch| wanted.merge(batch));
    assert_eq!(wanted.last_used_time, after(now, 30), "time never goes back");
    // A late one, and one that is written again.
    for index in [0, 1, 2, 1, 0] {
        record(&store, &[(id, &batches[index])]).await;
    }
    assert_eq!(stored(&store, id).await, Some(wanted));
}

async fn tokens_that_are_gone_hold_nothing_up(fixture: Fixture) {
    let store = fixture.initialized().await;
    let there = tokens(&fixture, &store, 2).await;
    let now = store.now().await.expect("time");
    let (first, used) = (usage(now, &[], &["a"]), usage(after(now, 1), &[], &["b"]));
    let gone = CredentialId::from_bytes([0x55; CredentialId::BYTES]);
    record(&store, &[(there[0].name.id, &first)]).await;
    record(&store, &[(gone, &used), (there[0].name.id, &used), (there[1].name.id, &used)]).await;
    record(&store, &[(gone, &used)]).await;
    assert_eq!(stored(&store, gone).await, None);
    assert_eq!(stored(&store, there[0].name.id).await, Some(usage(after(now, 1), &[], &["a", "b"])));
    assert_eq!(stored(&store, there[1].name.id).await, Some(used));
}

async fn what_cannot_be_read_hides_nothing_and_is_mended(fixture: Fixture) {
    let store = fixture.initialized().await;
    let tokens = tokens(&fixture, &store, 2).await;
    let [bad, good] = [0, 1].map(|index: usize| tokens[index].name.id);
    let now = store.now().await.expect("time");
    let used = usage(now, &[(0, "192.0.2.1")], &["a"]);
    record(&store, &[(bad, &used), (good, &used)]).await;
    for damage in
        ["addresses = 'somewhere'", "addresses = '192.0.2.1@x'", "asked_scopes = 'A B'", "last_used_time = 9223372036854775807"]
    {
        let id = fixture.bytes(bad.as_bytes());
        assert_eq!(fixture.sql(&format!("UPDATE token_usage SET {damage} WHERE token = {id}")).await, 1);
        let page = store.list_tokens(&workspace_id("acme"), None, 10).await.expect("it is read").expect("it is there");
        assert_eq!(
            (page.tokens.iter().flatten().count(), page.usage.len(), page.usage.get(&good)),
            (2, 1, Some(&used)),
            "{damage}"
        );
        record(&store, &[(bad, &used), (good, &used)]).await;
        assert_eq!(stored(&store, bad).await.as_ref(), Some(&used), "{damage}");
    }
}

async fn what_is_forgotten_is_gone(fixture: Fixture) {
    let store = fixture.initialized().await;
    let tokens = tokens(&fixture, &store, 2).await;
    let [one, other] = [0, 1].map(|index: usize| tokens[index].name.id);
    let used = usage(store.now().await.expect("time"), &[], &[]);
    record(&store, &[(one, &used), (other, &used)]).await;
    store
        .write::<_, StoreError, _>(move |tx| Box::pin(async move { tx.forget_usage(&[one]).await }))
        .await
        .expect("it is forgotten");
    assert_eq!((stored(&store, one).await, stored(&store, other).await), (None, Some(used)));
}

async fn the_row_of_a_token_stays_as_it_is(fixture: Fixture) {
    let store = fixture.initialized().await;
    let token = &tokens(&fixture, &store, 1).await[0];
    let rows = async || fixture.column::<Vec<u8>>("SELECT mac FROM tokens").await;
    let before = rows().await;
    record(&store, &[(token.name.id, &usage(store.now().await.expect("time"), &[], &[]))]).await;
    assert_eq!(rows().await, before);
    let read = store.token(&token.name).await.expect("it is read").expect("it is there");
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

async fn a_key_is_written_once_in_a_minute(fixture: Fixture) {
    let store = fixture.initialized().await;
    let keys = keys(&fixture, &store).await;
    let [used, never] = [0, 1].map(|index: usize| keys[index].name.id);
    let gone = CredentialId::from_bytes([0x55; CredentialId::BYTES]);
    let now = store.now().await.expect("time");
    for (seconds, told) in [(0, 0), (59, 0), (60, 60), (30, 60), (119, 60), (180, 180)] {
        let at = after(now, seconds);
        store.record_key_usage(BTreeMap::from([(used, at), (gone, at)])).await.expect("it is recorded");
        assert_eq!(store.last_use_of_key(used).await.expect("it is read"), Some(after(now, told)), "{seconds}");
    }
    for other in [never, gone] {
        assert_eq!(store.last_use_of_key(other).await.expect("it is read"), None);
    }
    let page = store.list_caller_keys(&keys[0].name.caller, None, 10).await.expect("it is read").expect("it is there");
    assert_eq!((page.keys.len(), page.last_uses), (2, BTreeMap::from([(used, after(now, 180))])));
}

async fn what_is_known_of_keys_goes_with_their_caller(fixture: Fixture) {
    let store = fixture.initialized().await;
    let keys = keys(&fixture, &store).await;
    let now = store.now().await.expect("time");
    store.record_key_usage(keys.iter().map(|key| (key.name.id, now)).collect()).await.expect("it is recorded");
    assert_eq!(fixture.number("SELECT count(*) FROM caller_key_usage").await, 2);
    let id = keys[0].name.caller.clone();
    let deleted = store.write_advancing::<_, StoreError, _>(move |tx| Box::pin(async move { tx.delete_caller(&id).await })).await;
    assert!(deleted.expect("it is deleted").0.is_some());
    assert_eq!(fixture.number("SELECT count(*) FROM caller_key_usage").await, 0);
}

/// Two servers write the first uses of the same tokens, and later ones, again and again.
async fn batches_at_once_lose_nothing(fixture: Fixture) {
    let store = fixture.initialized().await;
    let other = fixture.open().await;
    let ids: Vec<_> = tokens(&fixture, &store, 40).await.iter().map(|token| token.name.id).collect();
    let now = store.now().await.expect("time");
    for round in 0..10 {
        let of = |address: &str, scope: &str| usage(after(now, round), &[(0, address)], &[scope]);
        let (one, two) = (of("192.0.2.1", &format!("one{round}")), of("192.0.2.2", &format!("two{round}")));
        let batch = |usage: &Usage| ids.iter().map(|id| (*id, usage.clone())).collect::<BTreeMap<_, _>>();
        let (one, two) = tokio::join!(store.record_usage(batch(&one)), other.record_usage(batch(&two)));
        one.and(two).expect("both are recorded");
    }
    let read = store.usage_of(&ids).await.expect("it is read");
    assert_eq!(read.len(), 40);
    for usage in read.values() {
        assert_eq!((usage.addresses.iter().count(), usage.asked_scopes.len()), (2, 20), "{usage:?}");
        assert_eq!(usage.last_used_time, after(now, 9));
    }
}

/// As a revocation has it locked.
async fn a_locked_token_is_not_waited_for(fixture: Fixture) {
    let store = fixture.initialized().await;
    let token = tokens(&fixture, &store, 1).await.remove(0);
    let used = usage(store.now().await.expect("time"), &[], &["a"]);
    let (other, name) = (fixture.open().await, token.name.clone());
    let recorded = used.clone();
    let hold = async move |tx: &WriteTx| {
        assert!(tx.token(&name).await?.is_some());
        // Would wait until the lock is given up, and that is after this.
        other.record_usage(BTreeMap::from([(name.id, recorded)])).await
    };
    store.write::<_, StoreError, _>(move |tx| Box::pin(async move { hold(tx).await })).await.expect("neither waits");
    assert_eq!(stored(&store, token.name.id).await, Some(used));
}
