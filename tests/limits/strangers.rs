//! The number of unauthenticated connections is limited. A new connection replaces the oldest of them.

use tokend_client::v1::ErrorReason;
use tokend_tests::{Installation, eventually, on_sqlite, refusal};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tonic::Code;

use crate::{
    peer::{PREFACE, Peer, send},
    serve,
};

on_sqlite!(
    the_oldest_unauthenticated_connection_is_closed,
    authenticated_connections_stay_open
);

const LIST: &str = "/tokend.v1.CallerAdmin/ListCallers";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

async fn the_oldest_unauthenticated_connection_is_closed(installation: Installation) {
    let server = serve(
        &installation,
        "max_unauthenticated_per_source = 3\npreface_timeout_ms = 60000",
    )
    .await;
    // This call authenticates the connection of `server`.
    server.workspace("acme").await;
    let mut silent = TcpStream::connect(server.grpc_address())
        .await
        .expect("the connection opens");
    let mut mute = TcpStream::connect(server.grpc_address())
        .await
        .expect("the connection opens");
    send(&mut mute, PREFACE).await;
    // A health check needs no authentication, and the connection stays unauthenticated.
    let mut curious = Peer::connect(server.grpc_address()).await;
    curious
        .begin(HEALTH, "", &[])
        .await
        .finish()
        .await
        .expect("the health check succeeds");
    let mut guessing = Peer::connect(server.grpc_address()).await;
    let status = guessing
        .begin(LIST, "guess", &[])
        .await
        .finish()
        .await
        .expect_err("the credential is invalid");
    refusal(&status, Code::Unauthenticated, ErrorReason::InvalidCredential);

    let mut rest = Vec::new();
    let closed = tokio::time::timeout(std::time::Duration::from_secs(5), silent.read_to_end(&mut rest)).await;
    assert_eq!(closed.expect("the connection is closed in time").unwrap_or(0), 0);
    let _new = TcpStream::connect(server.grpc_address())
        .await
        .expect("the connection opens");
    eventually("the next oldest connection is closed", async || {
        mute.read_u8().await.is_err().then_some(())
    })
    .await;
    assert!(!curious.is_closed() && !guessing.is_closed());
}

async fn authenticated_connections_stay_open(installation: Installation) {
    let server = serve(
        &installation,
        "max_unauthenticated = 3\nmax_unauthenticated_per_source = 2",
    )
    .await;
    let mut known = Peer::connect(server.grpc_address()).await;
    known
        .begin(LIST, server.admin_key(), &[])
        .await
        .finish()
        .await
        .expect("the call succeeds");
    let mut strangers = Vec::new();
    for _ in 0..20 {
        strangers.push(
            TcpStream::connect(server.grpc_address())
                .await
                .expect("the connection opens"),
        );
        known
            .begin(LIST, server.admin_key(), &[])
            .await
            .finish()
            .await
            .expect("the call succeeds");
    }
    // A new connection still works.
    let mut honest = Peer::connect(server.grpc_address()).await;
    honest
        .begin(LIST, server.admin_key(), &[])
        .await
        .finish()
        .await
        .expect("the call succeeds");
}
