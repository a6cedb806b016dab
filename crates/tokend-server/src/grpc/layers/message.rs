//! Serves a call after its whole message has arrived.
//!
//! A client can begin a call and send its message late or never. Until the message has arrived, the call takes no
//! capacity from other calls. The message must arrive within `body_deadline`. If the server had to wait for it, it
//! authenticates the caller a second time, because the caller's key may have been revoked meanwhile. A message that
//! arrives with the call, as nearly all do, costs no timer and no second authentication.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{Extensions, Request};
use http_body_util::{BodyExt, Full};
use tokio::time::timeout;
use tonic::{Status, body::Body};

use super::{
    authenticate::Gate,
    middleware::{Answer, Middleware, refused},
};
use crate::{
    auth::Authenticated,
    error::ServiceError,
    limits::Limits,
    limits::room::{Holder, Place, Room, Sizes},
    operation::Operation,
    transport::{PeerAddress, RequestService},
};

/// The bytes of the compression flag and the length before each message ("Length-Prefixed-Message" in gRPC over
/// HTTP/2).
pub(crate) const PREFIX: usize = 5;

/// The memory for calls that wait for their messages, in total and for each caller, in KiB.
const WAITING: Sizes = Sizes {
    all: 64 * 1024,
    each: 16 * 1024,
    reserve: 0,
};
/// The memory that a waiting call takes besides its message, in KiB.
const OF_A_CALL: usize = 4;

/// Waits for the messages of calls.
#[derive(Debug)]
pub(crate) struct Messages {
    gate: Arc<Gate>,
    waiting: Arc<Room>,
    deadline: Duration,
}

/// Why a message is not complete.
enum Broken {
    /// The server refuses the call.
    Refused(ServiceError),
    /// The client cancelled the call or violated HTTP/2.
    Lost(Status),
}

impl Middleware for Arc<Messages> {
    fn call<S: RequestService>(&self, request: Request<Body>, inner: &mut S) -> Answer {
        let (messages, mut inner) = (Arc::clone(self), inner.clone());
        Box::pin(async move {
            match messages.completed(request).await {
                Ok(request) => inner.call(request).await,
                Err(Broken::Refused(error)) => Ok(refused(error)),
                Err(Broken::Lost(status)) => Ok(status.into_http()),
            }
        })
    }
}

impl Messages {
    pub(crate) fn new(gate: Arc<Gate>, limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            gate,
            waiting: Room::new(WAITING),
            deadline: limits.body_deadline,
        })
    }

    /// Returns the request with its whole message, if its caller is still authenticated.
    async fn completed(&self, request: Request<Body>) -> Result<Request<Body>, Broken> {
        let Some(operation) = request.extensions().get::<Operation>() else {
            let path = request.uri().path().to_owned();
            return Err(Broken::Refused(ServiceError::UnknownMethod(path)));
        };
        let Some(most) = operation.facts().request_bytes else {
            return Ok(request);
        };
        let (parts, body) = request.into_parts();
        let mut message = Message {
            body,
            read: Read::Nothing,
            most,
        };
        if let Some(complete) = message.complete(None).now_or_never() {
            complete?;
            return Ok(Request::from_parts(parts, message.into_body()));
        }
        let holder = holder(&parts.extensions);
        let waits = self
            .waiting
            .take(holder.clone(), OF_A_CALL, false)
            .ok_or(Broken::Refused(ServiceError::Overloaded))?;
        match timeout(self.deadline, message.complete(Some((&self.waiting, &holder)))).await {
            Ok(complete) => complete?,
            Err(_elapsed) => return Err(Broken::Refused(ServiceError::MessageTooLate { within: self.deadline })),
        }
        drop(waits);
        let mut request = Request::from_parts(parts, message.into_body());
        self.gate.admit(&mut request).await.map_err(Broken::Refused)?;
        Ok(request)
    }
}

/// Returns the holder that a waiting call counts for.
fn holder(extensions: &Extensions) -> Holder {
    match (extensions.get::<Authenticated>(), extensions.get::<PeerAddress>()) {
        (Some(Authenticated { caller, .. }), _) => Holder::caller(caller),
        (None, Some(PeerAddress(address))) => Holder::Source(address.ip().into()),
        // Every request has an address.
        (None, None) => Holder::Source(std::net::IpAddr::from([0, 0, 0, 0]).into()),
    }
}

/// A message that is being received.
struct Message {
    body: Body,
    read: Read,
    /// The maximum size in bytes.
    most: usize,
}

/// The bytes of a message that have arrived.
enum Read {
    Nothing,
    /// One piece, as nearly all messages arrive.
    One(Bytes),
    Several(BytesMut),
}

impl Message {
    /// Reads to the end of the message. Can be cancelled and called again. A message that arrives in pieces takes
    /// memory from `room`.
    async fn complete(&mut self, room: Option<(&Arc<Room>, &Holder)>) -> Result<(), Broken> {
        let mut place: Option<Place> = None;
        loop {
            let (read, length) = (self.read.bytes().len(), self.length());
            // No data may follow the message.
            if length.is_some_and(|length| length > self.most) || read > PREFIX + self.most {
                let length = length.filter(|length| *length > self.most).unwrap_or(read - PREFIX);
                return Err(Broken::Refused(ServiceError::MessageTooLarge {
                    length,
                    most: self.most,
                }));
            }
            if let (None, Some((room, holder)), Some(length)) = (&place, room, length)
                && read < PREFIX + length
            {
                let kib = length.div_ceil(1024);
                place = Some(
                    room.take(holder.clone(), kib, false)
                        .ok_or(Broken::Refused(ServiceError::Overloaded))?,
                );
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(());
            };
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
