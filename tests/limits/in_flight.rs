//! Calls under way: so many on a connection, so many in all; those beyond are told at once to come again.

use std::time::Duration;

use prost::Message;
use tokend_client::v1::{ErrorReason, RevokeTokenRequest};
use tokend_tests::{Installation, eventually, held_writes, on_sqlite, refusal, token_in};
use tokio::{task::JoinSet, time::timeout};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{PATIENT, peer::Peer, serve};

on_sqlite!(
    a_connection_has_its_share_and_no_more,
    the_service_sheds_what_is_too_much,
    an_answer_gives_its_room_back,
    health_is_told_by_a_service_that_is_full,
);

const VERIFY: &str = "/tokend.v1.TokenVerify/Verify";
const LIST: &str = "/tokend.v1.CallerAdmin/ListCallers";
const REVOKE: &str = "/tokend.v1.TokenAdmin/RevokeToken";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

fn assert_told_when_to_retry(status: &Status) {
    assert!(status.get_error_details().retry_info().is_some_and(|info| info.retry_delay.is_some()), "{status:?}");
}

/// Makes a call again as long as there is no room for it: those of the test itself may have taken it.
async fn until_there_is_room<F: Future<Output = Result<(), Status>>>(call: impl Fn() -> F) -> Result<(), Status> {
    loop {
        match call().await {
            Err(status) if status.code() == Code::Unavailable => tokio::task::yield_now().await,
            outcome => return outcome,
        }
    }
}

async fn a_connection_has_its_share_and_no_more(installation: Installation) {
    let server = serve(&installation, &format!("{PATIENT}\nmax_in_flight_per_connection = 2")).await;
    let mut peer = Peer::connect(server.grpc_address()).await;
    let waiting = [peer.begin(VERIFY, server.admin_key(), &[]).await, peer.begin(LIST, server.admin_key(), &[]).await];
    let status = peer.begin(LIST, server.admin_key(), &[]).await.finish().await.expect_err("it is the third");
    refusal(&status, Code::ResourceExhausted, ErrorReason::TooManyInFlight);
    assert_told_when_to_retry(&status);
    // Others are not concerned, nor is whoever revokes.
    let mut other = Peer::connect(server.grpc_address()).await;
    other.begin(LIST, server.admin_key(), &[]).await.finish().await.expect("it is served");
    let status = peer.begin(REVOKE, server.admin_key(), &[]).await.finish().await.expect_err("it names no token");
    refusal(&status, Code::InvalidArgument, ErrorReason::InvalidField);
    drop(waiting);
}

async fn the_service_sheds_what_is_too_much(installation: Installation) {
    let server = serve(&installation, &format!("{PATIENT}\nmax_in_flight = 2\nmax_revocations_in_flight = 1")).await;
    let acme = server.workspace("acme").await;
    let token = server.token(token_in(&acme)).await.public.name;
    let held = held_writes::hold(&installation).await;
    let mut waiting = JoinSet::new();
    for _ in 0..2 {
        let (client, request) = (server.admin().clone(), token_in(&acme));
        waiting.spawn(until_there_is_room(move || {
            let (client, request) = (client.clone(), request.clone());
            async move { client.token_admin().create_token(request).await.map(drop) }
        }));
    }
    let mut other = Peer::connect(server.grpc_address()).await;
    let status =
        eventually("the service is full", async || other.begin(LIST, server.admin_key(), &[]).await.finish().await.err()).await;
    let assert_overloaded = |status: &Status| {
        refusal(status, Code::Unavailable, ErrorReason::Overloaded);
        assert_told_when_to_retry(status);
    };
    assert_overloaded(&status);
    // Revocations have their own room, and a limit of their own.
    let revoke = || RevokeTokenRequest { name: token.clone(), ..Default::default() };
    let (client, request) = (server.admin().clone(), revoke());
    waiting.spawn(until_there_is_room(move || {
        let (client, request) = (client.clone(), request.clone());
        async move { client.token_admin().revoke_token(request).await.map(drop) }
    }));
    let second = revoke().encode_to_vec();
    let status = eventually("there is no room for revocations", async || {
        let call = other.begin(REVOKE, server.admin_key(), &[]).await.send(&second);
        timeout(Duration::from_millis(500), call).await.ok()?.err()
    })
    .await;
    assert_overloaded(&status);
    held.release().await;
    while let Some(done) = waiting.join_next().await {
        done.expect("it is answered").expect("it had room");
    }
}

async fn an_answer_gives_its_room_back(installation: Installation) {
    let server = serve(&installation, &format!("{PATIENT}\nmax_in_flight = 1\nmax_in_flight_per_connection = 1")).await;
    let mut peer = Peer::connect(server.grpc_address()).await;
    for _ in 0..20 {
        peer.begin(LIST, server.admin_key(), &[]).await.finish().await.expect("there is room");
        // And so does a client that hangs up.
        drop(Peer::connect(server.grpc_address()).await);
    }
}

async fn health_is_told_by_a_service_that_is_full(installation: Installation) {
    let server = serve(&installation, &format!("{PATIENT}\nmax_in_flight = 1")).await;
    let acme = server.workspace("acme").await;
    let held = held_writes::hold(&installation).await;
    let (client, request) = (server.admin().clone(), token_in(&acme));
    let create = move || {
        let (client, request) = (client.clone(), request.clone());
        async move { client.token_admin().create_token(request).await.map(drop) }
    };
    let waiting = tokio::spawn(until_there_is_room(create));
    let mut peer = Peer::connect(server.grpc_address()).await;
    let status =
        eventually("the service is full", async || peer.begin(LIST, server.admin_key(), &[]).await.finish().await.err()).await;
    refusal(&status, Code::Unavailable, ErrorReason::Overloaded);
    peer.begin(HEALTH, "", &[]).await.finish().await.expect("it is told");
    held.release().await;
    waiting.await.expect("it is answered").expect("it had room");
}
