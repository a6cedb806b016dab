//! Streams have their own limit, and do not count as calls.

use tokend_client::v1::ErrorReason;
use tokend_tests::{Installation, eventually, on_sqlite, refusal};
use tonic::Code;

use crate::{peer::Peer, serve};

on_sqlite!(
    streams_beyond_the_limit_are_refused,
    streams_do_not_count_as_calls,
    unauthenticated_streams_do_not_block_callers
);

const WATCH: &str = "/grpc.health.v1.Health/Watch";
const LIST: &str = "/tokend.v1.CallerAdmin/ListCallers";

async fn streams_beyond_the_limit_are_refused(installation: Installation) {
    let server = serve(&installation, "max_health_watches = 2").await;
    let mut peer = Peer::connect(server.grpc_address()).await;
    let first = peer.begin(WATCH, "", &[]).await.stream().await;
    let _second = peer.begin(WATCH, "", &[]).await.stream().await;
    let status = peer
        .begin(WATCH, "", &[])
        .await
        .finish()
        .await
        .expect_err("the third stream is refused");
    refusal(&status, Code::Unavailable, ErrorReason::Overloaded);
    drop(first);
    eventually("the closed stream no longer counts", async || {
        let mut other = Peer::connect(server.grpc_address()).await;
        let watch = other.begin(WATCH, "", &[]).await;
        // An accepted watch does not end.
        tokio::time::timeout(std::time::Duration::from_millis(200), watch.finish())
            .await
            .is_err()
            .then_some(())
    })
    .await;
}

async fn streams_do_not_count_as_calls(installation: Installation) {
    let server = serve(&installation, "max_in_flight = 1\nmax_in_flight_per_connection = 1").await;
    let mut peer = Peer::connect(server.grpc_address()).await;
    let mut watches = Vec::new();
    for _ in 0..50 {
        watches.push(peer.begin(WATCH, "", &[]).await.stream().await);
    }
    peer.begin(LIST, server.admin_key(), &[])
        .await
        .finish()
        .await
        .expect("the call succeeds");
}

/// A health watch needs no authentication.
async fn unauthenticated_streams_do_not_block_callers(installation: Installation) {
    const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let server = serve(&installation, "max_streams = 1\nmax_health_watches = 1").await;
    let mut peer = Peer::connect(server.grpc_address()).await;
    let _health = peer.begin(WATCH, "", &[]).await.stream().await;
    let _reflection = peer
        .begin(REFLECTION, server.admin_key(), &[])
        .await
        .open_stream()
        .await;
    let status = peer
        .begin(REFLECTION, server.admin_key(), &[])
        .await
        .finish()
        .await
        .expect_err("the second stream is refused");
    refusal(&status, Code::Unavailable, ErrorReason::Overloaded);
}
