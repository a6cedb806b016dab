//! A peer that sends any HTTP/2 frames (RFC 9113), including those that a well-behaved client never sends.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::soon;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;

const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// HPACK for `:status: 200`.
pub(crate) const STATUS_200: u8 = 0x88;

pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// The stream id of the first GOAWAY: no stream is rejected yet.
pub(crate) const LAST_STREAM_OPEN: u32 = (1 << 31) - 1;

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        let payload = payload.to_vec();
        Self {
            kind,
            flags,
            stream,
            payload,
        }
    }

    /// HEADERS of a GET without a body, with additional headers in HPACK.
    pub(crate) fn get(stream: u32, path: &str, more: &[u8]) -> Self {
        let mut block = vec![0x82, 0x86, 0x01, 4];
        block.extend(b"test");
        block.extend([0x04, u8::try_from(path.len()).expect("a short path")]);
        block.extend(path.as_bytes());
        block.extend(more);
        Self::new(HEADERS, END_STREAM | END_HEADERS, stream, &block)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("a short frame");
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The 32-bit number at `at`: of a GOAWAY, the last stream at 0 and the error at 4.
    pub(crate) fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("4 bytes"))
    }

    /// A SETTINGS parameter.
    pub(crate) fn setting(&self, id: u16) -> Option<u32> {
        let mut entries = self.payload.chunks_exact(6);
        let entry = entries.find(|entry| entry[..2] == id.to_be_bytes())?;
        Some(u32::from_be_bytes(entry[2..].try_into().expect("4 bytes")))
    }

    fn is(&self, kind: u8) -> bool {
        self.kind == kind
    }
}

pub(crate) struct Peer {
    pub(crate) socket: TcpStream,
}

impl Peer {
    /// A TCP connection on which nothing was sent.
    pub(crate) async fn silent(address: SocketAddr) -> Self {
        let socket = soon(TcpStream::connect(address)).await.expect("connect");
        Self { socket }
    }

    /// A connection that has sent its preface and empty SETTINGS.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let mut peer = Self::silent(address).await;
        peer.send(PREFACE).await;
        peer.send(&Frame::new(SETTINGS, 0, 0, &[]).encode()).await;
        peer
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        soon(self.socket.write_all(bytes)).await.expect("send");
    }

    pub(crate) async fn get(&mut self, stream: u32, path: &str) {
        self.send(&Frame::get(stream, path, &[]).encode()).await;
    }

    /// Returns the next frame, or nothing at the connection's end. Answers PINGs, as every client must.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.socket.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let frame = Frame::new(head[3], head[4], stream, &payload);
        if frame.is(PING) && frame.flags & ACK == 0 {
            let pong = Frame::new(PING, ACK, 0, &frame.payload);
            let _ = self.socket.write_all(&pong.encode()).await;
        }
        Some(frame)
    }

    /// Returns the next frame of this kind.
    pub(crate) async fn next(&mut self, kind: u8) -> Frame {
        soon(async {
            loop {
                let frame = self.frame().await.expect("a frame before the connection's end");
                if frame.is(kind) {
                    return frame;
                }
            }
        })
        .await
    }

    /// Reads to the end of the connection, whether by FIN or by RST, without answering anything.
    pub(crate) async fn closed(&mut self) {
        let mut rest = Vec::new();
        let _ = soon(self.socket.read_to_end(&mut rest)).await;
    }
}
