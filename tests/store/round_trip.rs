//! What is stored comes back as it was, in every column.

use tokend_core::{
    address::AllowedAddresses,
    caller::{Role, WorkspaceAccess},
    labels::Labels,
    text::{Description, Reason},
    token::{Expiry, Revocation, Token},
    workspace::WorkspaceState,
};
use tokend_store::{Insert, PresentedCallerKey, StoreError};

use crate::support::{
    Fixture, after, caller, insert_caller, insert_caller_key, insert_organization, insert_token, insert_workspace, on_both,
    organization, workspace, workspace_id,
};

on_both!(tokens, workspaces, organizations, callers, unknown_ones_are_none);

async fn tokens(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let acme = workspace("acme", now);
    assert_eq!(insert_workspace(&store, &acme).await, Insert::Done);

    let circumstances = acme.circumstances(Some(&organization("initech", now))).expect("its own");
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
    let revoked = Token { revocation: Some(revocation), ..fixture.token(&acme.id, after(now, 2)) };
    for token in [&full, &simple, &revoked] {
        assert_eq!(insert_token(&store, token).await, Insert::Done);
    }
    for token in [full, simple, revoked] {
        let stored = store.token(&token.name).await.expect("it can be read").expect("it is there");
        assert_eq!((&stored.token, &stored.circumstances), (&token, &circumstances));
        assert!(stored.now >= now);
        let presented = store.presented_token(token.name.id).await.expect("it can be read").expect("it is there");
        assert_eq!((&presented.token, &presented.circumstances), (&token, &circumstances));
        assert_eq!(presented.revision.number, 0);
        assert!(i64::try_from(presented.revision.epoch).is_ok());
    }
    let stored = store.workspace(&acme.id).await.expect("it can be read").expect("it is there");
    assert_eq!(stored.active_token_count, 2);
}

async fn workspaces(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    for (id, state, organization) in [
        ("active", WorkspaceState::Active, None),
        ("suspended", WorkspaceState::Suspended { at: after(now, 1) }, Some("initech")),
        ("deleted", WorkspaceState::Deleted { at: after(now, 2) }, None),
    ] {
        let organization = organization.map(|id| id.parse().expect("an id"));
        let workspace = tokend_core::workspace::Workspace { state, organization, ..workspace(id, now) };
        assert_eq!(insert_workspace(&store, &workspace).await, Insert::Done);
        let stored = store.workspace(&workspace.id).await.expect("it can be read").expect("it is there");
        assert_eq!((stored.workspace, stored.active_token_count), (workspace, 0));
    }
}

async fn organizations(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let initech = organization("initech", now);
    assert_eq!(insert_organization(&store, &initech).await, Insert::Done);
    assert_eq!(insert_organization(&store, &organization("initech", after(now, 1))).await, Insert::Taken);
    assert_eq!(store.organization(&initech.id).await.expect("it can be read"), Some(initech.clone()));
    let id = initech.id.clone();
    let in_write = store.write::<_, StoreError, _>(move |tx| Box::pin(async move { tx.organization(&id).await })).await;
    assert_eq!(in_write.expect("it works"), Some(initech));
}

async fn callers(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    for (id, role, workspaces, sans) in [
        ("narrow", Role::WorkspaceAdmin, caller("any", now).workspaces, caller("any", now).certificate_sans),
        ("wide", Role::Admin, WorkspaceAccess::All, Vec::new()),
    ] {
        let caller = tokend_core::caller::Caller { role, workspaces, certificate_sans: sans, ..caller(id, now) };
        assert_eq!(insert_caller(&store, &caller).await, Insert::Done);
        let key = fixture.caller_key(&caller);
        assert_eq!(insert_caller_key(&store, &key).await, Insert::Done);
        assert_eq!(store.caller(&caller.id).await.expect("it can be read"), Some(caller.clone()));
        let presented = store.presented_caller_key(key.name.id).await.expect("it can be read").expect("it is there");
        assert!(presented.now >= now);
        assert_eq!(presented, PresentedCallerKey { key: key.clone(), caller, now: presented.now });

        let revoked = store
            .write_advancing::<_, StoreError, _>(move |tx| {
                Box::pin(async move {
                    let key = tx.caller_key(&key.name).await?.expect("it is there");
                    tx.revoke_caller_key(&key, after(now, 5)).await
                })
            })
            .await;
        let revoked = revoked.expect("it works").0.expect("nobody changed it").into_inner();
        assert_eq!(revoked.revoke_time, Some(after(now, 5)));
        let presented = store.presented_caller_key(revoked.name.id).await.expect("it can be read").expect("it is there");
        assert_eq!(presented.key, revoked);
    }
}

async fn unknown_ones_are_none(fixture: Fixture) {
    let store = fixture.initialized().await;
    let now = store.now().await.expect("time");
    let (acme, globex) = (workspace("acme", now), workspace("globex", now));
    let token = fixture.token(&acme.id, now);
    assert!(store.token(&token.name).await.expect("it works").is_none());
    assert!(store.presented_token(token.name.id).await.expect("it works").is_none());
    assert!(store.presented_caller_key(token.name.id).await.expect("it works").is_none());
    assert!(store.workspace(&acme.id).await.expect("it works").is_none());
    assert!(store.list_tokens(&acme.id, None, 10).await.expect("it works").is_none());
    assert!(store.list_caller_keys(&"nobody".parse().expect("an id"), None, 10).await.expect("it works").is_none());
    assert!(store.organization(&"nobody".parse().expect("an id")).await.expect("it works").is_none());
    assert!(store.caller(&"nobody".parse().expect("an id")).await.expect("it works").is_none());

    // A token is found in its own workspace alone.
    for workspace in [&acme, &globex] {
        assert_eq!(insert_workspace(&store, workspace).await, Insert::Done);
    }
    assert_eq!(insert_token(&store, &token).await, Insert::Done);
    let elsewhere = tokend_core::name::TokenName { workspace: workspace_id("globex"), id: token.name.id };
    assert!(store.token(&elsewhere).await.expect("it works").is_none());
    let in_write = store.write::<_, StoreError, _>(move |tx| Box::pin(async move { tx.token(&elsewhere).await })).await;
    assert!(in_write.expect("it works").is_none());
}
