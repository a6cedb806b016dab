//! Changes: what is taken stays, what changed meanwhile is not overwritten, what fails leaves nothing.

use tokend_core::{
    credential::CredentialId,
    ending::{Ending, Place},
    name::CallerKeyName,
    text::Reason,
    token::Revocation,
    workspace::{Workspace, WorkspaceState},
};
use tokend_store::{Insert, RecordedRequest, RequestKey, StoreError};

use crate::support::{
    Fixture, after, caller, insert_caller, insert_caller_key, insert_token, insert_workspace, on_both, only_on, workspace,
    workspace_id,
};

on_both!(
    what_is_taken_stays,
    a_row_needs_its_parent,
    a_change_loses_where_the_row_changed,
    a_revocation_is_never_replaced,
    a_key_is_revoked_once,
    a_workspace_change_loses_where_the_row_changed,
    a_failed_write_leaves_nothing,
    a_deleted_caller_takes_its_keys_along,
    what_ends_takes_a_revision_and_a_line,
    advancing_takes_one_revision,
);
only_on!(postgres_alone, Postgres: an_ignored_failure_is_not_committed);

async fn what_is_taken_stays(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let acme = workspace("acme", now);
    assert_eq!(insert_workspace(&store, &acme).await, Insert::Done);
    let other = Workspace { state: WorkspaceState::Active, ..acme.clone() };
    assert_eq!(insert_workspace(&store, &other).await, Insert::Taken);
    assert_eq!(store.workspace(&acme.id).await.expect("it works").expect("it is there").workspace, acme);

    let token = fixture.token(&acme.id, now);
    assert_eq!(insert_token(&store, &token).await, Insert::Done);
    let mut same_id = fixture.token(&acme.id, now);
    same_id.name.id = token.name.id;
    assert_eq!(insert_token(&store, &same_id).await, Insert::Taken);
    // Not in another workspace either.
    assert_eq!(insert_workspace(&store, &workspace("globex", now)).await, Insert::Done);
    same_id.name.workspace = workspace_id("globex");
    assert_eq!(insert_token(&store, &same_id).await, Insert::Taken);
    assert_eq!(store.token(&token.name).await.expect("it works").expect("it is there").token, token);
    assert_eq!(fixture.column::<i64>("SELECT token_count FROM workspaces ORDER BY id").await, [1, 0]);

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
    assert_eq!(insert_token(&store, &fixture.token(&workspace_id("acme"), now)).await, Insert::NoParent);
    assert_eq!(insert_caller_key(&store, &fixture.caller_key(&caller("ci", now))).await, Insert::NoParent);
    assert_eq!(fixture.number("SELECT count(*) FROM tokens").await, 0);
}

fn revocation(fixture_time: tokend_core::time::Timestamp, reason: &str) -> Revocation {
    Revocation { at: fixture_time, by: "root".parse().expect("an id"), reason: Reason::new(reason.to_owned()).expect("short") }
}

async fn a_change_loses_where_the_row_changed(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    let token = fixture.token(&workspace_id("acme"), now);
    assert_eq!(insert_token(&store, &token).await, Insert::Done);

    let key = fixture.column::<Vec<u8>>("SELECT id FROM caller_keys").await.remove(0);
    let key =
        CallerKeyName { caller: "root".parse().expect("an id"), id: CredentialId::from_bytes(key.try_into().expect("12 bytes")) };
    let key = store.write::<_, StoreError, _>(move |tx| Box::pin(async move { tx.caller_key(&key).await })).await;
    let key = key.expect("it works").expect("it is there");
    fixture.sql(&format!("UPDATE caller_keys SET mac = {}", fixture.bytes(&[1; 34]))).await;
    let lost = store.write::<_, StoreError, _>(move |tx| Box::pin(async move { tx.revoke_caller_key(&key, now).await })).await;
    assert_eq!(lost.expect("it works"), None);

    let name = token.name.clone();
    let read = store.write::<_, StoreError, _>(move |tx| Box::pin(async move { tx.token(&name).await })).await;
    let read = read.expect("it works").expect("it is there");
    // Only the MAC differs: nothing else could tell that the row is another.
    fixture.sql(&format!("UPDATE tokens SET mac = {}", fixture.bytes(&[1; 34]))).await;
    let lost = store
        .write::<_, StoreError, _>(move |tx| Box::pin(async move { tx.revoke_token(&read, revocation(now, "late")).await }))
        .await;
    assert_eq!(lost.expect("it works"), None);
    assert_eq!(fixture.number("SELECT count(*) FROM tokens WHERE revoke_time IS NOT NULL").await, 0);
}

