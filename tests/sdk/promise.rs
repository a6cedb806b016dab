//! The promise: a verification that starts after a change was acknowledged never allows what the change ended, although
//! the guard answers from its cache.

use std::time::Duration;

use tokend_client::{
    guard::{StreamState, TokenGuard},
    v1::{DeleteCallerRequest, RevokeCallerKeyRequest, Role, RotateTokenRequest, token_policy::ExistingTokens},
};
use tokend_tests::{Installation, Issued, Server, eventually, max_lifetime, on_both_databases, on_postgres, token_in};

use crate::service::init;

on_both_databases!(
    the_cache_answers_while_nothing_changes,
    a_revoked_token_is_dead,
    a_rotated_token_is_dead,
    the_tokens_of_a_suspended_or_deleted_workspace_are_dead,
    an_organizations_policy_ends_its_tokens,
    a_revoked_caller_is_answered_no_more,
    a_token_is_not_allowed_past_its_expiry,
    tokens_of_other_workspaces_stay_cached,
);

mod side_by_side {
    use super::*;

    on_postgres!(a_revocation_on_one_server_holds_for_the_guard_of_another);

    async fn a_revocation_on_one_server_holds_for_the_guard_of_another(installation: Installation) {
        let admin_key = init(&installation, "1s").await;
        let one = installation.serve(&admin_key).await;
        let other = installation.serve(&admin_key).await;
        let acme = one.workspace("acme").await;
        let caller = one.caller("gateway", Role::Verifier).await;
        let guards = [guard(&one, &caller.secret).await, guard(&other, &caller.secret).await];
        for turn in 0..6 {
            let token = one.token(token_in(&acme)).await;
            for guard in &guards {
                warm_up(guard, &token.secret, &acme).await;
            }
            let server = if turn % 2 == 0 { &one } else { &other };
            server.revoke(&token.public.name).await;
            for guard in &guards {
                assert_eq!(verify(guard, &token.secret, &acme).await, Err("revoked"));
            }
        }
    }
}

/// Returns a guard whose stream is open.
async fn guard(server: &Server, key: &str) -> TokenGuard {
    let client = server.client(key).await;
    // Long enough for a busy machine.
    let guard = TokenGuard::builder(&client).deadline(Duration::from_secs(30)).start();
    eventually("the stream is open", async || {
        (guard.stats().stream == StreamState::Open).then_some(())
    })
    .await;
    guard
}

async fn gateway(server: &Server) -> TokenGuard {
    let Issued { secret, .. } = server.caller("gateway", Role::Verifier).await;
    guard(server, &secret).await
}

async fn verify(guard: &TokenGuard, secret: &str, resource: &str) -> Result<(), &'static str> {
    let outcome = guard.verify(secret, resource, &["repository"], None).await;
    outcome.map(|_| ()).map_err(|denied| denied.kind().as_str())
}

/// Verifies until the cache answers, so that what follows shows that it stops.
async fn warm_up(guard: &TokenGuard, secret: &str, resource: &str) {
    eventually("the cache answers", async || {
        let before = guard.stats().hits;
        assert_eq!(verify(guard, secret, resource).await, Ok(()));
        (guard.stats().hits > before).then_some(())
    })
    .await;
}

async fn the_cache_answers_while_nothing_changes(installation: Installation) {
    let admin_key = init(&installation, "4s").await;
    let server = installation.serve(&admin_key).await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let guard = gateway(&server).await;
    warm_up(&guard, &token.secret, &acme).await;
    let before = guard.stats();
    for number in 0..100 {
        let resource = format!("{acme}/repositories/r{number}");
        assert_eq!(verify(&guard, &token.secret, &resource).await, Ok(()));
    }
    let after = guard.stats();
    assert_eq!(after.calls, before.calls, "{after:?}");
    assert_eq!(after.hits, before.hits + 100);
}

async fn a_revoked_token_is_dead(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let guard = gateway(&server).await;
    for _ in 0..20 {
        let token = server.token(token_in(&acme)).await;
        warm_up(&guard, &token.secret, &acme).await;
        server.revoke(&token.public.name).await;
        assert_eq!(verify(&guard, &token.secret, &acme).await, Err("revoked"));
    }
    assert!(guard.stats().hits >= 20);
}

