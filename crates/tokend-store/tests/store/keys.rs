//! A new active key takes effect on all servers at once: a write seals rows with the key that is active in its
//! transaction, and no row keeps a retired key.

use std::{sync::Arc, time::Duration};

use tokend_core::{
    credential::Kid,
    keyring::{KeyState, KnownKey, RootKeys, WrongKeys},
    webhook::Message,
};
use tokend_store::{Insert, OpenError, SealedTable, Store, StoreError, WriteTx};
use tokend_test_support::on_both_databases;
use tokio::time::timeout;

use crate::support::{Fixture, caller, insert_token, insert_workspace, random, workspace, workspace_id};

on_both_databases!(
    a_write_seals_with_the_active_key,
    a_change_of_the_active_key_waits_for_running_writes,
    a_credential_of_a_retired_key_is_not_stored,
    a_row_of_an_unknown_key_is_not_reported_as_tampered,
    root_keys_can_be_replaced_while_the_store_is_open,
    resealing_skips_only_tampered_rows,
    a_retired_key_stays_retired,
);

/// Returns the fixture's key and a second one, which the database lists as a verifying key.
async fn with_second_key(fixture: &Fixture, store: &Store) -> (Arc<RootKeys>, Kid) {
    let (roots, kid) = fixture.roots.with_new_key(&[], &mut random()).expect("randomness");
    let (_, fingerprint) = roots.fingerprints().last().expect("two keys");
    let key = KnownKey {
        kid,
        fingerprint,
        state: KeyState::Verifies,
    };
    let added = store
        .write_keys::<_, StoreError, _>(async move |tx: &WriteTx| tx.insert_key(&key).await)
        .await;
    assert_eq!(added.expect("`insert_key` succeeds"), Insert::Done);
    (Arc::new(roots), kid)
}

async fn opened_with(fixture: &Fixture, roots: &Arc<RootKeys>) -> Store {
    Store::open(&fixture.settings, Arc::clone(roots), fixture.clock())
        .await
        .expect("the ring has every key")
}

async fn activate(store: &Store, kid: Kid) -> bool {
    store
        .write_keys::<_, StoreError, _>(async move |tx: &WriteTx| tx.activate_key(kid).await)
        .await
        .expect("`activate_key` succeeds")
}

async fn retire(store: &Store, kid: Kid) -> bool {
    store
        .write_keys::<_, StoreError, _>(async move |tx: &WriteTx| tx.retire_key(kid).await)
        .await
        .expect("`retire_key` succeeds")
}

/// Returns the keys of the rows of `table`, as digits.
async fn sealed_with(fixture: &Fixture, table: &str) -> Vec<u8> {
    let macs: Vec<Vec<u8>> = fixture.column(&format!("SELECT mac FROM {table} ORDER BY id")).await;
    macs.into_iter().map(|mac| mac[1]).collect()
}

async fn a_write_seals_with_the_active_key(fixture: Fixture) {
    let first = fixture.initialized().await;
    let (roots, kid) = with_second_key(&fixture, &first).await;
    let (server, command) = (opened_with(&fixture, &roots).await, opened_with(&fixture, &roots).await);
    let now = server.now().await.expect("time");
    assert_eq!(insert_workspace(&server, &workspace("acme", now)).await, Insert::Done);
    assert!(
        activate(&command, kid).await && !activate(&command, kid).await,
        "the key is activated once"
    );
    // The server has not refreshed its keys yet.
    assert_eq!(server.keys().active_kid(), fixture.ring.active_kid());
    assert_eq!(insert_workspace(&server, &workspace("globex", now)).await, Insert::Done);
    assert_eq!(sealed_with(&fixture, "workspaces").await, *b"01");
    for id in ["acme", "globex"] {
        server
            .workspace(&workspace_id(id))
            .await
            .expect("both keys verify")
            .expect("the workspace exists");
    }
    server.refresh_keys().await.expect("`refresh_keys` succeeds");
    assert_eq!((server.keys().active_kid(), server.wrong_keys()), (kid, None));
    // Activate the first key again.
    assert!(activate(&command, fixture.ring.active_kid()).await);
    let states: Vec<_> = command
        .stored_keys()
        .await
        .expect("`stored_keys` succeeds")
        .iter()
        .map(|stored| stored.key.state)
        .collect();
    assert_eq!(states, [KeyState::Active, KeyState::Verifies]);
}