async fn a_revocation_is_never_replaced(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    let token = fixture.token(&workspace_id("acme"), now);
    assert_eq!(insert_token(&store, &token).await, Insert::Done);

    let name = token.name.clone();
    let ((first, again, stale), _) = store
        .write_advancing::<_, StoreError, _>(move |tx| {
            Box::pin(async move {
                let read = tx.token(&name).await?.expect("it is there");
                let first = tx.revoke_token(&read, revocation(now, "first")).await?.expect("nobody changed it");
                let again = tx.revoke_token(&first, revocation(after(now, 9), "second")).await?;
                let stale = tx.revoke_token(&read, revocation(after(now, 9), "third")).await?;
                Ok((first, again, stale))
            })
        })
        .await
        .expect("it works");
    assert_eq!((again, stale), (None, None));
    assert_eq!(first.revocation, Some(revocation(now, "first")));
    let stored = store.token(&token.name).await.expect("it works").expect("it is there");
    assert_eq!(stored.token, first.into_inner());
}

async fn a_key_is_revoked_once(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let ci = caller("ci", now);
    let key = fixture.caller_key(&ci);
    assert_eq!((insert_caller(&store, &ci).await, insert_caller_key(&store, &key).await), (Insert::Done, Insert::Done));
    let name = key.name.clone();
    let ((again, stale), _) = store
        .write_advancing::<_, StoreError, _>(move |tx| {
            Box::pin(async move {
                let read = tx.caller_key(&name).await?.expect("it is there");
                let first = tx.revoke_caller_key(&read, now).await?.expect("nobody changed it");
                Ok((tx.revoke_caller_key(&first, after(now, 9)).await?, tx.revoke_caller_key(&read, after(now, 9)).await?))
            })
        })
        .await
        .expect("it works");
    assert_eq!((again, stale), (None, None));
    let presented = store.presented_caller_key(key.name.id).await.expect("it works").expect("it is there");
    assert_eq!(presented.key.revoke_time, Some(now));
}

async fn a_workspace_change_loses_where_the_row_changed(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let acme = workspace("acme", now);
    assert_eq!(insert_workspace(&store, &acme).await, Insert::Done);
    assert_eq!(insert_token(&store, &fixture.token(&acme.id, now)).await, Insert::Done);
    let deleted = Workspace { state: WorkspaceState::Deleted { at: now }, ..acme.clone() };
    let resumed = Workspace { state: WorkspaceState::Active, ..acme.clone() };
    let foreign = workspace("globex", now);
    let changed = deleted.clone();
    let ((done, stale, moved), _) = store
        .write_advancing::<_, StoreError, _>(move |tx| {
            Box::pin(async move {
                let read = tx.lock_workspace(&acme.id).await?.expect("it is there");
                let moved = tx.update_workspace(&read, foreign).await?;
                let done = tx.update_workspace(&read, changed).await?;
                let stale = tx.update_workspace(&read, resumed).await?;
                Ok((done, stale, moved))
            })
        })
        .await
        .expect("it works");
    assert_eq!((stale, moved), (None, None));
    assert_eq!(done.expect("nobody changed it").into_inner(), deleted);
    let stored = store.workspace(&deleted.id).await.expect("it works").expect("it is there");
    // What it has is still counted; none of it works.
    assert_eq!((stored.workspace, stored.active_token_count), (deleted, 0));
    assert_eq!(fixture.number("SELECT token_count FROM workspaces").await, 1);
}

#[derive(Debug)]
enum Refusal {
    Unwanted,
    Store,
}

impl From<StoreError> for Refusal {
    fn from(_: StoreError) -> Self {
        Self::Store
    }
}

async fn a_failed_write_leaves_nothing(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let acme = workspace("acme", now);
    let refused = store
        .write_advancing::<(), Refusal, _>(move |tx| {
            Box::pin(async move {
                assert_eq!(tx.insert_workspace(&acme).await?, Insert::Done);
                Err(Refusal::Unwanted)
            })
        })
        .await;
    assert!(matches!(refused, Err(Refusal::Unwanted)), "{refused:?}");
    assert!(store.workspace(&workspace_id("acme")).await.expect("it works").is_none());
    assert_eq!(fixture.number("SELECT revision FROM feed").await, 0);
}

