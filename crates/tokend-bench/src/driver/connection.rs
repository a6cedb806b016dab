//! One connection, and the calls on one of its streams, one after the other.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, client::SendRequest};
use http::{HeaderMap, Request, StatusCode};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::rustls::pki_types::ServerName;

use super::{SAMPLE, Shared, target::Target};
use crate::{BoxError, statistics::SplitMix64};

/// The windows of hyper's client, and so of tonic's.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 5 << 20;

/// Opens a connection, which a task of `driving` drives until nobody uses it any more.
pub(super) async fn open(target: &Target, driving: &mut JoinSet<()>) -> Result<SendRequest<Bytes>, BoxError> {
    let socket = TcpStream::connect(target.address).await?;
    socket.set_nodelay(true)?;
    match &target.tls {
        None => begin(socket, driving).await,
        Some(tls) => begin(tls.connect(ServerName::try_from("localhost")?, socket).await?, driving).await,
    }
}

async fn begin<I>(io: I, driving: &mut JoinSet<()>) -> Result<SendRequest<Bytes>, BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .enable_push(false)
        .handshake(io)
        .await?;
    // If it fails, so do its calls, and they say why.
    driving.spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// Makes calls one after the other, until the plan has no more.
pub(super) async fn calls(
    mut sender: SendRequest<Bytes>,
    shared: Arc<Shared>,
    mut random: SplitMix64,
) -> Result<(), BoxError> {
    let target = &*shared.target;
    while let Some(request) = shared.next(&mut random) {
        let start = shared.clock.boot_time();
        let answer;
        (sender, answer) = call(sender, target, request).await?;
        let took = shared.clock.boot_time().saturating_since(start);
        target.check(request, &answer, random.next_u64().is_multiple_of(SAMPLE))?;
        shared.latencies().record(took);
    }
    Ok(())
}

/// Makes one call. Returns the answer, with its frame's head.
pub(super) async fn call(
    sender: SendRequest<Bytes>,
    target: &Target,
    request: usize,
) -> Result<(SendRequest<Bytes>, Bytes), BoxError> {
    let mut sender = sender.ready().await?;
    let head = Request::from_parts(target.head.clone(), ());
    let (response, mut body) = sender.send_request(head, false)?;
    body.send_data(target.requests[request].clone(), true)?;
    let (head, body) = response.await?.into_parts();
    if head.status != StatusCode::OK {
        return Err(format!("HTTP status {}", head.status).into());
    }
    Ok((sender, read(body, &head.headers).await?))
}

/// Reads an answer to its end. Fails unless its gRPC status is OK.
async fn read(mut body: RecvStream, headers: &HeaderMap) -> Result<Bytes, BoxError> {
    let mut answer = Bytes::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        answer = if answer.is_empty() {
            data
        } else {
            joined(&answer, &data)
        };
    }
    let trailers = body.trailers().await?;
    // A call that fails at once has its status in the headers.
    let ending = trailers.as_ref().unwrap_or(headers);
    let text = |name| {
        ending
            .get(name)
            .and_then(|value: &http::HeaderValue| value.to_str().ok())
    };
    match text("grpc-status") {
        Some("0") => Ok(answer),
        status => Err(format!("gRPC status {status:?}: {:?}", text("grpc-message")).into()),
    }
}

fn joined(first: &[u8], second: &[u8]) -> Bytes {
    let mut both = BytesMut::with_capacity(first.len() + second.len());
    both.extend_from_slice(first);
    both.extend_from_slice(second);
    both.freeze()
}
