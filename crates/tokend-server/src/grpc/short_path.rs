//! The short path of Verify: a call that memory answers with ALLOW passes no layer.
//!
//! Nearly all calls are such calls, and the layers cost them more than the answer does. This path reads the message,
//! finds the caller and the token in memory, decides, and answers, without waiting for anything in between. Whatever
//! else a call turns out to be is passed on, untouched, to the [layers](super::layers), which know nothing of this path:
//! another method, a refusal, DENY, something that has to be read from the database, a message that has not arrived yet,
//! and any call while the log shows requests. So each refusal has one implementation. This path only has to know when a
//! call is **not** refused:
//!
//! | layer | a call that passes it | here |
//! |---|---|---|
//! | `telemetry` | is counted and timed; has a span if the log is at `debug` | the same; never at `debug` |
//! | `hygiene` | is a POST with the content type of gRPC and without compression | the usual spelling of these |
//! | `refusals`, `framework_errors` | was not refused | is not refused |
//! | `panics` | a panic is an internal fault | the same |
//! | `bounds` | keeps the limit of its connection; is answered in time | the same; needs no time |
//! | `authenticate` | has a caller that may make it | the same, from memory |
//! | `message` | has one message that is not too large | the same, if it has arrived |
//! | `admission` | takes room until it is answered | waits for nothing, so that it takes none from others |

use std::{
    convert::Infallible,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header::CONTENT_TYPE, request::Parts};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use prost::Message;
use tokend_core::{
    time::{BootTime, Clock},
    token::Token,
};
use tokend_proto::{request::token_verify::Verify, v1, view::KnownToken};
use tonic::{Code, Status, body::Body};

use super::layers::{
    authenticate::Gate, hygiene::GRPC_ENCODING, message::PREFIX, middleware::Answer, outcome::GRPC_STATUS,
    panics::answer_to_panic,
};
use crate::{
    auth::last_caller::LastCaller,
    observability::metrics::Telemetry,
    operation::Operation,
    transport::{ConnectionService, InFlight, Peer, RequestService},
    usecases::{self, verify::allow_from_memory},
};

/// Enough for nearly every answer.
const USUAL_BYTES: usize = 512;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Serves connections: Verify by the short path if that has the answer, everything else by the layers.
#[derive(Clone)]
pub(crate) struct ShortPath<S> {
    pub(crate) verify: Arc<VerifyFromMemory>,
    pub(crate) layers: S,
}

/// What the short path needs.
pub(crate) struct VerifyFromMemory {
    pub(crate) context: Arc<usecases::Context>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) telemetry: Telemetry,
    pub(crate) clock: Clock,
    pub(crate) max_in_flight_per_connection: usize,
}

/// The service of one connection.
pub(crate) struct OfConnection<S>(Arc<Shared<S>>);

struct Shared<S> {
    peer: Peer,
    /// Only this connection's own requests meet at this lock, and they share a thread.
    last_caller: Mutex<LastCaller>,
    path: ShortPath<S>,
}

impl<S: RequestService + Sync> ConnectionService for ShortPath<S> {
    type Body = AnswerBody;
    type OfConnection = OfConnection<S>;

    fn of(&self, peer: Peer) -> OfConnection<S> {
        OfConnection(Arc::new(Shared {
            peer,
            last_caller: Mutex::default(),
            path: self.clone(),
        }))
    }
}

impl<S: RequestService + Sync> hyper::service::Service<Request<Incoming>> for OfConnection<S> {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Call<S>;

    fn call(&self, request: Request<Incoming>) -> Call<S> {
        let Self(shared) = self;
        let verify = &shared.path.verify;
        let in_flight = may_be_short(&request)
            .then(|| shared.peer.connection.enter(verify.max_in_flight_per_connection))
            .flatten();
        let Some(in_flight) = in_flight else {
            return Call::Layers(shared.pass_on(request.map(Body::new)));
        };
        Call::Unread(Unread {
            start: verify.clock.boot_time(),
            in_flight,
            shared: Arc::clone(shared),
            request,
        })
    }
}

/// Returns whether the head of a request is that of a usual Verify.
fn may_be_short(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    request.uri().path() == Operation::Verify.facts().path
        && request.method() == Method::POST
        && headers.get(CONTENT_TYPE) == Some(&GRPC)
        && !headers.contains_key(GRPC_ENCODING)
        && headers.keys_len() == headers.len()
        && !tracing::enabled!(tracing::Level::DEBUG)
}

/// A call. Its message is read when it is first polled, because it usually arrives right after the head.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every call is unread once and then answered: no box for those"
)]
pub(crate) enum Call<S> {
    Unread(Unread<S>),
    Layers(Answer),
    Done,
}

/// A call whose message was not read yet.
pub(crate) struct Unread<S> {
    start: BootTime,
    /// The layers count the call themselves, if it is passed on.
    in_flight: InFlight,
    shared: Arc<Shared<S>>,
    request: Request<Incoming>,
}

impl<S: RequestService> Future for Call<S> {
    type Output = Result<Response<AnswerBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Self::Layers(answer) = &mut *self {
            return poll_layers(answer, cx);
        }
        let Self::Unread(unread) = mem::replace(&mut *self, Self::Done) else {
            return Poll::Pending;
        };
        match unread.answer(cx) {
            Ok(response) => Poll::Ready(Ok(response)),
            Err(mut answer) => {
                let polled = poll_layers(&mut answer, cx);
                *self = Self::Layers(answer);
                polled
            }
        }
    }
}

