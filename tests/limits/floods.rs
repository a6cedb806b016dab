//! Peers that break the protocol or abuse it are disconnected. Memory stays bounded, and other callers are served.

use std::net::{Ipv4Addr, SocketAddr};

use tokend_tests::{Installation, Server, on_sqlite};
use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    peer::{PATIENCE, PREFACE, frame, headers, peak_memory, send},
    serve,
};

on_sqlite!(
    rapid_resets,
    malformed_headers,
    slow_heads,
    slow_messages,
    silent_connections
);

/// The limit on the server's resident memory in MiB during a flood. A new server uses about 25 MiB; measured peaks are
/// 29 to 44 MiB.
const MOST_MEMORY: u64 = 96;

/// Rapid reset (CVE-2023-44487): requests that are cancelled at once.
async fn rapid_resets(installation: Installation) {
    const ROUNDS: usize = 100;
    let server = serve(&installation, "").await;
    let mut burst = PREFACE.to_vec();
    for stream in (1..600).step_by(2) {
        burst.extend(headers(stream, &[]));
        burst.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    for round in 0..ROUNDS {
        let mut socket = connect(&server, 1).await;
        send(&mut socket, &burst).await;
        assert!(is_closed(socket).await, "the server closes the connection");
        if round % 10 == 0 {
            honest_call(&server).await;
        }
    }
    assert_memory(&server);
}

/// Malformed HEADERS: the field `connection` is forbidden (RFC 9113, section 8.2.2). Each one makes the server reset a
/// stream (MadeYouReset, CVE-2025-8671).
async fn malformed_headers(installation: Installation) {
    const ALL: usize = 20_000;
    const EACH: u32 = 2_000;
    let server = serve(&installation, "").await;
    let mut burst = PREFACE.to_vec();
    for number in 0..EACH {
        burst.extend(headers(2 * number + 1, b"\x00\x0aconnection\x05close"));
    }
    for _ in 0..ALL / EACH as usize {
        let mut socket = connect(&server, 1).await;
        // The server answers each request, and would wait for the test to read.
        let (mut reads, mut writes) = socket.split();
        let mut answers = Vec::new();
        let sent = async {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut writes, &burst).await;
        };
        let closed = async { timeout(PATIENCE, reads.read_to_end(&mut answers)).await.is_ok() };
        let ((), closed) = tokio::join!(sent, closed);
        assert!(closed, "the server closes the connection");
        honest_call(&server).await;
    }
    assert_memory(&server);
}

/// Slow loris: request headers that never end, from several addresses.
async fn slow_heads(installation: Installation) {
    let server = serve(
        &installation,
        "max_unauthenticated = 100\nmax_unauthenticated_per_source = 40",
    )
    .await;
    let begun = [PREFACE, &headers(1, b"\x00\x01x\x7f\xff\x7f")[..30]].concat();
    let mut peers = Vec::new();
    for number in 0..300_u16 {
        let mut socket = connect(
            &server,
            u8::try_from(number % 8 + 1).expect("the host number fits into a byte"),
        )
        .await;
        send(&mut socket, &begun).await;
        peers.push(socket);
        if number % 50 == 0 {
            honest_call(&server).await;
        }
    }
    // An occasional byte does not keep an excess connection open.
    for socket in &mut peers {
        send(socket, b"x").await;
    }
    assert_eq!(open_ones(peers).await, 100);
    honest_call(&server).await;
    assert_memory(&server);
}

/// Messages that never end, from authenticated callers: every call has a deadline.
async fn slow_messages(installation: Installation) {
    let server = serve(&installation, "verify_deadline_ms = 300\npool_wait_ms = 5000").await;
    let mut peers = Vec::new();
    let mut calls = Vec::new();
    for _ in 0..10 {
        let mut peer = crate::peer::Peer::connect(server.grpc_address()).await;
        for _ in 0..60 {
            calls.push(
                peer.begin("/tokend.v1.TokenVerify/Verify", server.admin_key(), &[])
                    .await,
            );
        }
        peers.push(peer);
    }
    honest_call(&server).await;
    for call in calls {
        call.outcome().await.expect_err("the call has no message");
    }
    assert_memory(&server);
}

/// Connections without any data.
async fn silent_connections(installation: Installation) {
    let server = serve(&installation, "preface_timeout_ms = 1000").await;
    let mut peers = Vec::new();
    for number in 0..300_u16 {
        peers.push(
            connect(
                &server,
                u8::try_from(number % 8 + 1).expect("the host number fits into a byte"),
            )
            .await,
        );
    }
    honest_call(&server).await;
    for peer in peers {
        assert!(is_closed(peer).await, "the server closes the connection");
    }
    honest_call(&server).await;
    assert_memory(&server);
}

/// Connects from 127.0.0.`host`.
async fn connect(server: &Server, host: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("the socket is created");
    socket
        .bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0)))
        .expect("the address is local");
    socket
        .connect(server.grpc_address().parse().expect("the address is valid"))
        .await
        .expect("the connection opens")
}

/// Makes a call on a new connection.
async fn honest_call(server: &Server) {
    let request = tokend_client::v1::ListCallersRequest::default();
    let call = async {
        server
            .client(server.admin_key())
            .await
            .caller_admin()
            .list_callers(request)
            .await
    };
    timeout(PATIENCE, call)
        .await
        .expect("the call is answered in time")
        .expect("the call succeeds");
}

/// Returns whether the server closes the connection.
async fn is_closed(mut socket: TcpStream) -> bool {
    let mut rest = Vec::new();
    timeout(2 * PATIENCE, socket.read_to_end(&mut rest)).await.is_ok()
}

/// Returns how many connections are open.
async fn open_ones(peers: Vec<TcpStream>) -> usize {
    let mut open = 0;
    for mut peer in peers {
        let mut rest = Vec::new();
        let patience = std::time::Duration::from_millis(20);
        open += usize::from(timeout(patience, peer.read_to_end(&mut rest)).await.is_err());
    }
    open
}

fn assert_memory(server: &Server) {
    let peak = peak_memory(server.process());
    assert!(peak < MOST_MEMORY, "{peak} MiB");
}
