//! A connection is closed at its maximum age and by a shutdown, whatever its peer does.

use std::time::Duration;

use tokend_server::transport::{Report, TransportSettings};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::peer::{
    END_STREAM, Frame, GOAWAY, HEADERS, LAST_STREAM_OPEN, NO_ERROR, PREFACE, Peer, SETTINGS, STATUS_200,
};
use crate::support::{Server, patient, soon};

const SHORT: Duration = Duration::from_millis(300);

/// Expects two GOAWAYs. The first rejects no stream yet; the second, after a round trip, names the last served stream.
async fn expect_goaway(peer: &mut Peer, last_stream: u32) {
    for last in [LAST_STREAM_OPEN, last_stream] {
        let goaway = peer.next(GOAWAY).await;
        assert_eq!(goaway.number(0), last, "the last stream");
        assert_eq!(goaway.number(4), NO_ERROR, "the reason");
    }
}

async fn expect_answer(peer: &mut Peer, stream: u32) {
    let answer = peer.next(HEADERS).await;
    assert_eq!(answer.stream, stream);
    assert_eq!(answer.payload[0], STATUS_200);
    assert_eq!(answer.flags & END_STREAM, END_STREAM);
}

#[tokio::test]
async fn a_connection_at_its_maximum_age_completes_its_requests() {
    let server = Server::start(TransportSettings {
        connection_age: SHORT,
        ..patient()
    })
    .await;
    let mut peer = Peer::open(server.address).await;
    peer.get(1, "/gated").await;
    expect_goaway(&mut peer, 1).await;
    server.service.gate.send_replace(true);
    expect_answer(&mut peer, 1).await;
    peer.closed().await;
}

#[tokio::test]
async fn a_request_that_exceeds_the_grace_period_is_cut() {
    let server = Server::start(TransportSettings {
        connection_age: SHORT,
        connection_age_grace: SHORT,
        ..patient()
    })
    .await;
    let mut peer = Peer::open(server.address).await;
    peer.get(1, "/unanswered").await;
    expect_goaway(&mut peer, 1).await;
    server.service.running(1).await;
    peer.closed().await;
    // The handler is dropped with its connection.
    server.service.running(0).await;
}

#[tokio::test]
async fn a_shutdown_lets_requests_in_flight_complete() {
    let server = Server::start(patient()).await;
    let mut peer = Peer::open(server.address).await;
    peer.get(1, "/gated").await;
    server.service.running(1).await;
    server.begin_shutdown();
    expect_goaway(&mut peer, 1).await;
    server.service.gate.send_replace(true);
    expect_answer(&mut peer, 1).await;
    let report = server.shut_down().await;
    let drained = Report {
        drained: 1,
        ..Report::default()
    };
    assert_eq!(report, drained);
}

#[tokio::test]
async fn a_shutdown_closes_the_listener_first() {
    let server = Server::start(patient()).await;
    let mut peer = Peer::open(server.address).await;
    peer.get(1, "/gated").await;
    server.service.running(1).await;
    server.begin_shutdown();
    peer.next(GOAWAY).await;
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_silent_connections() {
    let server = Server::start(TransportSettings {
        quiet: SHORT,
        ..patient()
    })
    .await;
    let _says_nothing = Peer::silent(server.address).await;
    let mut half_a_preface = Peer::silent(server.address).await;
    half_a_preface.send(&PREFACE[..12]).await;
    let mut only_a_preface = Peer::silent(server.address).await;
    only_a_preface.send(PREFACE).await;
    let mut answers_no_ping = Peer::open(server.address).await;
    answers_no_ping.get(1, "/").await;
    answers_no_ping.next(HEADERS).await;
    // This connection was served, so the acceptor has accepted the earlier ones.
    let report = server.shut_down().await;
    let drained = Report {
        drained: 4,
        ..Report::default()
    };
    assert_eq!(report, drained);
}

#[tokio::test]
async fn a_shutdown_cuts_requests_that_do_not_end() {
    for path in ["/unanswered", "/endless"] {
        let server = Server::start(TransportSettings {
            drain: SHORT,
            ..patient()
        })
        .await;
        let service = server.service.clone();
        let mut peer = Peer::open(server.address).await;
        peer.get(1, path).await;
        if path == "/endless" {
            peer.next(HEADERS).await;
        } else {
            service.running(1).await;
        }
        let mut reads = tokio::spawn(async move { while peer.frame().await.is_some() {} });
        server.begin_shutdown();
        assert!(
            timeout(SHORT / 2, &mut reads).await.is_err(),
            "the request gets the grace period"
        );
        let report = server.shut_down().await;
        let cut = Report {
            cut: 1,
            ..Report::default()
        };
        assert_eq!(report, cut, "{path}");
        service.running(0).await;
        soon(reads).await.expect("the connection is closed");
    }
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_peer_that_never_reads() {
    let server = Server::start(TransportSettings {
        drain: SHORT,
        ..patient()
    })
    .await;
    let mut peer = Peer::silent(server.address).await;
    peer.send(PREFACE).await;
    // With maximum windows, only the socket's buffers stop the server.
    let windows = Frame::new(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    peer.send(&windows.encode()).await;
    let window = Frame::new(8, 0, 0, &0x7fff_0000_u32.to_be_bytes());
    peer.send(&window.encode()).await;
    peer.get(1, "/flood").await;
    // The body has begun. From here on, the peer reads nothing.
    peer.next(crate::peer::DATA).await;
    let report = server.shut_down().await;
    assert_eq!(report.cut, 1);
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_worker_whose_thread_is_blocked() {
    let server = Server::start(TransportSettings {
        drain: SHORT,
        ..patient()
    })
    .await;
    let service = server.service.clone();
    let mut peer = Peer::open(server.address).await;
    peer.get(1, "/blocks").await;
    service.blocked().await;
    let report = server.shut_down().await;
    assert_eq!(report.lost_workers, 1);
    service.unblock.send(()).expect("a thread waits");
}

#[tokio::test]
async fn dropping_the_serving_future_drains_requests() {
    let server = Server::start(patient()).await;
    let mut peer = Peer::open(server.address).await;
    peer.get(1, "/gated").await;
    server.service.running(1).await;
    server.forget();
    expect_goaway(&mut peer, 1).await;
    server.service.gate.send_replace(true);
    expect_answer(&mut peer, 1).await;
    peer.closed().await;
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_blocking_work() {
    let server = Server::start(TransportSettings {
        drain: SHORT,
        ..patient()
    })
    .await;
    let service = server.service.clone();
    let mut peer = Peer::open(server.address).await;
    peer.get(1, "/blocks-another-thread").await;
    service.blocked().await;
    assert_eq!(
        server.shut_down().await,
        Report {
            cut: 1,
            ..Report::default()
        }
    );
    service.unblock.send(()).expect("a thread waits");
}
