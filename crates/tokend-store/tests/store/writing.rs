//! A write never replaces an existing row with the same id or overwrites a concurrent change.

use tokend_core::{
    credential::CredentialId,
    name::CallerKeyName,
    revocation::{Place, RevocationRecord},
    text::Reason,
    token::Revocation,
    workspace::{Workspace, WorkspaceState},
};
use tokend_store::{Insert, StoreError, WriteTx};
use tokend_test_support::on_both_databases;

use crate::support::{
    Fixture, after, caller, insert_caller, insert_caller_key, insert_token, insert_workspace, workspace, workspace_id,
};

on_both_databases!(
    an_insert_does_not_replace_a_row,
    a_row_needs_its_parent,
    a_change_fails_if_the_row_has_changed,
    a_revocation_is_never_replaced,
    a_key_is_revoked_once,
    a_workspace_change_fails_if_the_row_has_changed,
    deleting_a_caller_deletes_its_keys,
    a_revocation_has_a_revision_and_a_feed_row,
    an_advancing_write_takes_one_revision,
);

async fn an_insert_does_not_replace_a_row(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let acme = workspace("acme", now);
    assert_eq!(insert_workspace(&store, &acme).await, Insert::Done);
    let other = Workspace {
        state: WorkspaceState::Active,
        ..acme.clone()
    };
    assert_eq!(insert_workspace(&store, &other).await, Insert::Taken);
    assert_eq!(
        store
            .workspace(&acme.id)
            .await
            .expect("`workspace` succeeds")
            .expect("the row exists")
            .workspace,
        acme
    );

    let token = fixture.token(&acme.id, now);
    assert_eq!(insert_token(&store, &token).await, Insert::Done);
    let mut same_id = fixture.token(&acme.id, now);
    same_id.name.id = token.name.id;
    assert_eq!(insert_token(&store, &same_id).await, Insert::Taken);
    // Also in another workspace.
    assert_eq!(insert_workspace(&store, &workspace("globex", now)).await, Insert::Done);
    same_id.name.workspace = workspace_id("globex");
    assert_eq!(insert_token(&store, &same_id).await, Insert::Taken);
    assert_eq!(
        store
            .token(&token.name)
            .await
            .expect("`token` succeeds")
            .expect("the row exists")
            .token,
        token
    );
    assert_eq!(
        fixture
            .column::<i64>("SELECT token_count FROM workspaces ORDER BY id")
            .await,
        [1, 0]
    );

    let ci = caller("ci", now);
    assert_eq!(insert_caller(&store, &ci).await, Insert::Done);
    assert_eq!(insert_caller(&store, &ci).await, Insert::Taken);
    let key = fixture.caller_key(&ci);
    assert_eq!(insert_caller_key(&store, &key).await, Insert::Done);
    assert_eq!(insert_caller_key(&store, &key).await, Insert::Taken);
}

async fn a_row_needs_its_parent(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(
        insert_token(&store, &fixture.token(&workspace_id("acme"), now)).await,
        Insert::NoParent
    );
    assert_eq!(
        insert_caller_key(&store, &fixture.caller_key(&caller("ci", now))).await,
        Insert::NoParent
    );
    assert_eq!(fixture.number("SELECT count(*) FROM tokens").await, 0);
}

fn revocation(fixture_time: tokend_core::time::Timestamp, reason: &str) -> Revocation {
    Revocation {
        at: fixture_time,
        by: "root".parse().expect("an id"),
        reason: Reason::new(reason.to_owned()).expect("short"),
    }
}

