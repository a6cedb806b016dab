//! The number of calls in progress is limited per connection and in total. Calls beyond a limit fail at once, with a
//! retry delay.

use std::time::Duration;

use prost::Message;
use tokend_client::v1::{ErrorReason, RevokeTokenRequest};
use tokend_tests::{Installation, eventually, held_writes, on_sqlite, refusal, token_in};
use tokio::{task::JoinSet, time::timeout};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{PATIENT, peer::Peer, serve};

on_sqlite!(
    calls_beyond_the_limit_per_connection_are_refused,
    calls_beyond_the_total_limit_are_refused,
    a_finished_call_no_longer_counts,
    health_is_answered_at_the_limit,
);

const VERIFY: &str = "/tokend.v1.TokenVerify/Verify";
const LIST: &str = "/tokend.v1.CallerAdmin/ListCallers";
const REVOKE: &str = "/tokend.v1.TokenAdmin/RevokeToken";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

fn assert_has_retry_delay(status: &Status) {
    assert!(
        status
            .get_error_details()
            .retry_info()
            .is_some_and(|info| info.retry_delay.is_some()),
        "{status:?}"
    );
}

/// Retries a call while the service is full: the test's own calls may have reached the limit.
async fn retry_while_full<F: Future<Output = Result<(), Status>>>(call: impl Fn() -> F) -> Result<(), Status> {
    loop {
        match call().await {
            Err(status) if status.code() == Code::Unavailable => tokio::task::yield_now().await,
            outcome => return outcome,
        }
    }
}

async fn calls_beyond_the_limit_per_connection_are_refused(installation: Installation) {
    let server = serve(&installation, &format!("{PATIENT}\nmax_in_flight_per_connection = 2")).await;
    let mut peer = Peer::connect(server.grpc_address()).await;
    let waiting = [
        peer.begin(VERIFY, server.admin_key(), &[]).await,
        peer.begin(LIST, server.admin_key(), &[]).await,
    ];
    let status = peer
        .begin(LIST, server.admin_key(), &[])
        .await
        .finish()
        .await
        .expect_err("the third call is refused");
    refusal(&status, Code::ResourceExhausted, ErrorReason::TooManyInFlight);
    assert_has_retry_delay(&status);
    // Other connections and revocations are not affected.
    let mut other = Peer::connect(server.grpc_address()).await;
    other
        .begin(LIST, server.admin_key(), &[])
        .await
        .finish()
        .await
        .expect("the call succeeds");
    let status = peer
        .begin(REVOKE, server.admin_key(), &[])
        .await
        .finish()
        .await
        .expect_err("the request names no token");
    refusal(&status, Code::InvalidArgument, ErrorReason::InvalidField);
    drop(waiting);
}

async fn calls_beyond_the_total_limit_are_refused(installation: Installation) {
    let server = serve(
        &installation,
        &format!("{PATIENT}\nmax_in_flight = 2\nmax_revocations_in_flight = 1"),
    )
    .await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.public.name;
    let held = held_writes::hold(&installation).await;
    let mut waiting = JoinSet::new();
    for _ in 0..2 {
        let (client, request) = (server.admin().clone(), token_in(&acme));
        waiting.spawn(retry_while_full(move || {
            let (client, request) = (client.clone(), request.clone());
            async move { client.token_admin().create_token(request).await.map(drop) }
        }));
    }
    let mut other = Peer::connect(server.grpc_address()).await;
    let status = eventually("the service is full", async || {
        other.begin(LIST, server.admin_key(), &[]).await.finish().await.err()
    })
    .await;
    let assert_overloaded = |status: &Status| {
        refusal(status, Code::Unavailable, ErrorReason::Overloaded);
        assert_has_retry_delay(status);
    };
    assert_overloaded(&status);
    // Revocations have a separate limit.
    let revoke = || RevokeTokenRequest {
        name: token.clone(),
        ..Default::default()
    };
    let (client, request) = (server.admin().clone(), revoke());
    waiting.spawn(retry_while_full(move || {
        let (client, request) = (client.clone(), request.clone());
        async move { client.token_admin().revoke_token(request).await.map(drop) }
    }));
    let second = revoke().encode_to_vec();
    let status = eventually("the limit for revocations is reached", async || {
        let call = other.begin(REVOKE, server.admin_key(), &[]).await.send(&second);
        timeout(Duration::from_millis(500), call).await.ok()?.err()
    })
    .await;
    assert_overloaded(&status);
    held.release().await;
    while let Some(finished) = waiting.join_next().await {
        finished.expect("the task does not panic").expect("the call succeeds");
    }
}

async fn a_finished_call_no_longer_counts(installation: Installation) {
    let server = serve(
        &installation,
        &format!("{PATIENT}\nmax_in_flight = 1\nmax_in_flight_per_connection = 1"),
    )
    .await;
    let mut peer = Peer::connect(server.grpc_address()).await;
    for _ in 0..20 {
        peer.begin(LIST, server.admin_key(), &[])
            .await
            .finish()
            .await
            .expect("the call succeeds");
        // A call of a client that closes its connection no longer counts either.
        drop(Peer::connect(server.grpc_address()).await);
    }
}

async fn health_is_answered_at_the_limit(installation: Installation) {
    let server = serve(&installation, &format!("{PATIENT}\nmax_in_flight = 1")).await;
    let acme = server.workspace("acme").await;
    let held = held_writes::hold(&installation).await;
    let (client, request) = (server.admin().clone(), token_in(&acme));
    let create = move || {
        let (client, request) = (client.clone(), request.clone());
        async move { client.token_admin().create_token(request).await.map(drop) }
    };
    let waiting = tokio::spawn(retry_while_full(create));
    let mut peer = Peer::connect(server.grpc_address()).await;
    let status = eventually("the service is full", async || {
        peer.begin(LIST, server.admin_key(), &[]).await.finish().await.err()
    })
    .await;
    refusal(&status, Code::Unavailable, ErrorReason::Overloaded);
    peer.begin(HEALTH, "", &[])
        .await
        .finish()
        .await
        .expect("the health check succeeds");
    held.release().await;
    waiting
        .await
        .expect("the task does not panic")
        .expect("the call succeeds");
}