async fn a_change_of_the_active_key_waits_for_running_writes(fixture: Fixture) {
    let first = fixture.initialized().await;
    let (roots, kid) = with_second_key(&fixture, &first).await;
    let (server, command) = (opened_with(&fixture, &roots).await, opened_with(&fixture, &roots).await);
    let acme = workspace("acme", server.now().await.expect("time"));
    let (sealed, is_sealed) = tokio::sync::oneshot::channel();
    let (commit, mut may_go_on) = tokio::sync::oneshot::channel::<()>();
    let writing = async move |tx: &WriteTx| {
        let inserted = tx.insert_workspace(&acme).await;
        sealed.send(()).expect("the test waits");
        // PostgreSQL would abort an idle transaction.
        while timeout(Duration::from_millis(100), &mut may_go_on).await.is_err() {
            tx.now().await?;
        }
        inserted
    };
    let write = tokio::spawn(async move { server.write::<_, StoreError, _>(writing).await });
    is_sealed.await.expect("the row is sealed");
    let activating = tokio::spawn(async move { activate(&command, kid).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!activating.is_finished(), "a write still uses the old key");
    commit.send(()).expect("the write waits");
    assert_eq!(
        write
            .await
            .expect("the write finishes")
            .expect("the write is committed"),
        Insert::Done
    );
    assert!(activating.await.expect("the activation finishes"));
    assert_eq!(sealed_with(&fixture, "workspaces").await, *b"0");
}

async fn a_credential_of_a_retired_key_is_not_stored(fixture: Fixture) {
    let first = fixture.initialized().await;
    let (roots, kid) = with_second_key(&fixture, &first).await;
    let store = opened_with(&fixture, &roots).await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    // A credential that was minted before the key was retired could never be used.
    let (token, key) = (
        fixture.token(&workspace_id("acme"), now),
        fixture.caller_key(&caller("root", now)),
    );
    let old = fixture.ring.active_kid();
    assert!(activate(&store, kid).await && retire(&store, old).await);
    let inserted = store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.insert_token(&token).await)
        .await;
    let inserted_key = store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.insert_caller_key(&key).await)
        .await;
    for inserted in [inserted, inserted_key] {
        // The caller of the key is sealed with the retired key itself.
        let retired = WrongKeys::Retired(old);
        let is_refused = matches!(&inserted, Err(StoreError::WrongKeys { problem }) if *problem == retired)
            || matches!(&inserted, Err(StoreError::Tampered { table: "callers", .. }));
        assert!(is_refused, "{inserted:?}");
    }
    assert_eq!(fixture.number("SELECT count(*) FROM tokens").await, 0);
}

async fn a_row_of_an_unknown_key_is_not_reported_as_tampered(fixture: Fixture) {
    let behind = fixture.initialized().await;
    let now = behind.now().await.expect("time");
    let (roots, kid) = with_second_key(&fixture, &behind).await;
    let ahead = opened_with(&fixture, &roots).await;
    assert!(activate(&ahead, kid).await);
    assert_eq!(insert_workspace(&ahead, &workspace("acme", now)).await, Insert::Done);

    behind.refresh_keys().await.expect("`refresh_keys` succeeds");
    assert_eq!(
        (behind.wrong_keys(), behind.keys().missing_keys()),
        (Some(WrongKeys::Missing(kid)), &[kid][..])
    );
    let lacks =
        |error: &StoreError| matches!(error, StoreError::WrongKeys { problem } if *problem == WrongKeys::Missing(kid));
    let read = behind
        .workspace(&workspace_id("acme"))
        .await
        .expect_err("the row can't be verified");
    // A list must not hide the workspace.
    let listed = behind
        .list_workspaces(None, 10)
        .await
        .expect_err("the row can't be verified");
    let globex = workspace("globex", now);
    let written = behind
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.insert_workspace(&globex).await)
        .await;
    for error in [read, listed, written.expect_err("the row can't be sealed")] {
        assert!(lacks(&error), "{error:?}");
    }
    assert!(
        behind.refused_rows().all(|(_, count)| count == 0),
        "no row was tampered with"
    );
    // Rows of the known keys can still be read.
    assert!(
        behind
            .caller(&"root".parse().expect("an id"))
            .await
            .expect("`caller` succeeds")
            .is_some()
    );
    let error = Store::open(&fixture.settings, Arc::clone(&fixture.roots), fixture.clock())
        .await
        .expect_err("the ring lacks a key");
    assert!(
        matches!(error, OpenError::WrongKeyRing { problem: WrongKeys::Missing(lacked), .. } if lacked == kid),
        "{error:?}"
    );
    assert!(
        Store::inspect(&fixture.settings, Arc::clone(&fixture.roots), fixture.clock())
            .await
            .is_ok(),
        "the store opens for inspection"
    );
}