async fn a_deleted_caller_takes_its_keys_along(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let ci = caller("ci", now);
    let key = fixture.caller_key(&ci);
    assert_eq!((insert_caller(&store, &ci).await, insert_caller_key(&store, &key).await), (Insert::Done, Insert::Done));
    let id = ci.id.clone();
    let deleted = store
        .write_advancing::<_, StoreError, _>(move |tx| {
            Box::pin(async move { Ok([tx.delete_caller(&id).await?, tx.delete_caller(&id).await?]) })
        })
        .await;
    assert_eq!(deleted.expect("it works").0, [Some(ci.clone()), None]);
    assert!(store.presented_caller_key(key.name.id).await.expect("it works").is_none());
    assert!(store.caller(&ci.id).await.expect("it works").is_none());
    // The first caller is still there.
    assert_eq!(fixture.number("SELECT count(*) FROM caller_keys").await, 1);
}

async fn what_ends_takes_a_revision_and_a_line(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let (one, other) = (caller("one", now), caller("other", now));
    for caller in [&one, &other] {
        assert_eq!(insert_caller(&store, caller).await, Insert::Done);
    }
    let id = one.id.clone();
    let quiet = store.write::<_, StoreError, _>(move |tx| Box::pin(async move { tx.delete_caller(&id).await })).await;
    assert!(matches!(quiet, Err(StoreError::Refused { .. })), "{quiet:?}");
    assert!(store.caller(&one.id).await.expect("it works").is_some(), "nobody would learn of it");
    assert_eq!((store.last_ending().await.expect("it works"), store.endings_after(0, 9).await.expect("it works")), (None, vec![]));

    let ids = [one.id.clone(), other.id.clone()];
    let both = store.write_advancing::<_, StoreError, _>(move |tx| {
        Box::pin(async move {
            for id in &ids {
                tx.delete_caller(id).await?;
            }
            Ok(())
        })
    });
    let ((), revision) = both.await.expect("it works");
    let endings = store.endings_after(0, 9).await.expect("it works");
    assert_eq!(store.last_ending().await.expect("it works").as_ref(), endings.last());
    for ((caller, ending), position) in [&one, &other].into_iter().zip(&endings).zip(1..) {
        let (place, read) = fixture.ring.read_ending(&ending.line).expect("it is ours");
        assert_eq!((place, ending.place), (Place { epoch: revision.epoch, position }, place));
        assert!(matches!(&read, Ending::Caller { id, create_time, .. } if *id == caller.id && *create_time == now), "{read:?}");
    }
    assert_eq!(store.endings_after(1, 9).await.expect("it works"), endings[1..]);
}

async fn advancing_takes_one_revision(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    assert_eq!(insert_workspace(&store, &workspace("acme", now)).await, Insert::Done);
    assert_eq!(insert_token(&store, &fixture.token(&workspace_id("acme"), now)).await, Insert::Done);
    assert_eq!(fixture.number("SELECT revision FROM feed").await, 0);
    for expected in 1..=3 {
        let ((), revision) = store.write_advancing::<_, StoreError, _>(|_| Box::pin(async { Ok(()) })).await.expect("it works");
        assert_eq!(revision.number, expected);
        assert_eq!(i64::try_from(revision.epoch).expect("63 bits"), fixture.number("SELECT epoch FROM feed").await);
    }
}

async fn an_ignored_failure_is_not_committed(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let acme = workspace("acme", now);
    let token = fixture.token(&acme.id, now).name.id;
    let refused = store
        .write::<(), StoreError, _>(move |tx| {
            Box::pin(async move {
                assert_eq!(tx.insert_workspace(&acme).await?, Insert::Done);
                // PostgreSQL keeps no text with a zero in it.
                let key = RequestKey {
                    caller: "ci".parse().expect("an id"),
                    rpc: "CreateToken",
                    parent: acme.id.name(),
                    request_id: "\0".to_owned(),
                };
                let ignored = tx.record_request(&key, &RecordedRequest { digest: [0; 32], token, create_time: now }).await;
                assert!(matches!(ignored, Err(StoreError::Refused { .. })), "{ignored:?}");
                Ok(())
            })
        })
        .await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    assert!(store.workspace(&workspace_id("acme")).await.expect("it works").is_none());
}
