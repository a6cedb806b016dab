//! Peers that do what a well-behaved client never does: with h2 where the frames are right and what they say is not, byte by byte
//! where the frames themselves are wrong (RFC 9113).

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::Request;
use tokend_tests::{Process, raw::bearer};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tonic::{Code, Status};

/// How long an answer to an honest client may take while others misbehave, on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// How long a call may take before a test gives it up: longer than every deadline.
const LONGEST_CALL: Duration = Duration::from_secs(60);

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// A connection on which requests can be begun and left alone.
pub(crate) struct Peer {
    requests: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

/// A call that was begun. Its message is sent, or not, as the test likes.
pub(crate) struct Call {
    answer: ResponseFuture,
    message: SendStream<Bytes>,
}

impl Peer {
    pub(crate) async fn connect(address: &str) -> Self {
        Self::on(TcpStream::connect(address).await.expect("it is let in")).await
    }

    /// Connects from 127.0.0.`host`.
    pub(crate) async fn connect_from(host: u8, address: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0))).expect("it is of this machine");
        Self::on(socket.connect(address.parse().expect("an address")).await.expect("it is let in")).await
    }

    async fn on(socket: TcpStream) -> Self {
        let (requests, connection) = h2::client::handshake(socket).await.expect("it speaks HTTP/2");
        let driver = tokio::spawn(async {
            let _ = connection.await;
        });
        Self { requests, driver }
    }

    /// Sends the head of a call as whoever has this key, and nothing more.
    pub(crate) async fn begin(&mut self, path: &str, key: &str, more: &[(&str, &str)]) -> Call {
        let mut request = Request::post(format!("http://tokend{path}")).header("content-type", "application/grpc");
        request = request.header("te", "trailers").header("authorization", bearer(key));
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let mut requests = self.requests.clone().ready().await.expect("the connection is open");
        let (answer, message) = requests.send_request(request.body(()).expect("it is one"), false).expect("it is sent");
        Call { answer, message }
    }

    /// Whether the server has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        self.driver.is_finished()
    }
}

impl Call {
    /// Sends this message, which completes the call, and waits for what comes of it.
    pub(crate) async fn send(mut self, message: &[u8]) -> Result<(), Status> {
        let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
        // A call that was refused already takes no message.
        let _ = self.message.send_data([&[0][..], &length, message].concat().into(), true);
        outcome(self.answer).await
    }

    /// Sends these bytes, and nothing more for now.
    pub(crate) fn send_part(&mut self, bytes: &[u8]) {
        self.message.send_data(Bytes::copy_from_slice(bytes), false).expect("it is sent");
    }

    /// Sends these bytes, the last ones, and waits for what comes of the call.
    pub(crate) async fn send_rest(mut self, bytes: &[u8]) -> Result<(), Status> {
        self.message.send_data(Bytes::copy_from_slice(bytes), true).expect("it is sent");
        outcome(self.answer).await
    }

    /// Sends an empty message, which completes the call, and waits for what comes of it.
    pub(crate) async fn finish(mut self) -> Result<(), Status> {
        // One that was refused already takes no message.
        let _ = self.message.send_data(Bytes::from_static(&[0; 5]), true);
        outcome(self.answer).await
    }

    /// Waits for what comes of it as it is.
    pub(crate) async fn outcome(self) -> Result<(), Status> {
        let Self { answer, message } = self;
        let outcome = outcome(answer).await;
        drop(message);
        outcome
    }

    /// Sends an empty message, the only one, and waits for the head of the answer, behind which a stream goes on.
    pub(crate) async fn stream(mut self) -> RecvStream {
        self.message.send_data(Bytes::from_static(&[0; 5]), true).expect("it is sent");
        self.open_stream().await.0
    }

    /// Sends an empty message, the only one, and waits for the head of the answer, behind which a stream goes on if it is not refused.
    pub(crate) async fn watch(mut self) -> Result<RecvStream, Status> {
        self.message.send_data(Bytes::from_static(&[0; 5]), true).expect("it is sent");
        let answer = self.answer.await.expect("it is answered");
        match Status::from_header_map(answer.headers()) {
            Some(status) => Err(status),
            None => Ok(answer.into_body()),
        }
    }

    /// Waits for the head of the answer to a stream of messages that has not ended.
    pub(crate) async fn open_stream(self) -> (RecvStream, SendStream<Bytes>) {
        let Self { answer, message } = self;
        let answer = timeout(2 * PATIENCE, answer).await.expect("in time").expect("it is answered");
        assert!(Status::from_header_map(answer.headers()).is_none(), "{answer:?}");
        (answer.into_body(), message)
    }
}

async fn outcome(answer: ResponseFuture) -> Result<(), Status> {
    let answer = timeout(LONGEST_CALL, answer).await.expect("in time").expect("it is answered");
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return if status.code() == Code::Ok { Ok(()) } else { Err(status) };
    }
    let mut body = answer.into_body();
    while let Some(data) = body.data().await {
        let length = data.expect("it arrives").len();
        body.flow_control().release_capacity(length).expect("it was received");
    }
    let trailers = body.trailers().await.expect("they arrive").expect("there are some");
    match Status::from_header_map(&trailers) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(()),
    }
}

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// HEADERS of a call of Verify without a body, with more of them in HPACK.
pub(crate) fn headers(stream: u32, more: &[u8]) -> Vec<u8> {
    const POST_HTTP: [u8; 2] = [0x83, 0x86];
    let path = b"/tokend.v1.TokenVerify/Verify";
    let mut block = POST_HTTP.to_vec();
    block.extend([0x01, 1, b't', 0x04, u8::try_from(path.len()).expect("short")]);
    block.extend(path);
    block.extend(more);
    frame(1, 4, stream, &block)
}

/// Sends it all, or as much as the server takes.
pub(crate) async fn send(socket: &mut TcpStream, bytes: &[u8]) {
    let _ = timeout(PATIENCE, socket.write_all(bytes)).await;
}

/// The most memory that a process has had resident so far, in MiB.
pub(crate) fn peak_memory(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).expect("it is told");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is told");
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024
}
