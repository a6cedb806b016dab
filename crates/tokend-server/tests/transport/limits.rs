//! The limits of one peer and of all peers together.

use std::time::Duration;

use tokend_server::transport::TransportSettings;
use tokio::time::sleep;

use crate::peer::{ENHANCE_YOUR_CALM, Frame, GOAWAY, HEADERS, Peer, RST_STREAM, SETTINGS, STATUS_200};
use crate::support::{Server, patient, soon};

#[tokio::test]
async fn connections_beyond_the_limit_are_closed() {
    let server = Server::start(TransportSettings {
        max_connections: 2,
        ..patient()
    })
    .await;
    let served = async |peer: &mut Peer| {
        peer.get(1, "/").await;
        peer.next(HEADERS).await;
    };
    let mut first = Peer::open(server.address).await;
    served(&mut first).await;
    let mut second = Peer::open(server.address).await;
    served(&mut second).await;

    let mut third = Peer::silent(server.address).await;
    third.closed().await;

    drop(first);
    soon(async {
        loop {
            let mut next = Peer::silent(server.address).await;
            let preface = [crate::peer::PREFACE, &Frame::new(SETTINGS, 0, 0, &[]).encode()].concat();
            let _ = tokio::io::AsyncWriteExt::write_all(&mut next.socket, &preface).await;
            if next.frame().await.is_some() {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    second.get(3, "/").await;
    assert_eq!(second.next(HEADERS).await.payload[0], STATUS_200);
}

#[tokio::test]
async fn the_settings_announce_the_limits() {
    let server = Server::start(TransportSettings::default()).await;
    let mut peer = Peer::open(server.address).await;
    let settings = peer.next(SETTINGS).await;
    assert_eq!(settings.setting(3), Some(128), "streams");
    assert_eq!(settings.setting(4), Some(64 * 1024), "stream window");
    assert_eq!(settings.setting(6), Some(8 * 1024), "header list");
    // The connection's window can only be raised, from 65,535 bytes.
    let window = peer.next(8).await;
    assert_eq!((window.stream, window.number(0)), (0, 256 * 1024 - 65_535));
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let server = Server::start(patient()).await;
    let mut peer = Peer::open(server.address).await;
    // Send everything at once, so that the resets arrive before the server handles the requests.
    let mut burst = Vec::new();
    for stream in (1..400).step_by(2) {
        burst.extend(Frame::get(stream, "/gated", &[]).encode());
        let cancel = Frame::new(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        burst.extend(cancel.encode());
    }
    peer.send(&burst).await;
    assert_eq!(peer.next(GOAWAY).await.number(4), ENHANCE_YOUR_CALM);
    peer.closed().await;
    server.service.running(0).await;
}

#[tokio::test]
async fn malformed_headers_end_the_connection() {
    let server = Server::start(TransportSettings {
        max_local_error_reset_streams: 50,
        ..patient()
    })
    .await;
    let mut peer = Peer::open(server.address).await;
    // `connection: close` makes a request malformed (RFC 9113, section 8.2.2), which is an error of its stream alone.
    let forbidden = b"\x00\x0aconnection\x05close";
    let mut burst = Vec::new();
    for stream in (1..200).step_by(2) {
        burst.extend(Frame::get(stream, "/", forbidden).encode());
    }
    peer.send(&burst).await;
    assert_eq!(peer.next(GOAWAY).await.number(4), ENHANCE_YOUR_CALM);
    peer.closed().await;
}

#[tokio::test]
async fn an_oversized_header_list_fails_only_its_request() {
    let server = Server::start(patient()).await;
    let mut peer = Peer::open(server.address).await;
    // 100 times `x: ` and 100 characters, of which each counts 32 bytes more.
    let mut long = Vec::new();
    for _ in 0..100 {
        long.extend(b"\x00\x01x\x64");
        long.extend([b'a'; 100]);
    }
    peer.send(&Frame::get(1, "/", &long).encode()).await;
    let refused = peer.next(HEADERS).await;
    assert_eq!(refused.stream, 1);
    assert_ne!(refused.payload[0], STATUS_200);
    peer.get(3, "/").await;
    assert_eq!(peer.next(HEADERS).await.payload[0], STATUS_200);
}

#[tokio::test]
async fn a_panicking_handler_fails_only_its_request() {
    let server = Server::start(patient()).await;
    let mut peer = Peer::open(server.address).await;
    peer.get(1, "/panics").await;
    assert_eq!(peer.next(RST_STREAM).await.stream, 1);
    peer.get(3, "/").await;
    assert_eq!(peer.next(HEADERS).await.payload[0], STATUS_200);
}
