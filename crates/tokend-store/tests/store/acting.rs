//! A caller that requests a verdict is read in the snapshot of the token; a caller that changes something is read and
//! locked in the transaction of the change.

use std::{sync::Arc, time::Duration};

use tokend_store::{CallerHold, CallerRef, CurrentCaller, Insert, LockAttempt, Store, StoreError, WriteTx};
use tokend_test_support::{on_both_databases, on_postgres};
use tokio::sync::{Mutex, oneshot};

use crate::support::{
    Fixture, after, caller, insert_caller, insert_caller_key, insert_token, insert_workspace, workspace,
};

on_both_databases!(
    a_verdict_reads_the_current_caller,
    a_change_reads_the_current_caller,
    what_nobody_has_locked_is_locked_without_waiting,
);

on_postgres!(on_postgres:
    an_exclusive_hold_waits_for_earlier_changes_and_blocks_later_ones,
    holds_on_different_callers_do_not_block_each_other,
    what_another_transaction_has_locked_is_skipped,
);

/// Returns both references to a caller: by key and by certificate.
fn references(now: &CurrentCaller) -> [CallerRef; 2] {
    let (Some(caller), Some(key)) = (&now.caller, &now.key) else {
        panic!("{now:?}")
    };
    [Some(key.name.id), None].map(|key| CallerRef {
        caller: caller.id.clone(),
        key,
    })
}

async fn revoke(store: &Store, known: &CurrentCaller) {
    let (name, now) = (
        known.key.as_ref().expect("the caller has a key").name.clone(),
        known.now,
    );
    let written = store.write_advancing::<_, StoreError, _>(async move |tx: &WriteTx| {
        let read = tx.caller_key(&name).await?.expect("the key exists");
        tx.revoke_caller_key(&read, after(now, 1)).await
    });
    written
        .await
        .expect("the write is committed")
        .0
        .expect("the key is revoked");
}

async fn a_verdict_reads_the_current_caller(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let (acme, ci) = (workspace("acme", now), caller("ci", now));
    let (token, key) = (fixture.token(&acme.id, now), fixture.caller_key(&ci));
    assert_eq!(
        (
            insert_workspace(&store, &acme).await,
            insert_token(&store, &token).await
        ),
        (Insert::Done, Insert::Done)
    );
    assert_eq!(
        (insert_caller(&store, &ci).await, insert_caller_key(&store, &key).await),
        (Insert::Done, Insert::Done)
    );
    let known = CurrentCaller {
        caller: Some(ci.clone()),
        key: Some(key),
        now,
    };
    let [by_key, by_certificate] = references(&known);
    let seen = async |by: &CallerRef| {
        let (found, seen) = store
            .token_snapshot_for(token.name.id, by)
            .await
            .expect("`token_snapshot_for` succeeds")
            .expect("the token exists");
        assert_eq!(*found.token, token);
        assert_eq!(found.now, seen.now);
        let CurrentCaller { caller, key, .. } = store.current_caller(by).await.expect("`current_caller` succeeds");
        assert_eq!(
            (&caller, &key),
            (&seen.caller, &seen.key),
            "the caller is the same without a token"
        );
        (caller, key)
    };
    assert_eq!(seen(&by_key).await, (known.caller.clone(), known.key.clone()));
    assert_eq!(seen(&by_certificate).await, (known.caller.clone(), None));

    revoke(&store, &known).await;
    let revoke_time = Some(after(now, 1));
    assert_eq!(seen(&by_key).await.1.expect("the key exists").revoke_time, revoke_time);

    let id = ci.id.clone();
    let delete = store.write_advancing::<_, StoreError, _>(async move |tx: &WriteTx| tx.delete_caller(&id).await);
    delete
        .await
        .expect("`delete_caller` succeeds")
        .0
        .expect("the caller existed");
    assert_eq!(seen(&by_key).await, (None, None));
    assert_eq!(seen(&by_certificate).await, (None, None));
    // A key of another caller does not identify this one.
    let other = caller("other", now);
    let others = fixture.caller_key(&other);
    let other = tokend_core::caller::Caller {
        certificate_sans: Vec::new(),
        ..other
    };
    assert_eq!(
        (
            insert_caller(&store, &other).await,
            insert_caller_key(&store, &others).await
        ),
        (Insert::Done, Insert::Done)
    );
    let foreign = CallerRef {
        caller: ci.id,
        key: Some(others.name.id),
    };
    assert_eq!(seen(&foreign).await, (None, None));
}

async fn a_change_reads_the_current_caller(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let ci = caller("ci", now);
    let key = fixture.caller_key(&ci);
    assert_eq!(
        (insert_caller(&store, &ci).await, insert_caller_key(&store, &key).await),
        (Insert::Done, Insert::Done)
    );
    let known = CurrentCaller {
        caller: Some(ci),
        key: Some(key),
        now,
    };
    let [by_key, _] = references(&known);
    let seen = async || {
        let by = by_key.clone();
        let look = store.write::<_, StoreError, _>(async move |tx: &WriteTx| {
            tx.hold_caller(&by.caller, CallerHold::Shared).await?;
            tx.current_caller(&by).await
        });
        look.await.expect("the write is committed")
    };
    let CurrentCaller { caller, key, .. } = seen().await;
    assert_eq!((caller, key), (known.caller.clone(), known.key.clone()));
    revoke(&store, &known).await;
    assert_eq!(
        seen().await.key.expect("the key exists").revoke_time,
        Some(after(now, 1))
    );
}