async fn a_change_fails_if_the_row_has_changed(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    let token = fixture.token(&workspace_id("acme"), now);
    assert_eq!(insert_token(&store, &token).await, Insert::Done);

    let key = fixture.column::<Vec<u8>>("SELECT id FROM caller_keys").await.remove(0);
    let key = CallerKeyName {
        caller: "root".parse().expect("an id"),
        id: CredentialId::from_bytes(key.try_into().expect("12 bytes")),
    };
    let key = store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.caller_key(&key).await)
        .await;
    let key = key.expect("`caller_key` succeeds").expect("the key exists");
    fixture
        .sql(&format!("UPDATE caller_keys SET mac = {}", fixture.bytes(&[1; 34])))
        .await;
    let lost = store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.revoke_caller_key(&key, now).await)
        .await;
    assert_eq!(lost.expect("`revoke_caller_key` succeeds"), None);

    let name = token.name.clone();
    let read = store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.token(&name).await)
        .await;
    let read = read.expect("`token` succeeds").expect("the token exists");
    // Only the MAC differs.
    fixture
        .sql(&format!("UPDATE tokens SET mac = {}", fixture.bytes(&[1; 34])))
        .await;
    let lost = store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.revoke_token(&read, revocation(now, "late")).await)
        .await;
    assert_eq!(lost.expect("`revoke_token` succeeds"), None);
    assert_eq!(
        fixture
            .number("SELECT count(*) FROM tokens WHERE revoke_time IS NOT NULL")
            .await,
        0
    );
}

async fn a_revocation_is_never_replaced(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    let token = fixture.token(&workspace_id("acme"), now);
    assert_eq!(insert_token(&store, &token).await, Insert::Done);

    let name = token.name.clone();
    let ((first, again, stale), _) = store
        .write_advancing::<_, StoreError, _>(async move |tx: &WriteTx| {
            let read = tx.token(&name).await?.expect("the token exists");
            let first = tx
                .revoke_token(&read, revocation(now, "first"))
                .await?
                .expect("the row is unchanged");
            let again = tx.revoke_token(&first, revocation(after(now, 9), "second")).await?;
            let stale = tx.revoke_token(&read, revocation(after(now, 9), "third")).await?;
            Ok((first, again, stale))
        })
        .await
        .expect("the write is committed");
    assert_eq!((again, stale), (None, None));
    assert_eq!(first.revocation, Some(revocation(now, "first")));
    let stored = store
        .token(&token.name)
        .await
        .expect("`token` succeeds")
        .expect("the row exists");
    assert_eq!(stored.token, first.into_inner());
}

async fn a_key_is_revoked_once(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let ci = caller("ci", now);
    let key = fixture.caller_key(&ci);
    assert_eq!(
        (insert_caller(&store, &ci).await, insert_caller_key(&store, &key).await),
        (Insert::Done, Insert::Done)
    );
    let name = key.name.clone();
    let ((again, stale), _) = store
        .write_advancing::<_, StoreError, _>(async move |tx: &WriteTx| {
            let read = tx.caller_key(&name).await?.expect("the key exists");
            let first = tx.revoke_caller_key(&read, now).await?.expect("the row is unchanged");
            Ok((
                tx.revoke_caller_key(&first, after(now, 9)).await?,
                tx.revoke_caller_key(&read, after(now, 9)).await?,
            ))
        })
        .await
        .expect("the write is committed");
    assert_eq!((again, stale), (None, None));
    let presented = store
        .caller_key_snapshot(key.name.id)
        .await
        .expect("`caller_key_snapshot` succeeds")
        .expect("the row exists");
    assert_eq!(presented.key.revoke_time, Some(now));
}

async fn a_workspace_change_fails_if_the_row_has_changed(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let acme = workspace("acme", now);
    assert_eq!(insert_workspace(&store, &acme).await, Insert::Done);
    assert_eq!(insert_token(&store, &fixture.token(&acme.id, now)).await, Insert::Done);
    let deleted = Workspace {
        state: WorkspaceState::Deleted { at: now },
        ..acme.clone()
    };
    let resumed = Workspace {
        state: WorkspaceState::Active,
        ..acme.clone()
    };
    let foreign = workspace("globex", now);
    let changed = deleted.clone();
    let ((done, stale, moved), _) = store
        .write_advancing::<_, StoreError, _>(async move |tx: &WriteTx| {
            let read = tx.lock_workspace(&acme.id).await?.expect("the workspace exists");
            let moved = tx.update_workspace(&read, foreign).await?;
            let done = tx.update_workspace(&read, changed).await?;
            let stale = tx.update_workspace(&read, resumed).await?;
            Ok((done, stale, moved))
        })
        .await
        .expect("the write is committed");
    assert_eq!((stale, moved), (None, None));
    assert_eq!(done.expect("the row is unchanged").into_inner(), deleted);
    let stored = store
        .workspace(&deleted.id)
        .await
        .expect("`workspace` succeeds")
        .expect("the row exists");
    // The tokens of the workspace still count, although none works.
    assert_eq!((stored.workspace, stored.active_token_count), (deleted, 0));
    assert_eq!(fixture.number("SELECT token_count FROM workspaces").await, 1);
}

