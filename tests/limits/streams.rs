//! Streams are counted apart from calls, and have a limit of their own.

use tokend_client::v1::ErrorReason;
use tokend_tests::{Installation, eventually, on_sqlite, refusal};
use tonic::Code;

use crate::{peer::Peer, serve};

on_sqlite!(there_are_so_many_and_no_more, they_take_no_room_from_calls, strangers_take_no_room_from_callers);

const WATCH: &str = "/grpc.health.v1.Health/Watch";
const LIST: &str = "/tokend.v1.CallerAdmin/ListCallers";

async fn there_are_so_many_and_no_more(installation: Installation) {
    let server = serve(&installation, "max_health_watches = 2").await;
    let mut peer = Peer::connect(server.grpc_address()).await;
    let first = peer.begin(WATCH, "", &[]).await.stream().await;
    let _second = peer.begin(WATCH, "", &[]).await.stream().await;
    let status = peer.begin(WATCH, "", &[]).await.finish().await.expect_err("it is the third");
    refusal(&status, Code::Unavailable, ErrorReason::Overloaded);
    drop(first);
    eventually("the first has given its room back", async || {
        let mut other = Peer::connect(server.grpc_address()).await;
        let watch = other.begin(WATCH, "", &[]).await;
        // Health that is told has no end.
        tokio::time::timeout(std::time::Duration::from_millis(200), watch.finish()).await.is_err().then_some(())
    })
    .await;
}

async fn they_take_no_room_from_calls(installation: Installation) {
    let server = serve(&installation, "max_in_flight = 1\nmax_in_flight_per_connection = 1").await;
    let mut peer = Peer::connect(server.grpc_address()).await;
    let mut watches = Vec::new();
    for _ in 0..50 {
        watches.push(peer.begin(WATCH, "", &[]).await.stream().await);
    }
    peer.begin(LIST, server.admin_key(), &[]).await.finish().await.expect("there is room");
}

/// Anybody may watch health.
async fn strangers_take_no_room_from_callers(installation: Installation) {
    const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let server = serve(&installation, "max_streams = 1\nmax_health_watches = 1").await;
    let mut peer = Peer::connect(server.grpc_address()).await;
    let _health = peer.begin(WATCH, "", &[]).await.stream().await;
    let _reflection = peer.begin(REFLECTION, server.admin_key(), &[]).await.open_stream().await;
    let status = peer.begin(REFLECTION, server.admin_key(), &[]).await.finish().await.expect_err("it is the second");
    refusal(&status, Code::Unavailable, ErrorReason::Overloaded);
}
