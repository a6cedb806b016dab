//! The store counts the live credentials of a key.

use tokend_core::{
    caller::CallerKey,
    text::Reason,
    token::{Expiry, Revocation, Token},
    workspace::{Workspace, WorkspaceState},
};
use tokend_store::Insert;
use tokend_test_support::on_both_databases;

use crate::support::{
    Fixture, after, caller, insert_caller, insert_caller_key, insert_token, insert_workspace, workspace,
};

on_both_databases!(live_credentials_are_counted);

async fn live_credentials_are_counted(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let active = Workspace {
        state: WorkspaceState::Active,
        ..workspace("acme", now)
    };
    let deleted = Workspace {
        state: WorkspaceState::Deleted { at: now },
        ..workspace("globex", now)
    };
    for workspace in [&active, &deleted] {
        assert_eq!(insert_workspace(&store, workspace).await, Insert::Done);
    }
    let kid = fixture.ring.active_kid();
    let live = async || {
        let live = store.live_credentials(kid).await.expect("`live_credentials` succeeds");
        (live.tokens, live.caller_keys, live.until)
    };
    // Only the key of the first caller is live.
    let key_end = after(now, 3_600);
    let first = live().await;
    assert!(matches!(first, (0, 1, Some(Expiry::At(_)))), "{first:?}");
    fixture.sql("DELETE FROM caller_keys").await;
    assert_eq!(live().await, (0, 0, None));
    let token = |workspace: &Workspace, own_expiry| Token {
        own_expiry,
        ..fixture.token(&workspace.id, now)
    };
    let revocation = Revocation {
        at: now,
        by: "root".parse().expect("an id"),
        reason: Reason::new(String::new()).expect("short"),
    };
    for dead in [
        token(&active, Expiry::At(now)),
        token(&deleted, Expiry::Never),
        Token {
            revocation: Some(revocation),
            ..token(&active, Expiry::Never)
        },
    ] {
        assert_eq!(insert_token(&store, &dead).await, Insert::Done);
        assert_eq!(live().await, (0, 0, None), "{dead:?}");
    }
    let ci = caller("ci", now);
    assert_eq!(insert_caller(&store, &ci).await, Insert::Done);
    for dead in [
        CallerKey {
            expire_time: now,
            ..fixture.caller_key(&ci)
        },
        CallerKey {
            revoke_time: Some(now),
            ..fixture.caller_key(&ci)
        },
    ] {
        assert_eq!(insert_caller_key(&store, &dead).await, Insert::Done);
        assert_eq!(live().await, (0, 0, None), "{dead:?}");
    }
    assert_eq!(
        insert_token(&store, &token(&active, Expiry::At(after(now, 60)))).await,
        Insert::Done
    );
    assert_eq!(live().await, (1, 0, Some(Expiry::At(after(now, 60)))));
    assert_eq!(insert_caller_key(&store, &fixture.caller_key(&ci)).await, Insert::Done);
    assert_eq!(live().await, (1, 1, Some(Expiry::At(key_end))));
    assert_eq!(insert_token(&store, &token(&active, Expiry::Never)).await, Insert::Done);
    assert_eq!(live().await, (2, 1, Some(Expiry::Never)));
    // Another key has no live credentials.
    let other = store
        .live_credentials("Z".parse().expect("a kid"))
        .await
        .expect("`live_credentials` succeeds");
    assert_eq!((other.tokens, other.caller_keys, other.until), (0, 0, None));
}
