//! Keys change over for all servers at once: what a write seals is sealed with the key that is active in it, and nothing holds on to a
//! key that is retired.

use std::{sync::Arc, time::Duration};

use tokend_core::{
    caller::CallerKey,
    credential::Kid,
    keyring::{KeyState, KnownKey, RootKeys, WrongKeys},
    policy::PolicyState,
    text::Reason,
    token::{Expiry, Revocation, Token},
    webhook::Message,
    workspace::{Workspace, WorkspaceState},
};
use tokend_store::{Insert, OpenError, SealedTable, Store, StoreError, WriteTx, migrate};
use tokio::time::timeout;

use crate::support::{
    Fixture, after, caller, insert_caller, insert_caller_key, insert_token, insert_workspace, on_both, random, workspace,
    workspace_id,
};

on_both!(
    a_write_seals_with_the_key_that_is_active_in_it,
    a_change_of_keys_waits_for_the_writes_under_way,
    a_credential_of_a_retired_key_is_not_stored,
    what_another_key_sealed_is_not_called_tampered,
    roots_can_be_replaced_while_open,
    renewing_leaves_nothing_but_what_was_tampered_with,
    what_is_alive_is_counted,
    a_retired_key_stays_retired,
    a_schema_from_before_states,
);

/// The fixture's key and another one, which the database knows as one that verifies.
async fn with_second_key(fixture: &Fixture, store: &Store) -> (Arc<RootKeys>, Kid) {
    let (roots, kid) = fixture.roots.with_new_key(&[], &mut random()).expect("randomness");
    let (_, fingerprint) = roots.fingerprints().last().expect("two keys");
    let key = KnownKey { kid, fingerprint, state: KeyState::Verifies };
    let added = store.write_keys::<_, StoreError, _>(move |tx| Box::pin(async move { tx.insert_key(&key).await })).await;
    assert_eq!(added.expect("it works"), Insert::Done);
    (Arc::new(roots), kid)
}

async fn opened_with(fixture: &Fixture, roots: &Arc<RootKeys>) -> Store {
    Store::open(&fixture.settings, Arc::clone(roots), fixture.clock()).await.expect("it has every key")
}

async fn activate(store: &Store, kid: Kid) -> bool {
    store.write_keys::<_, StoreError, _>(move |tx| Box::pin(tx.activate_key(kid))).await.expect("it works")
}

async fn retire(store: &Store, kid: Kid) -> bool {
    store.write_keys::<_, StoreError, _>(move |tx| Box::pin(tx.retire_key(kid))).await.expect("it works")
}

/// The keys that rows of `table` are sealed with, as digits.
async fn sealed_with(fixture: &Fixture, table: &str) -> Vec<u8> {
    let macs: Vec<Vec<u8>> = fixture.column(&format!("SELECT mac FROM {table} ORDER BY id")).await;
    macs.into_iter().map(|mac| mac[1]).collect()
}

async fn a_write_seals_with_the_key_that_is_active_in_it(fixture: Fixture) {
    let first = fixture.initialized().await;
    let (roots, kid) = with_second_key(&fixture, &first).await;
    let (server, command) = (opened_with(&fixture, &roots).await, opened_with(&fixture, &roots).await);
    let now = server.now().await.expect("time");
    assert_eq!(insert_workspace(&server, &workspace("acme", now)).await, Insert::Done);
    assert!(activate(&command, kid).await && !activate(&command, kid).await, "once");
    // The server has not asked since.
    assert_eq!(server.keys().active_kid(), fixture.ring.active_kid());
    assert_eq!(insert_workspace(&server, &workspace("globex", now)).await, Insert::Done);
    assert_eq!(sealed_with(&fixture, "workspaces").await, *b"01");
    for id in ["acme", "globex"] {
        server.workspace(&workspace_id(id)).await.expect("both keys verify").expect("it is there");
    }
    server.refresh_keys().await.expect("it works");
    assert_eq!((server.keys().active_kid(), server.wrong_keys()), (kid, None));
    // And back.
    assert!(activate(&command, fixture.ring.active_kid()).await);
    let states: Vec<_> = command.stored_keys().await.expect("it works").iter().map(|stored| stored.key.state).collect();
    assert_eq!(states, [KeyState::Active, KeyState::Verifies]);
}

