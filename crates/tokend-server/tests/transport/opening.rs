//! The start of a connection: which peers are served, and which are disconnected.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokend_server::transport::{TransportError, TransportSettings, serve};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::peer::{PREFACE, Peer};
use crate::support::{Server, patient, soon};

#[tokio::test]
async fn a_request_is_answered_and_has_its_peers_address() {
    let server = Server::start(patient()).await;
    let socket = TcpStream::connect(server.address).await.expect("connect");
    let mine = socket.local_addr().expect("address");
    let (mut requests, connection) = http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(socket))
        .await
        .expect("handshake");
    tokio::spawn(connection);
    let request = Request::get("http://test/peer").body(Empty::new());
    let answer = requests.send_request(request.expect("a request"));
    let answer = soon(answer).await.expect("an answer");
    let body = answer.into_body().collect().await.expect("a body");
    assert_eq!(body.to_bytes(), mine.to_string());
}

#[tokio::test]
async fn what_is_not_http2_is_closed_at_once() {
    let server = Server::start(patient()).await;
    let http1 = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n".as_slice();
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice();
    let almost = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r".as_slice();
    for bytes in [http1, tls, almost] {
        let mut peer = Peer::silent(server.address).await;
        peer.send(bytes).await;
        peer.closed().await;
    }
}

#[tokio::test]
async fn a_silent_connection_is_closed_at_the_preface_deadline() {
    let due = Duration::from_millis(300);
    let server = Server::start(TransportSettings {
        preface_timeout: due,
        ..patient()
    })
    .await;
    let mut peer = Peer::silent(server.address).await;
    assert!(
        timeout(due / 2, peer.closed()).await.is_err(),
        "the connection stays open until the deadline"
    );
    peer.closed().await;
}

#[tokio::test]
async fn a_slow_preface_does_not_extend_the_deadline() {
    let server = Server::start(TransportSettings {
        preface_timeout: Duration::from_millis(300),
        ..patient()
    })
    .await;
    let mut peer = Peer::silent(server.address).await;
    let (mut reads, mut writes) = peer.socket.split();
    let trickle = async {
        for byte in PREFACE {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut writes, &[*byte]).await;
            sleep(Duration::from_millis(100)).await;
        }
    };
    let mut rest = Vec::new();
    tokio::select! {
        () = trickle => panic!("the whole preface was accepted"),
        _ = tokio::io::AsyncReadExt::read_to_end(&mut reads, &mut rest) => {}
    }
}

#[tokio::test]
async fn a_peer_that_is_silent_after_its_preface_is_closed_by_keepalive() {
    let server = Server::start(TransportSettings {
        keepalive_interval: Duration::from_millis(100),
        keepalive_timeout: Duration::from_millis(100),
        ..patient()
    })
    .await;
    let mut peer = Peer::silent(server.address).await;
    peer.send(PREFACE).await;
    peer.closed().await;
}

#[tokio::test]
async fn a_setting_out_of_range_is_rejected_at_start() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let settings = TransportSettings {
        drain: Duration::ZERO,
        ..patient()
    };
    let service = crate::support::Paths::default();
    let refused = soon(serve(listener, service, settings, std::future::pending())).await;
    assert!(matches!(refused, Err(TransportError::Settings(error)) if error.name == "drain"));
}
