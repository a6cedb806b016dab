//! Uses of cached tokens: the server learns of them.

use std::{net::IpAddr, time::Duration};

use tokend_client::{
    guard::{StreamState, TokenGuard},
    v1::{CreateTokenRequest, Role},
};
use tokend_tests::{Installation, eventually, on_both_databases, token_in};

use crate::service::{Service, init};

on_both_databases!(
    uses_of_cached_tokens_count_as_uses,
    a_service_that_is_stopped_reports_its_last_uses,
);

async fn uses_of_cached_tokens_count_as_uses(installation: Installation) {
    let admin_key = init(&installation, "4s").await;
    let server = installation.serve(&admin_key).await;
    let acme = server.workspace("acme").await;
    let request = CreateTokenRequest {
        scopes: ["repository:write", "webhook"].map(str::to_owned).to_vec(),
        ..token_in(&acme)
    };
    let token = server.token(request).await;
    let caller = server.caller("gateway", Role::Verifier).await;
    let client = server.client(&caller.secret).await;
    let guard = TokenGuard::builder(&client).deadline(Duration::from_secs(30)).start();
    eventually("the stream is open", async || {
        (guard.stats().stream == StreamState::Open).then_some(())
    })
    .await;
    let (first, cached): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    guard
        .verify(&token.secret, &acme, &["repository"], Some(first))
        .await
        .expect("allowed");
    guard
        .verify(&token.secret, &acme, &["webhook"], Some(cached))
        .await
        .expect("allowed");
    let stats = guard.stats();
    assert_eq!((stats.calls, stats.hits), (1, 1), "the server saw only the first one");
    guard.shutdown().await;
    assert_eq!(guard.stats().reported_uses, 1);
    // Servers write uses once a minute.
    installation.clock().set_ahead(Duration::from_secs(60));
    let shown = eventually("the use is recorded", async || {
        let shown = server.get_token_with_unused_scopes(&token.public.name).await;
        (shown.last_used_addresses.len() == 2).then_some(shown)
    })
    .await;
    assert!(shown.last_used_addresses.contains(&cached.to_string()), "{shown:?}");
    assert!(!shown.unused_scopes.contains(&"webhook".to_owned()), "{shown:?}");
}

async fn a_service_that_is_stopped_reports_its_last_uses(installation: Installation) {
    let admin_key = init(&installation, "4s").await;
    let server = installation.serve(&admin_key).await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await;
    let service = Service::start(env!("CARGO_BIN_EXE_guard-axum"), &server, &[]).await;
    let get = || service.get("/acme/repositories/site", Some(&token.secret)).status;
    let last_used = async || {
        let shown = server.get_token(&token.public.name).await;
        shown.last_used_time.map(|time| (time.seconds, time.nanos))
    };
    assert_eq!(get(), 200);
    installation.clock().set_ahead(Duration::from_secs(60));
    let before = eventually("the first use is recorded", async || last_used().await).await;
    for _ in 0..5 {
        assert_eq!(get(), 200);
    }
    service.process.terminate();
    service.process.finish().await.succeeded();
    installation.clock().set_ahead(Duration::from_secs(120));
    eventually("the last use is recorded", async || {
        last_used().await.filter(|last| *last > before)
    })
    .await;
}
