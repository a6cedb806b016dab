//! Every column of a stored row is read back unchanged.

use tokend_core::{
    address::AllowedAddresses,
    caller::{Role, WorkspaceAccess},
    labels::Labels,
    text::{Description, Reason},
    token::{Expiry, Revocation, Token},
    workspace::WorkspaceState,
};
use tokend_store::{CallerKeySnapshot, Insert, StoreError, WriteTx};
use tokend_test_support::on_both_databases;

use crate::support::{
    Fixture, after, caller, insert_caller, insert_caller_key, insert_organization, insert_token, insert_workspace,
    organization, workspace, workspace_id,
};

on_both_databases!(tokens, workspaces, organizations, callers, unknown_rows_are_not_found);

async fn tokens(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let acme = workspace("acme", now);
    assert_eq!(insert_workspace(&store, &acme).await, Insert::Done);

    let token_context = acme
        .token_context(Some(&organization("initech", now)))
        .expect("the workspace's organization");
    let full = fixture.token(&acme.id, now);
    let simple = Token {
        description: Description::new(String::new()).expect("empty is fine"),
        allowed_addresses: AllowedAddresses::Any,
        labels: Labels::default(),
        own_expiry: Expiry::Never,
        ..fixture.token(&acme.id, after(now, 1))
    };
    let revocation = Revocation {
        at: after(now, 2),
        by: "ci-gateway".parse().expect("an id"),
        reason: Reason::new(String::new()).expect("empty"),
    };
    let revoked = Token {
        revocation: Some(revocation),
        ..fixture.token(&acme.id, after(now, 2))
    };
    for token in [&full, &simple, &revoked] {
        assert_eq!(insert_token(&store, token).await, Insert::Done);
    }
    for token in [full, simple, revoked] {
        let stored = store
            .token(&token.name)
            .await
            .expect("the row is read")
            .expect("the row exists");
        assert_eq!((&stored.token, &stored.token_context), (&token, &token_context));
        assert!(stored.now >= now);
        let presented = store
            .token_snapshot(token.name.id)
            .await
            .expect("the row is read")
            .expect("the row exists");
        assert_eq!((&*presented.token, &presented.token_context), (&token, &token_context));
        assert_eq!(presented.revision.number, 0);
        assert!(i64::try_from(presented.revision.epoch).is_ok());
    }
    let stored = store
        .workspace(&acme.id)
        .await
        .expect("the row is read")
        .expect("the row exists");
    assert_eq!(stored.active_token_count, 2);
}

async fn workspaces(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    for (id, state, organization) in [
        ("active", WorkspaceState::Active, None),
        (
            "suspended",
            WorkspaceState::Suspended { at: after(now, 1) },
            Some("initech"),
        ),
        ("deleted", WorkspaceState::Deleted { at: after(now, 2) }, None),
    ] {
        let organization = organization.map(|id| id.parse().expect("an id"));
        let workspace = tokend_core::workspace::Workspace {
            state,
            organization,
            ..workspace(id, now)
        };
        assert_eq!(insert_workspace(&store, &workspace).await, Insert::Done);
        let stored = store
            .workspace(&workspace.id)
            .await
            .expect("the row is read")
            .expect("the row exists");
        assert_eq!((stored.workspace, stored.active_token_count), (workspace, 0));
    }
}

async fn organizations(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let initech = organization("initech", now);
    assert_eq!(insert_organization(&store, &initech).await, Insert::Done);
    assert_eq!(
        insert_organization(&store, &organization("initech", after(now, 1))).await,
        Insert::Taken
    );
    assert_eq!(
        store.organization(&initech.id).await.expect("the row is read"),
        Some(initech.clone())
    );
    let id = initech.id.clone();
    let in_write = store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.organization(&id).await)
        .await;
    assert_eq!(in_write.expect("`organization` succeeds"), Some(initech));
}

async fn callers(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    for (id, role, workspaces, sans) in [
        (
            "narrow",
            Role::WorkspaceAdmin,
            caller("any", now).workspaces,
            caller("any", now).certificate_sans,
        ),
        ("wide", Role::Admin, WorkspaceAccess::All, Vec::new()),
    ] {
        let caller = tokend_core::caller::Caller {
            role,
            workspaces,
            certificate_sans: sans,
            ..caller(id, now)
        };
        assert_eq!(insert_caller(&store, &caller).await, Insert::Done);
        let key = fixture.caller_key(&caller);
        assert_eq!(insert_caller_key(&store, &key).await, Insert::Done);
        assert_eq!(
            store.caller(&caller.id).await.expect("the row is read"),
            Some(caller.clone())
        );
        let presented = store
            .caller_key_snapshot(key.name.id)
            .await
            .expect("the row is read")
            .expect("the row exists");
        assert!(presented.now >= now);
        assert_eq!(
            presented,
            CallerKeySnapshot {
                key: key.clone(),
                caller,
                now: presented.now,
                revision: presented.revision,
            }
        );

        let revoked = store
            .write_advancing::<_, StoreError, _>(async move |tx: &WriteTx| {
                let key = tx.caller_key(&key.name).await?.expect("the key exists");
                tx.revoke_caller_key(&key, after(now, 5)).await
            })
            .await;
        let revoked = revoked
            .expect("`revoke_caller_key` succeeds")
            .0
            .expect("the row is unchanged")
            .into_inner();
        assert_eq!(revoked.revoke_time, Some(after(now, 5)));
        let presented = store
            .caller_key_snapshot(revoked.name.id)
            .await
            .expect("the row is read")
            .expect("the row exists");
        assert_eq!(presented.key, revoked);
    }
}

async fn unknown_rows_are_not_found(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let (acme, globex) = (workspace("acme", now), workspace("globex", now));
    let token = fixture.token(&acme.id, now);
    assert!(store.token(&token.name).await.expect("`token` succeeds").is_none());
    assert!(
        store
            .token_snapshot(token.name.id)
            .await
            .expect("`token_snapshot` succeeds")
            .is_none()
    );
    assert!(
        store
            .caller_key_snapshot(token.name.id)
            .await
            .expect("`caller_key_snapshot` succeeds")
            .is_none()
    );
    assert!(store.workspace(&acme.id).await.expect("`workspace` succeeds").is_none());
    assert!(
        store
            .list_tokens(&acme.id, None, 10)
            .await
            .expect("`list_tokens` succeeds")
            .is_none()
    );
    assert!(
        store
            .list_caller_keys(&"nobody".parse().expect("an id"), None, 10)
            .await
            .expect("`list_caller_keys` succeeds")
            .is_none()
    );
    assert!(
        store
            .organization(&"nobody".parse().expect("an id"))
            .await
            .expect("`organization` succeeds")
            .is_none()
    );
    assert!(
        store
            .caller(&"nobody".parse().expect("an id"))
            .await
            .expect("`caller` succeeds")
            .is_none()
    );

    // A token is found only in its workspace.
    for workspace in [&acme, &globex] {
        assert_eq!(insert_workspace(&store, workspace).await, Insert::Done);
    }
    assert_eq!(insert_token(&store, &token).await, Insert::Done);
    let elsewhere = tokend_core::name::TokenName {
        workspace: workspace_id("globex"),
        id: token.name.id,
    };
    assert!(store.token(&elsewhere).await.expect("`token` succeeds").is_none());
    let in_write = store
        .write::<_, StoreError, _>(async move |tx: &WriteTx| tx.token(&elsewhere).await)
        .await;
    assert!(in_write.expect("`token` succeeds").is_none());
}
