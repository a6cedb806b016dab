//! The short path of Verify and BatchVerify: a call that memory answers with ALLOW passes no layer.
//!
//! Nearly all calls are such calls, and the layers cost them more than the answer does. This path reads the message,
//! finds the caller and the tokens in memory, decides, and answers, without waiting for anything in between. Whatever
//! else a call turns out to be is passed on, untouched, to the [layers](super::layers), which know nothing of this path:
//! another method, a refusal, a DENY among the verdicts, something that has to be read from the database, a message that
//! has not arrived yet, and any call while the log shows requests. So each refusal has one implementation. This path only
//! has to know when a call is **not** refused:
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

mod body;

use std::{
    convert::Infallible,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    slice,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use http::{HeaderValue, Method, Request, Response, header::CONTENT_TYPE, request::Parts};
use hyper::body::Incoming;
use prost::Message;
use tokend_core::{
    time::{BootTime, Clock},
    token::Token,
};
use tokend_proto::{
    request::token_verify::{BatchVerify, Verify},
    v1,
    view::KnownToken,
};
use tonic::{Code, body::Body};

use self::body::{AnswerBody, Begun, OneMessage, Read};
use super::layers::{
    authenticate::Gate, hygiene::GRPC_ENCODING, message::PREFIX, middleware::Answer, panics::answer_to_panic,
};
use crate::{
    auth::last_caller::LastCaller,
    observability::metrics::Telemetry,
    operation::Operation,
    transport::{ConnectionService, InFlight, Peer, RequestService},
    usecases::{self, verify::allow_from_memory},
};

/// Enough for nearly every verdict.
const USUAL_BYTES: usize = 512;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Serves connections: verdicts by the short path if that has them, everything else by the layers.
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
        let entered = short_operation(&request).and_then(|operation| {
            let in_flight = shared.peer.connection.enter(verify.max_in_flight_per_connection)?;
            Some((operation, in_flight))
        });
        let Some((operation, in_flight)) = entered else {
            return Call::Layers(shared.pass_on(request.map(Body::new)));
        };
        Call::Unread(Unread {
            operation,
            start: verify.clock.boot_time(),
            in_flight,
            shared: Arc::clone(shared),
            request,
        })
    }
}

/// Returns the operation that may be short, if the head of a request is a usual one of it.
fn short_operation(request: &Request<Incoming>) -> Option<Operation> {
    let path = request.uri().path();
    let operation = [Operation::Verify, Operation::BatchVerify]
        .into_iter()
        .find(|operation| operation.facts().path == path)?;
    let headers = request.headers();
    let is_usual = request.method() == Method::POST
        && headers.get(CONTENT_TYPE) == Some(&GRPC)
        && !headers.contains_key(GRPC_ENCODING)
        && headers.keys_len() == headers.len()
        && !tracing::enabled!(tracing::Level::DEBUG);
    is_usual.then_some(operation)
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
    operation: Operation,
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
            operation,
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
            match catch_unwind(AssertUnwindSafe(|| shared.answer(operation, &parts, message))) {
                Ok(None) => {}
                Ok(Some(response)) => {
                    verify.record(operation, Code::Ok, start);
                    return Ok(response);
                }
                Err(_payload) => {
                    verify.record(operation, Code::Internal, start);
                    return Ok(answer_to_panic().map(AnswerBody::Layers));
                }
            }
        }
        drop(in_flight);
        let body = Body::new(Begun { read, body });
        Err(shared.pass_on(Request::from_parts(parts, body)))
    }
}

impl<S> Shared<S> {
    /// Answers the call from memory, if every verdict is ALLOW.
    fn answer(&self, operation: Operation, parts: &Parts, message: &[u8]) -> Option<Response<AnswerBody>> {
        let VerifyFromMemory { context, gate, .. } = &*self.path.verify;
        let facts = operation.facts();
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
        if operation == Operation::BatchVerify {
            let request = v1::BatchVerifyRequest::decode(message).ok()?;
            let BatchVerify { questions } = BatchVerify::from_message(request, &context.catalog).ok()?;
            let mut answer = Verdicts::new(questions.len());
            let append = |allowed: &KnownToken<&Token>| allowed.encode_allow_of_batch(&mut answer.bytes);
            allow_from_memory(context, &memory, caller, &questions, append)?;
            return Some(answer.into_response());
        }
        let request = v1::VerifyRequest::decode(message).ok()?;
        let question = Verify::from_message(request, &context.catalog).ok()?;
        let mut answer = Verdicts::new(1);
        let append = |allowed: &KnownToken<&Token>| allowed.encode_allow(&mut answer.bytes);
        allow_from_memory(context, &memory, caller, slice::from_ref(&question), append)?;
        Some(answer.into_response())
    }
}

impl VerifyFromMemory {
    fn record(&self, operation: Operation, code: Code, start: BootTime) {
        let duration = self.clock.boot_time().saturating_since(start);
        self.telemetry.record_request(Some(operation), code, duration);
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

/// An answer while it is written.
struct Verdicts {
    /// The message, after its prefix.
    bytes: Vec<u8>,
}

impl Verdicts {
    /// Begins an answer with this many verdicts.
    fn new(count: usize) -> Self {
        let mut bytes = Vec::with_capacity(PREFIX + count * USUAL_BYTES);
        bytes.extend_from_slice(&[0; PREFIX]);
        Self { bytes }
    }

    fn into_response(self) -> Response<AnswerBody> {
        let Self { mut bytes } = self;
        let length = u32::try_from(bytes.len() - PREFIX).unwrap_or(u32::MAX);
        bytes[1..PREFIX].copy_from_slice(&length.to_be_bytes());
        let mut response = Response::new(AnswerBody::Short(OneMessage::Message(bytes.into())));
        response.headers_mut().insert(CONTENT_TYPE, GRPC);
        response
    }
}
