//! Peers that misbehave: through h2 with valid frames and invalid contents, or byte by byte with invalid frames (RFC
//! 9113).

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

/// The longest wait for an answer to a well-behaved client while others misbehave, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The longest wait for a call: longer than every deadline.
const LONGEST_CALL: Duration = Duration::from_secs(60);

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// A connection on which a test can begin requests without completing them.
pub(crate) struct Peer {
    requests: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

/// A call that has begun. The test decides whether to send its message.
pub(crate) struct Call {
    answer: ResponseFuture,
    message: SendStream<Bytes>,
}

impl Peer {
    pub(crate) async fn connect(address: &str) -> Self {
        Self::on(TcpStream::connect(address).await.expect("the connection opens")).await
    }

    /// Connects from 127.0.0.`host`.
    pub(crate) async fn connect_from(host: u8, address: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("the socket is created");
        socket
            .bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0)))
            .expect("the address is local");
        Self::on(
            socket
                .connect(address.parse().expect("the address is valid"))
                .await
                .expect("the connection opens"),
        )
        .await
    }

    async fn on(socket: TcpStream) -> Self {
        let (requests, connection) = h2::client::handshake(socket).await.expect("the server speaks HTTP/2");
        let driver = tokio::spawn(async {
            let _ = connection.await;
        });
        Self { requests, driver }
    }

    /// Sends the headers of a call with this key, and nothing more.
    pub(crate) async fn begin(&mut self, path: &str, key: &str, more: &[(&str, &str)]) -> Call {
        let mut request = Request::post(format!("http://tokend{path}")).header("content-type", "application/grpc");
        request = request.header("te", "trailers").header("authorization", bearer(key));
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let mut requests = self.requests.clone().ready().await.expect("the connection is open");
        let (answer, message) = requests
            .send_request(request.body(()).expect("the request is valid"), false)
            .expect("the bytes are sent");
        Call { answer, message }
    }

    /// Returns whether the server has closed the connection.
    pub(crate) fn is_closed(&self) -> bool {
        self.driver.is_finished()
    }
}

impl Call {
    /// Completes the call with this message, and waits for its outcome.
    pub(crate) async fn send(mut self, message: &[u8]) -> Result<(), Status> {
        let length = u32::try_from(message.len())
            .expect("the length fits into 32 bits")
            .to_be_bytes();
        // A call that is already refused accepts no message.
        let _ = self
            .message
            .send_data([&[0][..], &length, message].concat().into(), true);
        outcome(self.answer).await
    }

    /// Sends these bytes and leaves the call open.
    pub(crate) fn send_part(&mut self, bytes: &[u8]) {
        self.message
            .send_data(Bytes::copy_from_slice(bytes), false)
            .expect("the bytes are sent");
    }

    /// Sends the last bytes of the call, and waits for its outcome.
    pub(crate) async fn send_rest(mut self, bytes: &[u8]) -> Result<(), Status> {
        self.message
            .send_data(Bytes::copy_from_slice(bytes), true)
            .expect("the bytes are sent");
        outcome(self.answer).await
    }

    /// Completes the call with an empty message, and waits for its outcome.
    pub(crate) async fn finish(mut self) -> Result<(), Status> {
        // A call that is already refused accepts no message.
        let _ = self.message.send_data(Bytes::from_static(&[0; 5]), true);
        outcome(self.answer).await
    }

    /// Waits for the call's outcome without sending anything.
    pub(crate) async fn outcome(self) -> Result<(), Status> {
        let Self { answer, message } = self;
        let outcome = outcome(answer).await;
        drop(message);
        outcome
    }

    /// Sends a single empty message, waits for the response headers, and returns the open stream.
    pub(crate) async fn stream(mut self) -> RecvStream {
        self.message
            .send_data(Bytes::from_static(&[0; 5]), true)
            .expect("the bytes are sent");
        self.open_stream().await.0
    }

    /// Sends a single empty message and waits for the response headers. Returns the open stream, or the refusal.
    pub(crate) async fn watch(mut self) -> Result<RecvStream, Status> {
        self.message
            .send_data(Bytes::from_static(&[0; 5]), true)
            .expect("the bytes are sent");
        let answer = self.answer.await.expect("the response has headers");
        match Status::from_header_map(answer.headers()) {
            Some(status) => Err(status),
            None => Ok(answer.into_body()),
        }
    }

    /// Waits for the response headers while the request stream is open.
    pub(crate) async fn open_stream(self) -> (RecvStream, SendStream<Bytes>) {
        let Self { answer, message } = self;
        let answer = timeout(2 * PATIENCE, answer)
            .await
            .expect("the response arrives in time")
            .expect("the response has headers");
        assert!(Status::from_header_map(answer.headers()).is_none(), "{answer:?}");
        (answer.into_body(), message)
    }
}

async fn outcome(answer: ResponseFuture) -> Result<(), Status> {
    let answer = timeout(LONGEST_CALL, answer)
        .await
        .expect("the response arrives in time")
        .expect("the response has headers");
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return if status.code() == Code::Ok { Ok(()) } else { Err(status) };
    }
    let mut body = answer.into_body();
    while let Some(data) = body.data().await {
        let length = data.expect("the data arrives").len();
        body.flow_control()
            .release_capacity(length)
            .expect("the capacity is released");
    }
    let trailers = body
        .trailers()
        .await
        .expect("the trailers arrive")
        .expect("the response has trailers");
    match Status::from_header_map(&trailers) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(()),
    }
}

/// Encodes a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("the length fits into 32 bits")
        .to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Encodes the HEADERS of a Verify call without a body, with additional HPACK fields.
pub(crate) fn headers(stream: u32, more: &[u8]) -> Vec<u8> {
    const POST_HTTP: [u8; 2] = [0x83, 0x86];
    let path = b"/tokend.v1.TokenVerify/Verify";
    let mut block = POST_HTTP.to_vec();
    block.extend([
        0x01,
        1,
        b't',
        0x04,
        u8::try_from(path.len()).expect("the path is short"),
    ]);
    block.extend(path);
    block.extend(more);
    frame(1, 4, stream, &block)
}

/// Sends the bytes, or as many as the server accepts.
pub(crate) async fn send(socket: &mut TcpStream, bytes: &[u8]) {
    let _ = timeout(PATIENCE, socket.write_all(bytes)).await;
}

/// Returns the peak resident memory of a process in MiB.
pub(crate) fn peak_memory(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).expect("the process has a status");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("the process has a status");
    let kib: u64 = peak
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("the peak is a number");
    kib / 1024
}