async fn root_keys_can_be_replaced_while_the_store_is_open(fixture: Fixture) {
    let store = fixture.initialized().await;
    let (roots, kid) = with_second_key(&fixture, &store).await;
    store.refresh_keys().await.expect("`refresh_keys` succeeds");
    assert_eq!(
        (store.keys().missing_keys(), store.wrong_keys()),
        (&[kid][..], None),
        "the missing key is not active"
    );
    store.use_roots(roots);
    assert_eq!((store.keys().missing_keys(), store.wrong_keys()), (&[][..], None));
    assert!(activate(&store, kid).await);
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    // The key file of another installation is rejected. The known keys stay in use.
    store.use_roots(crate::support::new_roots());
    assert_eq!(store.wrong_keys(), Some(WrongKeys::Differs(fixture.ring.active_kid())));
    assert!(
        store
            .workspace(&workspace_id("acme"))
            .await
            .expect("the row can still be read")
            .is_some()
    );
}

async fn resealing_skips_only_tampered_rows(fixture: Fixture) {
    let first = fixture.initialized().await;
    let (roots, kid) = with_second_key(&fixture, &first).await;
    let (store, old) = (opened_with(&fixture, &roots).await, fixture.ring.active_kid());
    let now = store.now().await.expect("time");
    let ids = ["a0", "a1", "a2", "a3", "a4", "a5", "a6"];
    for id in ids {
        assert_eq!(insert_workspace(&store, &workspace(id, now)).await, Insert::Done);
        assert_eq!(
            insert_token(&store, &fixture.token(&workspace_id(id), now)).await,
            Insert::Done
        );
    }
    for id in ["m0", "m1"] {
        let message = Message {
            id: id.parse().expect("an id"),
            event: id.into(),
            subject: id.into(),
            payload: id.into(),
        };
        let enqueued = store
            .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.enqueue(&message).await)
            .await;
        assert_eq!(enqueued.expect("`enqueue` succeeds"), Insert::Done);
    }
    store
        .write_advancing::<_, StoreError, _>(async move |_: &WriteTx| Ok(()))
        .await
        .expect("an entry of the feed is sealed");
    assert!(activate(&store, kid).await);
    assert_eq!(insert_workspace(&store, &workspace("a7", now)).await, Insert::Done);
    fixture
        .sql("UPDATE webhook_outbox SET payload = 'm2' WHERE id = 'm1'")
        .await;
    fixture
        .sql("UPDATE workspaces SET create_time = create_time + 1 WHERE id IN ('a1', 'a2', 'a6')")
        .await;

    for table in SealedTable::ALL {
        let (mut renewed, mut refused, mut after, mut steps) = (0, 0, None, 0);
        loop {
            let from = after.take();
            let step = store.write::<_, StoreError, _>(async move |tx: &WriteTx| tx.reseal(table, old, from, 2).await);
            let step = step.await.expect("`reseal` succeeds");
            (renewed, refused, steps) = (renewed + step.renewed, refused + step.refused, steps + 1);
            match step.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let expected = match table {
            SealedTable::Organizations => (1, 0),
            SealedTable::Workspaces => (4, 3),
            SealedTable::Tokens => (7, 0),
            SealedTable::Callers | SealedTable::CallerKeys | SealedTable::Feed => (1, 0),
            SealedTable::Messages => (1, 1),
            SealedTable::FeedEntries => (1, 0),
        };
        assert_eq!((renewed, refused), expected, "{table:?}");
        assert!(steps > (renewed + refused) / 3, "{table:?} in steps of two: {steps}");
        let left = store
            .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.rows_sealed_with(table, old).await)
            .await;
        assert_eq!(left.expect("`rows_sealed_with` succeeds"), refused, "{table:?}");
    }
    assert_eq!(sealed_with(&fixture, "workspaces").await, *b"10011101");
    assert!(retire(&store, old).await);
    store.refresh_keys().await.expect("`refresh_keys` succeeds");
    for id in ids {
        let read = store.workspace(&workspace_id(id)).await;
        match id {
            "a1" | "a2" | "a6" => assert!(matches!(read, Err(StoreError::Tampered { .. })), "{id}: {read:?}"),
            _ => assert!(read.expect("the row is sealed again").is_some(), "{id}"),
        }
    }
    let tokens = store
        .list_tokens(&workspace_id("a0"), None, 10)
        .await
        .expect("`list_tokens` succeeds")
        .expect("the row exists")
        .tokens;
    assert!(
        tokens.iter().all(Result::is_ok) && tokens.len() == 1,
        "the token of the retired key is still listed"
    );
}

async fn a_retired_key_stays_retired(fixture: Fixture) {
    let first = fixture.initialized().await;
    let (roots, kid) = with_second_key(&fixture, &first).await;
    let (store, old) = (opened_with(&fixture, &roots).await, fixture.ring.active_kid());
    assert!(!retire(&store, old).await, "the key is active");
    assert!(activate(&store, kid).await && retire(&store, old).await && !retire(&store, old).await);
    assert!(!activate(&store, old).await);
    store.refresh_keys().await.expect("`refresh_keys` succeeds");
    assert_eq!(
        (store.keys().active_kid(), store.wrong_keys()),
        (kid, None),
        "the failed attempt changed nothing"
    );
}
