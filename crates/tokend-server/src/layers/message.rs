//! A call is served once its whole message has arrived.
//!
//! A client can begin a call and send its message late or never. Until it has arrived the call takes no room from others, and it must
//! arrive within `body_deadline`. If the server had to wait for it, the caller is authenticated a second time, because its key may have
//! been revoked meanwhile. A message that is there at once, as nearly every one is, costs no timer and no second authentication.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{Extensions, Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::time::timeout;
use tonic::{Status, body::Body};
use tower::Service;

use super::{authenticate::Authenticator, dispatch::message_limit};
use crate::{
    access::Authenticated,
    limits::Limits,
    refusal::Refusal,
    room::{Holder, Place, Room, Sizes},
    transport::PeerAddress,
};

/// The compression flag and the length before each message ("Length-Prefixed-Message" in gRPC over HTTP/2).
const PREFIX: usize = 5;

/// Memory for calls that wait for their messages, and how much of it one caller may have; in KiB.
const WAITING: Sizes = Sizes { all: 64 * 1024, each: 16 * 1024, reserve: 0 };
/// Memory that a waiting call takes besides its message, in KiB.
const OF_A_CALL: usize = 4;

/// Waits for the messages of calls.
#[derive(Debug)]
pub(crate) struct Messages {
    authenticator: Arc<Authenticator>,
    waiting: Arc<Room>,
    deadline: Duration,
}

/// Passes calls on once their messages are complete.
#[derive(Clone, Debug)]
pub(crate) struct Complete<S> {
    pub(crate) messages: Arc<Messages>,
    pub(crate) inner: S,
}

/// Why a message is not complete.
enum Broken {
    /// The server refuses the call.
    Refused(Refusal),
    /// The client gave the call up, or broke HTTP/2.
    Lost(Status),
}

impl<S> Service<Request<Body>> for Complete<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static> + Clone + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { messages, mut inner } = self.clone();
        Box::pin(async move {
            match messages.completed(request).await {
                Ok(request) => inner.call(request).await,
                Err(Broken::Refused(refusal)) => Ok(Status::from(refusal).into_http()),
                Err(Broken::Lost(status)) => Ok(status.into_http()),
            }
        })
    }
}

impl Messages {
    pub(crate) fn new(authenticator: Arc<Authenticator>, limits: &Limits) -> Arc<Self> {
        Arc::new(Self { authenticator, waiting: Room::new(WAITING), deadline: limits.body_deadline })
    }

    /// Returns the request with its whole message, if its caller is still let in.
    async fn completed(&self, request: Request<Body>) -> Result<Request<Body>, Broken> {
        let Some(most) = message_limit(request.uri().path()) else { return Ok(request) };
        let (parts, body) = request.into_parts();
        let mut message = Message { body, read: Read::Nothing, most };
        if let Some(complete) = message.complete(None).now_or_never() {
            complete?;
            return Ok(Request::from_parts(parts, message.into_body()));
        }
        let holder = holder(&parts.extensions);
        let waits = self.waiting.take(holder.clone(), OF_A_CALL, false).ok_or(Broken::Refused(Refusal::Overloaded))?;
        match timeout(self.deadline, message.complete(Some((&self.waiting, &holder)))).await {
            Ok(complete) => complete?,
            Err(_elapsed) => return Err(Broken::Refused(Refusal::MessageTooLate { within: self.deadline })),
        }
        drop(waits);
        let mut request = Request::from_parts(parts, message.into_body());
        self.authenticator.admit(&mut request).await.map_err(Broken::Refused)?;
        Ok(request)
    }
}

/// Returns whose waiting call this is.
fn holder(extensions: &Extensions) -> Holder {
    match (extensions.get::<Authenticated>(), extensions.get::<PeerAddress>()) {
        (Some(Authenticated { caller, .. }), _) => Holder::caller(caller),
        (None, Some(PeerAddress(address))) => Holder::Source(address.ip().into()),
        // Every request has an address.
        (None, None) => Holder::Source(std::net::IpAddr::from([0, 0, 0, 0]).into()),
    }
}

/// A message on its way in.
struct Message {
    body: Body,
    read: Read,
    /// Most bytes that it may have.
    most: usize,
}

/// The bytes of a message that have arrived.
enum Read {
    Nothing,
    /// In one piece, as nearly every message arrives.
    One(Bytes),
    Several(BytesMut),
}

impl Message {
    /// Reads to the end of the message. May be dropped and called again. A message that arrives in pieces takes `room`.
    async fn complete(&mut self, room: Option<(&Arc<Room>, &Holder)>) -> Result<(), Broken> {
        let mut place: Option<Place> = None;
        loop {
            let (read, length) = (self.read.bytes().len(), self.length());
            // Nothing may follow the message.
            if length.is_some_and(|length| length > self.most) || read > PREFIX + self.most {
                let length = length.filter(|length| *length > self.most).unwrap_or(read - PREFIX);
                return Err(Broken::Refused(Refusal::MessageTooLarge { length, most: self.most }));
            }
            if let (None, Some((room, holder)), Some(length)) = (&place, room, length)
                && read < PREFIX + length
            {
                let kib = length.div_ceil(1024);
                place = Some(room.take(holder.clone(), kib, false).ok_or(Broken::Refused(Refusal::Overloaded))?);
            }
            let Some(frame) = self.body.frame().await else { return Ok(()) };
            // Trailers are ignored.
            if let Ok(data) = frame.map_err(Broken::Lost)?.into_data() {
                self.read.push(data);
            }
        }
    }

    /// Returns the length that the prefix announces, once the prefix has arrived.
    fn length(&self) -> Option<usize> {
        let (prefix, _) = self.read.bytes().split_first_chunk::<PREFIX>()?;
        let [_compressed, length @ ..] = prefix;
        usize::try_from(u32::from_be_bytes(*length)).ok()
    }

    fn into_body(self) -> Body {
        match self.read {
            Read::Nothing => Body::empty(),
            Read::One(bytes) => Body::new(Full::new(bytes)),
            Read::Several(bytes) => Body::new(Full::new(bytes.freeze())),
        }
    }
}

impl Read {
    fn push(&mut self, data: Bytes) {
        match self {
            _ if data.is_empty() => {}
            Self::Nothing => *self = Self::One(data),
            Self::One(first) => {
                let mut all = BytesMut::from(&first[..]);
                all.extend_from_slice(&data);
                *self = Self::Several(all);
            }
            Self::Several(all) => all.extend_from_slice(&data),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Nothing => &[],
            Self::One(bytes) => bytes,
            Self::Several(bytes) => bytes,
        }
    }
}
