//! Who asks for a verdict or makes a change is looked up in the same snapshot, and held in the same transaction.

use std::{sync::Arc, time::Duration};

use tokend_store::{CallerHold, CallerNow, CallerRef, Insert, Store, StoreError};
use tokio::sync::{Mutex, oneshot};

use crate::support::{
    Fixture, after, caller, insert_caller, insert_caller_key, insert_token, insert_workspace, on_both, only_on, workspace,
};

on_both!(whoever_asks_for_a_verdict_is_seen_as_it_is_now, whoever_makes_a_change_is_seen_as_it_is_now);

only_on!(
    on_postgres,
    Postgres: a_caller_is_held_alone_after_its_changes_and_before_the_next_ones, callers_are_held_apart,
);

/// How a caller is looked up: by key and by certificate.
fn references(now: &CallerNow) -> [CallerRef; 2] {
    let (Some(caller), Some(key)) = (&now.caller, &now.key) else { panic!("{now:?}") };
    [Some(key.name.id), None].map(|key| CallerRef { caller: caller.id.clone(), key })
}

async fn revoke(store: &Store, known: &CallerNow) {
    let (name, now) = (known.key.as_ref().expect("it has one").name.clone(), known.now);
    let written = store.write_advancing::<_, StoreError, _>(move |tx| {
        Box::pin(async move {
            let read = tx.caller_key(&name).await?.expect("it is there");
            tx.revoke_caller_key(&read, after(now, 1)).await
        })
    });
    written.await.expect("it works").0.expect("it is revoked");
}

async fn whoever_asks_for_a_verdict_is_seen_as_it_is_now(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let (acme, ci) = (workspace("acme", now), caller("ci", now));
    let (token, key) = (fixture.token(&acme.id, now), fixture.caller_key(&ci));
    assert_eq!((insert_workspace(&store, &acme).await, insert_token(&store, &token).await), (Insert::Done, Insert::Done));
    assert_eq!((insert_caller(&store, &ci).await, insert_caller_key(&store, &key).await), (Insert::Done, Insert::Done));
    let known = CallerNow { caller: Some(ci.clone()), key: Some(key), now };
    let [by_key, by_certificate] = references(&known);
    let seen = async |by: &CallerRef| {
        let (found, seen) = store.presented_token_to(token.name.id, by).await.expect("it works").expect("it is there");
        assert_eq!(found.token, token);
        assert_eq!(found.now, seen.now);
        let CallerNow { caller, key, .. } = store.known_caller(by).await.expect("it works");
        assert_eq!((&caller, &key), (&seen.caller, &seen.key), "it is the same without a token");
        (caller, key)
    };
    assert_eq!(seen(&by_key).await, (known.caller.clone(), known.key.clone()));
    assert_eq!(seen(&by_certificate).await, (known.caller.clone(), None));

    revoke(&store, &known).await;
    let revoke_time = Some(after(now, 1));
    assert_eq!(seen(&by_key).await.1.expect("it is there").revoke_time, revoke_time);

    let id = ci.id.clone();
    let delete = store.write_advancing::<_, StoreError, _>(move |tx| Box::pin(async move { tx.delete_caller(&id).await }));
    delete.await.expect("it works").0.expect("it was there");
    assert_eq!(seen(&by_key).await, (None, None));
    assert_eq!(seen(&by_certificate).await, (None, None));
    // Another caller's key is none of this one.
    let other = caller("other", now);
    let others = fixture.caller_key(&other);
    let other = tokend_core::caller::Caller { certificate_sans: Vec::new(), ..other };
    assert_eq!((insert_caller(&store, &other).await, insert_caller_key(&store, &others).await), (Insert::Done, Insert::Done));
    let foreign = CallerRef { caller: ci.id, key: Some(others.name.id) };
    assert_eq!(seen(&foreign).await, (None, None));
}

async fn whoever_makes_a_change_is_seen_as_it_is_now(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let ci = caller("ci", now);
    let key = fixture.caller_key(&ci);
    assert_eq!((insert_caller(&store, &ci).await, insert_caller_key(&store, &key).await), (Insert::Done, Insert::Done));
    let known = CallerNow { caller: Some(ci), key: Some(key), now };
    let [by_key, _] = references(&known);
    let seen = async || {
        let by = by_key.clone();
        let look = store.write::<_, StoreError, _>(move |tx| {
            Box::pin(async move {
                tx.hold_caller(&by.caller, CallerHold::Shared).await?;
                tx.known_caller(&by).await
            })
        });
        look.await.expect("it works")
    };
    let CallerNow { caller, key, .. } = seen().await;
    assert_eq!((caller, key), (known.caller.clone(), known.key.clone()));
    revoke(&store, &known).await;
    assert_eq!(seen().await.key.expect("it is there").revoke_time, Some(after(now, 1)));
}

/// Holds a caller in a transaction of its own, notes that, and goes on when told to.
fn hold(
    store: &Store,
    id: &str,
    hold: CallerHold,
    noted: &Arc<Mutex<Vec<&'static str>>>,
    note: &'static str,
) -> oneshot::Sender<()> {
    let (go_on, told) = oneshot::channel();
    let (store, id, noted) = (store.clone(), id.parse().expect("an id"), Arc::clone(noted));
    tokio::spawn(async move {
        let held = store.write::<_, StoreError, _>(move |tx| {
            Box::pin(async move {
                tx.hold_caller(&id, hold).await?;
                noted.lock().await.push(note);
                let _ = told.await;
                Ok(())
            })
        });
        held.await.expect("it works");
    });
    go_on
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waited).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

async fn a_caller_is_held_alone_after_its_changes_and_before_the_next_ones(mut fixture: Fixture) {
    fixture.settings.lock_timeout = Duration::from_secs(30);
    fixture.settings.statement_timeout = Duration::from_secs(30);
    let store = fixture.initialized().await;
    let noted = Arc::default();
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let change = hold(&store, "ci", CallerHold::Shared, &noted, "a change");
    until("the change holds", async || noted.lock().await.len() == 1).await;
    let revocation = hold(&store, "ci", CallerHold::Exclusive, &noted, "the revocation");
    until("the revocation waits", async || fixture.number(waiting).await == 1).await;
    // It could hold the caller together with the change, and would keep the revocation waiting.
    let next = hold(&store, "ci", CallerHold::Shared, &noted, "the next change");
    until("the next change waits", async || fixture.number(waiting).await == 2).await;
    for (go_on, held) in [(change, 2), (revocation, 3)] {
        go_on.send(()).expect("it waits");
        until("the one after it holds", async || noted.lock().await.len() == held).await;
    }
    next.send(()).expect("it waits");
    assert_eq!(*noted.lock().await, ["a change", "the revocation", "the next change"]);
}

async fn callers_are_held_apart(fixture: Fixture) {
    let store = fixture.initialized().await;
    let noted = Arc::default();
    let one = hold(&store, "one", CallerHold::Exclusive, &noted, "one");
    let other = hold(&store, "other", CallerHold::Exclusive, &noted, "other");
    until("both hold", async || noted.lock().await.len() == 2).await;
    for go_on in [one, other] {
        go_on.send(()).expect("it waits");
    }
}