async fn a_change_of_keys_waits_for_the_writes_under_way(fixture: Fixture) {
    let first = fixture.initialized().await;
    let (roots, kid) = with_second_key(&fixture, &first).await;
    let (server, command) = (opened_with(&fixture, &roots).await, opened_with(&fixture, &roots).await);
    let acme = workspace("acme", server.now().await.expect("time"));
    let (sealed, is_sealed) = tokio::sync::oneshot::channel();
    let (go_on, mut may_go_on) = tokio::sync::oneshot::channel::<()>();
    let writing = async move |tx: &WriteTx| {
        let inserted = tx.insert_workspace(&acme).await;
        sealed.send(()).expect("the test waits");
        // PostgreSQL would end a transaction in which nothing happens.
        while timeout(Duration::from_millis(100), &mut may_go_on).await.is_err() {
            tx.now().await?;
        }
        inserted
    };
    let write =
        tokio::spawn(async move { server.write::<_, StoreError, _>(move |tx| Box::pin(async move { writing(tx).await })).await });
    is_sealed.await.expect("it is sealed");
    let activating = tokio::spawn(async move { activate(&command, kid).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!activating.is_finished(), "the old key is still being used");
    go_on.send(()).expect("it waits");
    assert_eq!(write.await.expect("it ends").expect("it works"), Insert::Done);
    assert!(activating.await.expect("it ends"));
    assert_eq!(sealed_with(&fixture, "workspaces").await, *b"0");
}

async fn a_credential_of_a_retired_key_is_not_stored(fixture: Fixture) {
    let first = fixture.initialized().await;
    let (roots, kid) = with_second_key(&fixture, &first).await;
    let store = opened_with(&fixture, &roots).await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    // Minted before, stored after: it could never be used.
    let (token, key) = (fixture.token(&workspace_id("acme"), now), fixture.caller_key(&caller("root", now)));
    let old = fixture.ring.active_kid();
    assert!(activate(&store, kid).await && retire(&store, old).await);
    let inserted = store.write::<_, StoreError, _>(move |tx| Box::pin(async move { tx.insert_token(&token).await })).await;
    let inserted_key = store.write::<_, StoreError, _>(move |tx| Box::pin(async move { tx.insert_caller_key(&key).await })).await;
    for inserted in [inserted, inserted_key] {
        // The caller of the key is sealed with the retired key itself.
        let is_refused = matches!(&inserted, Err(StoreError::WrongKeys { problem: WrongKeys::Retired(kid) }) if *kid == old)
            || matches!(&inserted, Err(StoreError::Tampered { table: "callers", .. }));
        assert!(is_refused, "{inserted:?}");
    }
    assert_eq!(fixture.number("SELECT count(*) FROM tokens").await, 0);
}

async fn what_another_key_sealed_is_not_called_tampered(fixture: Fixture) {
    let behind = fixture.initialized().await;
    let now = behind.now().await.expect("time");
    let (roots, kid) = with_second_key(&fixture, &behind).await;
    let ahead = opened_with(&fixture, &roots).await;
    assert!(activate(&ahead, kid).await);
    assert_eq!(insert_workspace(&ahead, &workspace("acme", now)).await, Insert::Done);

    behind.refresh_keys().await.expect("it works");
    assert_eq!((behind.wrong_keys(), behind.keys().lacked()), (Some(WrongKeys::Lacks(kid)), &[kid][..]));
    let lacks = |error: &StoreError| matches!(error, StoreError::WrongKeys { problem: WrongKeys::Lacks(lacked) } if *lacked == kid);
    let read = behind.workspace(&workspace_id("acme")).await.expect_err("it can't tell");
    // A list without it would say that it is not there.
    let listed = behind.list_workspaces(None, 10).await.expect_err("it can't tell");
    let globex = workspace("globex", now);
    let written = behind.write::<_, StoreError, _>(move |tx| Box::pin(async move { tx.insert_workspace(&globex).await })).await;
    for error in [read, listed, written.expect_err("it can't seal")] {
        assert!(lacks(&error), "{error:?}");
    }
    assert!(behind.refused_rows().all(|(_, count)| count == 0), "nobody tampered with anything");
    // What the keys at hand sealed can still be read.
    assert!(behind.caller(&"root".parse().expect("an id")).await.expect("it can").is_some());
    let error = Store::open(&fixture.settings, Arc::clone(&fixture.roots), fixture.clock()).await.expect_err("it lacks a key");
    assert!(matches!(error, OpenError::WrongKeyRing { problem: WrongKeys::Lacks(lacked), .. } if lacked == kid), "{error:?}");
    assert!(Store::inspect(&fixture.settings, Arc::clone(&fixture.roots), fixture.clock()).await.is_ok(), "to look at");
}

async fn roots_can_be_replaced_while_open(fixture: Fixture) {
    let store = fixture.initialized().await;
    let (roots, kid) = with_second_key(&fixture, &store).await;
    store.refresh_keys().await.expect("it works");
    assert_eq!((store.keys().lacked(), store.wrong_keys()), (&[kid][..], None), "nobody signs with it");
    store.use_roots(roots);
    assert_eq!((store.keys().lacked(), store.wrong_keys()), (&[][..], None));
    assert!(activate(&store, kid).await);
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    // Another installation's file in its place is told, and leaves what is known in use.
    store.use_roots(crate::support::new_roots());
    assert_eq!(store.wrong_keys(), Some(WrongKeys::Differs(fixture.ring.active_kid())));
    assert!(store.workspace(&workspace_id("acme")).await.expect("it can still be read").is_some());
}

async fn renewing_leaves_nothing_but_what_was_tampered_with(fixture: Fixture) {
    let first = fixture.initialized().await;
    let (roots, kid) = with_second_key(&fixture, &first).await;
    let (store, old) = (opened_with(&fixture, &roots).await, fixture.ring.active_kid());
    let now = store.now().await.expect("time");
    let ids = ["a0", "a1", "a2", "a3", "a4", "a5", "a6"];
    for id in ids {
        assert_eq!(insert_workspace(&store, &workspace(id, now)).await, Insert::Done);
        assert_eq!(insert_token(&store, &fixture.token(&workspace_id(id), now)).await, Insert::Done);
    }
    for id in ["m0", "m1"] {
        let message = Message { id: id.parse().expect("an id"), event: id.into(), subject: id.into(), payload: id.into() };
        let enqueued = store.write::<_, StoreError, _>(move |tx| Box::pin(async move { tx.enqueue(&message).await })).await;
        assert_eq!(enqueued.expect("it works"), Insert::Done);
    }
    assert!(activate(&store, kid).await);
    assert_eq!(insert_workspace(&store, &workspace("a7", now)).await, Insert::Done);
    fixture.sql("UPDATE webhook_outbox SET payload = 'm2' WHERE id = 'm1'").await;
    fixture.sql("UPDATE workspaces SET create_time = create_time + 1 WHERE id IN ('a1', 'a2', 'a6')").await;

    for table in SealedTable::ALL {
        let (mut renewed, mut refused, mut after, mut steps) = (0, 0, None, 0);
        loop {
            let from = after.take();
            let step = store.write::<_, StoreError, _>(move |tx| Box::pin(async move { tx.renew_macs(table, old, from, 2).await }));
            let step = step.await.expect("it works");
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
        };
        assert_eq!((renewed, refused), expected, "{table:?}");
        assert!(steps > (renewed + refused) / 3, "{table:?} in steps of two: {steps}");
        let left = store.write::<_, StoreError, _>(move |tx| Box::pin(tx.rows_sealed_with(table, old))).await;
        assert_eq!(left.expect("it works"), refused, "{table:?}");
    }
    assert_eq!(sealed_with(&fixture, "workspaces").await, *b"10011101");
    assert!(retire(&store, old).await);
    store.refresh_keys().await.expect("it works");
    for id in ids {
        let read = store.workspace(&workspace_id(id)).await;
        match id {
            "a1" | "a2" | "a6" => assert!(matches!(read, Err(StoreError::Tampered { .. })), "{id}: {read:?}"),
            _ => assert!(read.expect("it is sealed anew").is_some(), "{id}"),
        }
    }
    let tokens = store.list_tokens(&workspace_id("a0"), None, 10).await.expect("it works").expect("it is there").tokens;
    assert!(tokens.iter().all(Result::is_ok) && tokens.len() == 1, "made with the retired key, and still shown");
}

async fn what_is_alive_is_counted(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let active = Workspace { state: WorkspaceState::Active, ..workspace("acme", now) };
    let deleted = Workspace { state: WorkspaceState::Deleted { at: now }, ..workspace("globex", now) };
    for workspace in [&active, &deleted] {
        assert_eq!(insert_workspace(&store, workspace).await, Insert::Done);
    }
    let kid = fixture.ring.active_kid();
    let live = async || {
        let live = store.live_credentials(kid).await.expect("it works");
        (live.tokens, live.caller_keys, live.until)
    };
    // The first caller's key.
    let key_end = after(now, 3_600);
    let first = live().await;
    assert!(matches!(first, (0, 1, Some(Expiry::At(_)))), "{first:?}");
    fixture.sql("DELETE FROM caller_keys").await;
    assert_eq!(live().await, (0, 0, None));
    let token = |workspace: &Workspace, own_expiry| Token { own_expiry, ..fixture.token(&workspace.id, now) };
    let revocation = Revocation { at: now, by: "root".parse().expect("an id"), reason: Reason::new(String::new()).expect("short") };
    for dead in [
        token(&active, Expiry::At(now)),
        token(&deleted, Expiry::Never),
        Token { revocation: Some(revocation), ..token(&active, Expiry::Never) },
    ] {
        assert_eq!(insert_token(&store, &dead).await, Insert::Done);
        assert_eq!(live().await, (0, 0, None), "{dead:?}");
    }
    let ci = caller("ci", now);
    assert_eq!(insert_caller(&store, &ci).await, Insert::Done);
    for dead in
        [CallerKey { expire_time: now, ..fixture.caller_key(&ci) }, CallerKey { revoke_time: Some(now), ..fixture.caller_key(&ci) }]
    {
        assert_eq!(insert_caller_key(&store, &dead).await, Insert::Done);
        assert_eq!(live().await, (0, 0, None), "{dead:?}");
    }
    assert_eq!(insert_token(&store, &token(&active, Expiry::At(after(now, 60)))).await, Insert::Done);
    assert_eq!(live().await, (1, 0, Some(Expiry::At(after(now, 60)))));
    assert_eq!(insert_caller_key(&store, &fixture.caller_key(&ci)).await, Insert::Done);
    assert_eq!(live().await, (1, 1, Some(Expiry::At(key_end))));
    assert_eq!(insert_token(&store, &token(&active, Expiry::Never)).await, Insert::Done);
    assert_eq!(live().await, (2, 1, Some(Expiry::Never)));
    // Of another key none is.
    let other = store.live_credentials("Z".parse().expect("a kid")).await.expect("it works");
    assert_eq!((other.tokens, other.caller_keys, other.until), (0, 0, None));
}

async fn a_retired_key_stays_retired(fixture: Fixture) {
    let first = fixture.initialized().await;
    let (roots, kid) = with_second_key(&fixture, &first).await;
    let (store, old) = (opened_with(&fixture, &roots).await, fixture.ring.active_kid());
    assert!(!retire(&store, old).await, "it is the active one");
    assert!(activate(&store, kid).await && retire(&store, old).await && !retire(&store, old).await);
    assert!(!activate(&store, old).await);
    store.refresh_keys().await.expect("it works");
    assert_eq!((store.keys().active_kid(), store.wrong_keys()), (kid, None), "the attempt took nothing away");
}

async fn a_schema_from_before_states(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let acme = Workspace { organization: None, policy: PolicyState::default(), ..workspace("acme", now) };
    assert_eq!(insert_workspace(&store, &acme).await, Insert::Done);
    assert_eq!(insert_token(&store, &fixture.token(&acme.id, now)).await, Insert::Done);
    store.close().await;
    fixture.forget_seal().await;
    let forget = "DROP INDEX keyring_keys_one_active; ALTER TABLE keyring_keys DROP COLUMN state; \
                  ALTER TABLE keyring_keys DROP COLUMN activate_time; ALTER TABLE keyring_keys DROP COLUMN retire_time; \
                  DROP TABLE endings; DROP TABLE organizations; DROP TABLE webhook_outbox; DROP TABLE token_notices; \
                  DROP TABLE token_usage; DROP TABLE caller_key_usage; DROP TABLE caller_key_notices; DROP TABLE notice_plans; \
                  DROP INDEX tokens_by_revoke_time; DROP INDEX workspaces_deleted; \
                  ALTER TABLE tokens DROP COLUMN requested_expire_time; \
                  ALTER TABLE tokens DROP COLUMN rotated_from; ALTER TABLE tokens DROP COLUMN rotated_to; \
                  DROP INDEX workspaces_by_organization; ALTER TABLE workspaces DROP COLUMN policy; \
                  ALTER TABLE workspaces DROP COLUMN policy_update_time; ALTER TABLE workspaces DROP COLUMN policy_deadlines; \
                  ALTER TABLE feed DROP COLUMN last_ending; ALTER TABLE feed DROP COLUMN restoring; \
                  ALTER TABLE feed DROP COLUMN mac; ALTER TABLE audit_chains DROP COLUMN is_feed_sealed; \
                  DELETE FROM tokend_migrations WHERE version >= 4";
    fixture.sql(forget).await;
    assert!(!migrate(&fixture.settings).await.expect("it can be migrated").is_behind());
    let store = fixture.open().await;
    let stored = store.stored_keys().await.expect("it works");
    let [stored] = &stored[..] else { panic!("one key: {stored:?}") };
    assert_eq!((stored.key.state, stored.activate_time), (KeyState::Active, Some(stored.create_time)));
    assert!(store.workspace(&workspace_id("acme")).await.expect("it is intact").is_some());
    assert_eq!(store.due_notices(None, 2).await.expect("it works").tokens.len(), 1, "what is to be told of its end is found out");
    assert_eq!(store.due_key_notices(None, 2).await.expect("it works").keys.len(), 1, "so it is of the first caller's key");
}