/// Holds a caller in a separate transaction, logs the hold, and commits on a signal.
fn hold(
    store: &Store,
    id: &str,
    hold: CallerHold,
    log: &Arc<Mutex<Vec<&'static str>>>,
    name: &'static str,
) -> oneshot::Sender<()> {
    let (commit, signal) = oneshot::channel();
    let (store, id, log) = (store.clone(), id.parse().expect("an id"), Arc::clone(log));
    tokio::spawn(async move {
        let held = store.write::<_, StoreError, _>(async move |tx: &WriteTx| {
            tx.hold_caller(&id, hold).await?;
            log.lock().await.push(name);
            let _ = signal.await;
            Ok(())
        });
        held.await.expect("`hold_caller` succeeds");
    });
    commit
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waited)
        .await
        .unwrap_or_else(|_| panic!("timed out: {what}"));
}

async fn an_exclusive_hold_waits_for_earlier_changes_and_blocks_later_ones(mut fixture: Fixture) {
    fixture.settings.lock_timeout = Duration::from_secs(30);
    fixture.settings.statement_timeout = Duration::from_secs(30);
    let store = fixture.initialized().await;
    let log = Arc::default();
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let change = hold(&store, "ci", CallerHold::Shared, &log, "a change");
    until("the change holds", async || log.lock().await.len() == 1).await;
    let revocation = hold(&store, "ci", CallerHold::Exclusive, &log, "the revocation");
    until("the revocation waits", async || fixture.number(waiting).await == 1).await;
    // A shared hold is compatible with the first change, but would delay the revocation.
    let next = hold(&store, "ci", CallerHold::Shared, &log, "the next change");
    until("the next change waits", async || fixture.number(waiting).await == 2).await;
    for (commit, count) in [(change, 2), (revocation, 3)] {
        commit.send(()).expect("the transaction waits");
        until("the next one holds", async || log.lock().await.len() == count).await;
    }
    next.send(()).expect("the transaction waits");
    assert_eq!(*log.lock().await, ["a change", "the revocation", "the next change"]);
}

async fn holds_on_different_callers_do_not_block_each_other(fixture: Fixture) {
    let store = fixture.initialized().await;
    let log = Arc::default();
    let one = hold(&store, "one", CallerHold::Exclusive, &log, "one");
    let other = hold(&store, "other", CallerHold::Exclusive, &log, "other");
    until("both hold", async || log.lock().await.len() == 2).await;
    for commit in [one, other] {
        commit.send(()).expect("the transaction waits");
    }
}

/// The results of locking two callers, a workspace and an absent one without waiting.
#[derive(Debug, PartialEq, Eq)]
struct Attempts {
    callers: [bool; 2],
    workspaces: [&'static str; 2],
}

async fn attempts(store: &Store) -> Attempts {
    let tried = store.write::<_, StoreError, _>(async move |tx: &WriteTx| {
        let mut callers = [false; 2];
        for (id, is_held) in ["ci", "other"].into_iter().zip(&mut callers) {
            *is_held = tx.try_hold_caller(&id.parse().expect("an id")).await?;
        }
        let acme = tx.try_lock_workspace(&"acme".parse().expect("an id")).await?;
        let absent = tx.try_lock_workspace(&"absent".parse().expect("an id")).await?;
        let workspaces = [acme, absent].map(|attempt| match attempt {
            LockAttempt::Locked(_) => "locked",
            LockAttempt::Busy => "busy",
            LockAttempt::Absent => "absent",
        });
        Ok(Attempts { callers, workspaces })
    });
    tried.await.expect("nothing waits")
}

const UNLOCKED: Attempts = Attempts {
    callers: [true, true],
    workspaces: ["locked", "absent"],
};

async fn what_nobody_has_locked_is_locked_without_waiting(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    assert_eq!(attempts(&store).await, UNLOCKED);
}

async fn what_another_transaction_has_locked_is_skipped(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    let log = Arc::default();
    let caller = hold(&store, "ci", CallerHold::Exclusive, &log, "the caller");
    let (commit, signal) = oneshot::channel();
    let (locked, is_locked) = oneshot::channel();
    let locking = {
        let store = store.clone();
        tokio::spawn(async move {
            let locking = store.write::<_, StoreError, _>(async move |tx: &WriteTx| {
                let acme = tx.lock_workspace(&"acme".parse().expect("an id")).await?;
                assert!(acme.is_some());
                let _ = locked.send(());
                let _ = signal.await;
                Ok(())
            });
            locking.await.expect("`lock_workspace` succeeds");
        })
    };
    is_locked.await.expect("the workspace is locked");
    until("the caller is held", async || log.lock().await.len() == 1).await;
    let skipped = Attempts {
        callers: [false, true],
        workspaces: ["busy", "absent"],
    };
    assert_eq!(attempts(&store).await, skipped);
    for commit in [caller, commit] {
        commit.send(()).expect("the transaction waits");
    }
    locking.await.expect("the task does not panic");
    until("both are unlocked", async || attempts(&store).await == UNLOCKED).await;
}