fn poll_layers(answer: &mut Answer, cx: &mut Context<'_>) -> Poll<Result<Response<AnswerBody>, Infallible>> {
    let answered = answer.as_mut().poll(cx);
    answered.map(|Ok(response)| Ok(response.map(AnswerBody::Layers)))
}

impl<S: RequestService> Unread<S> {
    /// Answers the call, or passes it on to the layers.
    fn answer(self, cx: &mut Context<'_>) -> Result<Response<AnswerBody>, Answer> {
        let Self {
            start,
            in_flight,
            shared,
            request,
        } = self;
        let (parts, mut body) = request.into_parts();
        let mut read = Read::default();
        if read.all(&mut body, cx) {
            let message = &read.message;
            let verify = &shared.path.verify;
            // Unwind safe, as it is in the layer that catches panics.
            match catch_unwind(AssertUnwindSafe(|| shared.answer(&parts, message))) {
                Ok(None) => {}
                Ok(Some(response)) => {
                    verify.record(Code::Ok, start);
                    return Ok(response);
                }
                Err(_payload) => {
                    verify.record(Code::Internal, start);
                    return Ok(answer_to_panic().map(AnswerBody::Layers));
                }
            }
        }
        drop(in_flight);
        let body = Body::new(Begun { read, body });
        Err(shared.pass_on(Request::from_parts(parts, body)))
    }
}

/// What was read of a body.
#[derive(Default)]
struct Read {
    message: Bytes,
    error: Option<hyper::Error>,
}

impl Read {
    /// Reads what has arrived, at most one piece. Returns whether that is the whole body.
    fn all(&mut self, body: &mut Incoming, cx: &mut Context<'_>) -> bool {
        loop {
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return false,
                Poll::Ready(None) => return true,
                Poll::Ready(Some(Err(error))) => {
                    self.error = Some(error);
                    return false;
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if self.message.is_empty() => self.message = data,
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => {
                        self.message = [mem::take(&mut self.message), data].concat().into();
                        return false;
                    }
                    // Trailers are ignored, as the layers do.
                    Err(_) => {}
                },
            }
        }
    }
}

impl<S> Shared<S> {
    /// Answers the call from memory, if the verdict is ALLOW.
    fn answer(&self, parts: &Parts, message: &[u8]) -> Option<Response<AnswerBody>> {
        let VerifyFromMemory { context, gate, .. } = &*self.path.verify;
        let facts = Operation::Verify.facts();
        let (prefix, message) = message.split_first_chunk::<PREFIX>()?;
        let [compressed, length @ ..] = *prefix;
        let is_one_message = compressed == 0 && usize::try_from(u32::from_be_bytes(length)) == Ok(message.len());
        if !is_one_message || facts.request_bytes.is_some_and(|most| message.len() > most) {
            return None;
        }
        // Read before anything is looked up (V1): caller and token come from the same memory.
        let memory = context.verifier.trusted_memory()?;
        let mut last = self.last_caller.lock().unwrap_or_else(PoisonError::into_inner);
        let caller = gate.remembered(&memory, facts, &self.peer, &parts.headers, &mut last)?;
        let request = v1::VerifyRequest::decode(message).ok()?;
        let question = Verify::from_message(request, &context.catalog).ok()?;
        allow_from_memory(context, &memory, caller, &question, response)
    }
}

impl VerifyFromMemory {
    fn record(&self, code: Code, start: BootTime) {
        let duration = self.clock.boot_time().saturating_since(start);
        self.telemetry.record_request(Some(Operation::Verify), code, duration);
    }
}

impl<S: RequestService> Shared<S> {
    fn pass_on(&self, mut request: Request<Body>) -> Answer {
        self.peer.add_to(request.extensions_mut());
        let mut layers = self.path.layers.clone();
        // The layers are always ready: none of them limits calls before it has seen them.
        Box::pin(layers.call(request))
    }
}

/// Returns the response that allows a token.
fn response(allowed: &KnownToken<&Token>) -> Response<AnswerBody> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    bytes.extend_from_slice(&[0; PREFIX]);
    allowed.encode_allow(&mut bytes);
    let length = u32::try_from(bytes.len() - PREFIX).unwrap_or(u32::MAX);
    bytes[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    let mut response = Response::new(AnswerBody::Short(OneMessage::Message(bytes.into())));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// The body of an answer: of the short path, or of the layers.
pub(crate) enum AnswerBody {
    Short(OneMessage),
    Layers(Body),
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            Self::Short(message) => Pin::new(message).poll_frame(cx),
            Self::Layers(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Short(message) => message.is_end_stream(),
            Self::Layers(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Short(message) => message.size_hint(),
            Self::Layers(body) => body.size_hint(),
        }
    }
}

/// A body of one message and the trailers of a call that succeeded.
pub(crate) enum OneMessage {
    Message(Bytes),
    Trailers,
    End,
}

impl HttpBody for OneMessage {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let frame = match mem::replace(this, Self::End) {
            Self::Message(message) => {
                *this = Self::Trailers;
                Some(Ok(Frame::data(message)))
            }
            Self::Trailers => {
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
                Some(Ok(Frame::trailers(trailers)))
            }
            Self::End => None,
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::End)
    }
}

/// A body of which something was read already.
struct Begun {
    read: Read,
    body: Incoming,
}

impl HttpBody for Begun {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { read, body } = self.get_mut();
        if !read.message.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(mem::take(&mut read.message)))));
        }
        match read.error.take() {
            Some(error) => Poll::Ready(Some(Err(error))),
            None => Pin::new(body).poll_frame(cx),
        }
    }
}
