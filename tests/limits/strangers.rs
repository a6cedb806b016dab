//! Connections on which nobody has authenticated: few, and whoever comes last is let in.

use tokend_client::v1::ErrorReason;
use tokend_tests::{Installation, eventually, on_sqlite, refusal};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tonic::Code;

use crate::{
    peer::{PREFACE, Peer, send},
    serve,
};

on_sqlite!(the_oldest_stranger_makes_room, whoever_has_authenticated_stays);

const LIST: &str = "/tokend.v1.CallerAdmin/ListCallers";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

async fn the_oldest_stranger_makes_room(installation: Installation) {
    let server = serve(&installation, "max_unauthenticated_per_source = 3\npreface_timeout_ms = 60000").await;
    // The harness is no stranger any more.
    server.workspace("acme").await;
    let mut silent = TcpStream::connect(server.grpc_address()).await.expect("it is let in");
    let mut mute = TcpStream::connect(server.grpc_address()).await.expect("it is let in");
    send(&mut mute, PREFACE).await;
    // Health is told to strangers, who stay strangers.
    let mut curious = Peer::connect(server.grpc_address()).await;
    curious.begin(HEALTH, "", &[]).await.finish().await.expect("it is told");
    let mut guessing = Peer::connect(server.grpc_address()).await;
    let status = guessing.begin(LIST, "guess", &[]).await.finish().await.expect_err("it is wrong");
    refusal(&status, Code::Unauthenticated, ErrorReason::InvalidCredential);

    let mut rest = Vec::new();
    let closed = tokio::time::timeout(std::time::Duration::from_secs(5), silent.read_to_end(&mut rest)).await;
    assert_eq!(closed.expect("it is closed").unwrap_or(0), 0);
    let _new = TcpStream::connect(server.grpc_address()).await.expect("it is let in");
    eventually("the next has to go", async || mute.read_u8().await.is_err().then_some(())).await;
    assert!(!curious.is_closed() && !guessing.is_closed());
}

async fn whoever_has_authenticated_stays(installation: Installation) {
    let server = serve(&installation, "max_unauthenticated = 3\nmax_unauthenticated_per_source = 2").await;
    let mut known = Peer::connect(server.grpc_address()).await;
    known.begin(LIST, server.admin_key(), &[]).await.finish().await.expect("it is served");
    let mut strangers = Vec::new();
    for _ in 0..20 {
        strangers.push(TcpStream::connect(server.grpc_address()).await.expect("it is let in"));
        known.begin(LIST, server.admin_key(), &[]).await.finish().await.expect("it is served");
    }
    // And a newcomer is let in.
    let mut honest = Peer::connect(server.grpc_address()).await;
    honest.begin(LIST, server.admin_key(), &[]).await.finish().await.expect("it is served");
}