async fn deleting_a_caller_deletes_its_keys(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let ci = caller("ci", now);
    let key = fixture.caller_key(&ci);
    assert_eq!(
        (insert_caller(&store, &ci).await, insert_caller_key(&store, &key).await),
        (Insert::Done, Insert::Done)
    );
    let id = ci.id.clone();
    let deleted = store
        .write_advancing::<_, StoreError, _>(async move |tx: &WriteTx| {
            Ok([tx.delete_caller(&id).await?, tx.delete_caller(&id).await?])
        })
        .await;
    assert_eq!(deleted.expect("`delete_caller` succeeds").0, [Some(ci.clone()), None]);
    assert!(
        store
            .caller_key_snapshot(key.name.id)
            .await
            .expect("`caller_key_snapshot` succeeds")
            .is_none()
    );
    assert!(store.caller(&ci.id).await.expect("`caller` succeeds").is_none());
    // The first caller still exists.
    assert_eq!(fixture.number("SELECT count(*) FROM caller_keys").await, 1);
}

async fn a_revocation_has_a_revision_and_a_feed_row(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let (one, other) = (caller("one", now), caller("other", now));
    for caller in [&one, &other] {
        assert_eq!(insert_caller(&store, caller).await, Insert::Done);
    }
    let id = one.id.clone();
    let quiet = store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.delete_caller(&id).await)
        .await;
    assert!(matches!(quiet, Err(StoreError::Refused { .. })), "{quiet:?}");
    assert!(
        store.caller(&one.id).await.expect("`caller` succeeds").is_some(),
        "a revocation needs a revision"
    );
    assert_eq!(
        (
            store.last_revocation().await.expect("`last_revocation` succeeds"),
            store.revocations_after(0, 9).await.expect("`last_revocation` succeeds")
        ),
        (None, vec![])
    );

    let ids = [one.id.clone(), other.id.clone()];
    let both = store.write_advancing::<_, StoreError, _>(async move |tx: &WriteTx| {
        for id in &ids {
            tx.delete_caller(id).await?;
        }
        Ok(())
    });
    let ((), committed) = both.await.expect("`delete_caller` succeeds");
    let endings = store
        .revocations_after(0, 9)
        .await
        .expect("`revocations_after` succeeds");
    assert_eq!(
        store
            .last_revocation()
            .await
            .expect("`last_revocation` succeeds")
            .as_ref(),
        endings.last()
    );
    for ((caller, ending), position) in [&one, &other].into_iter().zip(&endings).zip(1..) {
        let (place, read) = fixture.ring.read_revocation(&ending.line).expect("the line is intact");
        assert_eq!(
            (place, ending.place),
            (
                Place {
                    epoch: fixture.stored_epoch(committed.revision),
                    position
                },
                place
            )
        );
        assert!(
            matches!(&read, RevocationRecord::Caller { id, create_time, .. }
                if *id == caller.id && *create_time == now),
            "{read:?}"
        );
    }
    assert_eq!(
        store
            .revocations_after(1, 9)
            .await
            .expect("`revocations_after` succeeds"),
        endings[1..]
    );
}

async fn an_advancing_write_takes_one_revision(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    assert_eq!(
        insert_token(&store, &fixture.token(&workspace_id("acme"), now)).await,
        Insert::Done
    );
    assert_eq!(fixture.number("SELECT revision FROM feed").await, 0);
    for expected in 1..=3 {
        let ((), committed) = store
            .write_advancing::<_, StoreError, _>(async move |_: &WriteTx| Ok(()))
            .await
            .expect("the write is committed");
        assert_eq!(committed.revision.number, expected);
        assert_eq!(
            i64::try_from(fixture.stored_epoch(committed.revision)).expect("63 bits"),
            fixture.number("SELECT epoch FROM feed").await
        );
    }
}