async fn a_rotated_token_is_dead(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let guard = gateway(&server).await;
    let token = server.token(token_in(&acme)).await;
    warm_up(&guard, &token.secret, &acme).await;
    let request = RotateTokenRequest {
        name: token.public.name.clone(),
        overlap: Some(prost_types::Duration::default()),
        ..Default::default()
    };
    let rotated = server
        .admin()
        .token_admin()
        .rotate_token(request)
        .await
        .expect("rotated");
    assert_eq!(verify(&guard, &token.secret, &acme).await, Err("expired"));
    assert_eq!(verify(&guard, &rotated.into_inner().secret, &acme).await, Ok(()));
}

async fn the_tokens_of_a_suspended_or_deleted_workspace_are_dead(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let guard = gateway(&server).await;
    let token = server.token(token_in(&acme)).await;
    for _ in 0..3 {
        warm_up(&guard, &token.secret, &acme).await;
        server.suspend(&acme).await;
        assert_eq!(verify(&guard, &token.secret, &acme).await, Err("workspace_suspended"));
        server.resume(&acme).await;
        // Nothing is promised about how soon a token works again.
        eventually("it works again", async || {
            verify(&guard, &token.secret, &acme).await.ok()
        })
        .await;
    }
    warm_up(&guard, &token.secret, &acme).await;
    server.delete_workspace(&acme).await;
    assert_eq!(verify(&guard, &token.secret, &acme).await, Err("workspace_deleted"));
}

async fn an_organizations_policy_ends_its_tokens(installation: Installation) {
    let server = installation.start().await;
    let initech = server.organization("initech").await;
    let acme = server.workspace_in("acme", &initech).await;
    let guard = gateway(&server).await;
    let token = server.token(token_in(&acme)).await;
    warm_up(&guard, &token.secret, &acme).await;
    let policy = max_lifetime(&initech, Duration::from_secs(1), ExistingTokens::Apply);
    server.set_policy(policy).await;
    installation.clock().set_ahead(Duration::from_secs(600));
    assert_eq!(verify(&guard, &token.secret, &acme).await, Err("expired"));
}

async fn a_revoked_caller_is_answered_no_more(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let by_key = server.caller("by-key", Role::Verifier).await;
    let deleted = server.caller("deleted", Role::Verifier).await;
    let guards = [
        guard(&server, &by_key.secret).await,
        guard(&server, &deleted.secret).await,
    ];
    for guard in &guards {
        warm_up(guard, &token.secret, &acme).await;
    }
    let mut admin = server.admin().caller_admin();
    let request = RevokeCallerKeyRequest {
        name: by_key.public.clone(),
        ..Default::default()
    };
    admin.revoke_caller_key(request).await.expect("revoked");
    assert_eq!(verify(&guards[0], &token.secret, &acme).await, Err("misconfigured"));
    let request = DeleteCallerRequest {
        name: "callers/deleted".to_owned(),
        ..Default::default()
    };
    admin.delete_caller(request).await.expect("deleted");
    assert_eq!(verify(&guards[1], &token.secret, &acme).await, Err("misconfigured"));
}

async fn a_token_is_not_allowed_past_its_expiry(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let guard = gateway(&server).await;
    let mut request = token_in(&acme);
    request.expiry = tokend_tests::after(Duration::from_secs(3));
    let token = server.token(request).await;
    // Nobody tells the guard: the entry ends by itself.
    let kind = eventually("the token has expired", async || {
        verify(&guard, &token.secret, &acme).await.err()
    })
    .await;
    assert_eq!(kind, "expired");
    let expire_time = token.public.expire_time.expect("it expires");
    let now = tokend_core::time::Clock::system().wall_time().unix_seconds().0;
    assert!(now >= expire_time.seconds, "it was allowed until its expiry");
}

async fn tokens_of_other_workspaces_stay_cached(installation: Installation) {
    let admin_key = init(&installation, "1s").await;
    let server = installation.serve(&admin_key).await;
    let (acme, globex) = (server.workspace("acme").await, server.workspace("globex").await);
    let guard = gateway(&server).await;
    let token = server.token(token_in(&globex)).await;
    warm_up(&guard, &token.secret, &globex).await;
    let doomed = server.token(token_in(&acme)).await;
    let calls = guard.stats().calls;
    server.suspend(&acme).await;
    eventually("the cache answers", async || {
        let before = guard.stats().hits;
        assert_eq!(verify(&guard, &token.secret, &globex).await, Ok(()));
        (guard.stats().hits > before).then_some(())
    })
    .await;
    // A busy machine may let a lease lapse now and then, and then the server is asked.
    assert!(guard.stats().calls <= calls + 3, "{:?}", guard.stats());
    assert_eq!(verify(&guard, &doomed.secret, &acme).await, Err("workspace_suspended"));
}
