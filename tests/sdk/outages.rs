//! What a guard does while servers come and go.

use std::time::Duration;

use tokend_client::{
    CallerKey, Client,
    guard::{StreamState, TokenGuard},
    v1::Role,
};
use tokend_tests::{Installation, Proxy, eventually, on_both_databases, on_postgres, token_in};

use crate::service::init;

on_both_databases!(
    a_cut_stream_is_resumed_and_a_revocation_in_between_holds,
    a_restarted_server_is_found_again,
);

mod side_by_side {
    use super::*;

    on_postgres!(another_server_takes_over);

    async fn another_server_takes_over(installation: Installation) {
        let one = installation.start().await;
        let other = installation.serve(one.admin_key()).await;
        let acme = one.workspace("acme").await;
        let caller = one.caller("gateway", Role::Verifier).await;
        let both = format!("{},{}", one.grpc_address(), other.grpc_address());
        let guard = guard(&both, &caller.secret).await;
        let token = one.token(token_in(&acme)).await;
        assert_eq!(verify(&guard, &token.secret, &acme).await, Ok(()));
        one.kill();
        // Nobody sees an error, whichever server had the stream.
        for _ in 0..50 {
            assert_eq!(verify(&guard, &token.secret, &acme).await, Ok(()));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        eventually("the stream is open", async || {
            (guard.stats().stream == StreamState::Open).then_some(())
        })
        .await;
        other.revoke(&token.public.name).await;
        assert_eq!(verify(&guard, &token.secret, &acme).await, Err("revoked"));
    }
}

async fn guard(address: &str, key: &str) -> TokenGuard {
    let key = CallerKey::new(key).expect("a key");
    let client = Client::builder(address).key(&key).connect().await.expect("connected");
    let guard = TokenGuard::builder(&client).deadline(Duration::from_secs(20)).start();
    eventually("the stream is open", async || {
        (guard.stats().stream == StreamState::Open).then_some(())
    })
    .await;
    guard
}

async fn verify(guard: &TokenGuard, secret: &str, resource: &str) -> Result<(), &'static str> {
    let outcome = guard.verify(secret, resource, &["repository"], None).await;
    outcome.map(|_| ()).map_err(|denied| denied.kind().as_str())
}

async fn a_cut_stream_is_resumed_and_a_revocation_in_between_holds(installation: Installation) {
    // Long enough that the guard resumes under its lease.
    let admin_key = init(&installation, "2s").await;
    let server = installation.serve(&admin_key).await;
    let acme = server.workspace("acme").await;
    let caller = server.caller("gateway", Role::Verifier).await;
    let proxy = Proxy::start(server.grpc_address().parse().expect("an address"), Duration::ZERO);
    let guard = guard(&proxy.address().to_string(), &caller.secret).await;
    for _ in 0..3 {
        let token = server.token(token_in(&acme)).await;
        assert_eq!(verify(&guard, &token.secret, &acme).await, Ok(()));
        let streams = guard.stats().streams;
        proxy.cut();
        server.revoke(&token.public.name).await;
        assert_eq!(verify(&guard, &token.secret, &acme).await, Err("revoked"));
        eventually("another stream is open", async || {
            let stats = guard.stats();
            (stats.streams > streams && stats.stream == StreamState::Open).then_some(())
        })
        .await;
    }
    assert_eq!(guard.stats().resyncs, 0, "what was missed is replayed");
}

async fn a_restarted_server_is_found_again(installation: Installation) {
    let server = installation.start().await;
    let acme = server.workspace("acme").await;
    let caller = server.caller("gateway", Role::Verifier).await;
    let proxy = Proxy::start(server.grpc_address().parse().expect("an address"), Duration::ZERO);
    let guard = guard(&proxy.address().to_string(), &caller.secret).await;
    let token = server.token(token_in(&acme)).await;
    assert_eq!(verify(&guard, &token.secret, &acme).await, Ok(()));
    let admin_key = server.admin_key().to_owned();
    server.kill();
    eventually("the lease has ended", async || {
        verify(&guard, &token.secret, &acme).await.err()
    })
    .await;
    assert_eq!(verify(&guard, &token.secret, &acme).await, Err("unavailable"));
    let server = installation.serve(&admin_key).await;
    proxy.lead_to(server.grpc_address().parse().expect("an address"));
    eventually("it is verified again", async || {
        verify(&guard, &token.secret, &acme).await.ok()
    })
    .await;
    eventually("the cache answers again", async || {
        let before = guard.stats().hits;
        assert_eq!(verify(&guard, &token.secret, &acme).await, Ok(()));
        (guard.stats().hits > before).then_some(())
    })
    .await;
    server.revoke(&token.public.name).await;
    assert_eq!(verify(&guard, &token.secret, &acme).await, Err("revoked"));
}
