//! Puts refused calls of the administrative services on record, in the installation's chain of the audit log.
//!
//! It stands outside of [`FrameworkErrors`](super::framework_errors), so that what the framework refuses counts, too. Only calls of
//! an authenticated caller are put on record: strangers can't fill the log, whose refusals are counted, and now and then logged.
//! That a refusal could not be put on record is no reason to answer otherwise: it is logged and counted. How much is recorded of a caller
//! that is refused over and over, [`refusal_record`](crate::refusal_record) says.

use std::{
    convert::Infallible,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, Request, Response};
use tokend_core::audit::{Actor, Chain, Event, EventType, Origin, Outcome, RowAfter};
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt;
use tower::Service;

use crate::{
    access::{actor, address},
    attempt::Attempt,
    refusal_record::Recorder,
};

/// Wraps the service that answers.
#[derive(Clone)]
pub(crate) struct Refusals<S> {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) inner: S,
}

/// What a refused call looked like on its way in.
struct Asked {
    attempt: Arc<Attempt>,
    method: String,
    actor: Option<Actor>,
    address: Option<IpAddr>,
}

impl<S> Service<Request<Body>> for Refusals<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let recorder = Arc::clone(&self.recorder);
        let address = address(request.extensions());
        let asked = is_administrative(request.uri().path()).then(|| {
            let attempt = Arc::<Attempt>::default();
            request.extensions_mut().insert(Arc::clone(&attempt));
            Asked { attempt, method: method(request.uri().path()), actor: actor(request.headers()).ok().flatten(), address }
        });
        Answer { answer: self.inner.call(request), recorder, asked, address, recording: None }
    }
}

pin_project_lite::pin_project! {
    /// The answer on its way out. One that is no refusal costs nothing more.
    pub(crate) struct Answer<F> {
        #[pin]
        answer: F,
        recorder: Arc<Recorder>,
        asked: Option<Asked>,
        address: Option<IpAddr>,
        recording: Option<Recording>,
    }
}

/// A refused call that is being put on record, and its answer.
struct Recording {
    written: Pin<Box<dyn Future<Output = ()> + Send>>,
    answer: Option<Response<Body>>,
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for Answer<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if this.recording.is_none() {
            let response = ready!(this.answer.poll(cx))?;
            match Self::recording(this.recorder, &response, this.asked.take(), *this.address) {
                None => return Poll::Ready(Ok(response)),
                Some(written) => *this.recording = Some(Recording { written, answer: Some(response) }),
            }
        }
        let Some(Recording { written, answer }) = this.recording else { return Poll::Pending };
        ready!(written.as_mut().poll(cx));
        // Taken once: nobody polls what is ready.
        answer.take().map_or(Poll::Pending, |answer| Poll::Ready(Ok(answer)))
    }
}

impl<F> Answer<F> {
    /// Counts a call of nobody who is known here. What puts any other refused call on record; none if it is not to be.
    fn recording(
        recorder: &Arc<Recorder>,
        response: &Response<Body>,
        asked: Option<Asked>,
        address: Option<IpAddr>,
    ) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let code = code(response.headers());
        if code == Code::Ok {
            return None;
        }
        let reason = reason(response.headers());
        if recorder.tally().unauthenticated(&reason, address) || !is_a_refusal(code) {
            return None;
        }
        let event = asked?.refused(reason)?;
        Some(Box::pin(Arc::clone(recorder).record(event)))
    }
}

impl Asked {
    /// The event; none if nobody authenticated.
    fn refused(self, reason: String) -> Option<Event> {
        let Self { attempt, method, actor, address } = self;
        let caller = attempt.caller()?;
        Some(Event {
            chain: Chain::Installation,
            kind: EventType::CallRefused,
            origin: Origin { caller: Some(caller.id.clone()), actor, address },
            resource: attempt.subject().to_owned(),
            outcome: Outcome::Refused,
            reason,
            detail: method,
            row: RowAfter::None,
        })
    }
}

/// Everything of the contract but verdicts, which are not put on record one by one.
fn is_administrative(path: &str) -> bool {
    path.starts_with("/tokend.v1.") && !path.starts_with("/tokend.v1.TokenVerify/")
}

/// `Service/Method` of one that there is: what else a path says may be anything.
fn method(path: &str) -> String {
    let known = crate::rules::rule(path).and(path.strip_prefix("/tokend.v1."));
    known.unwrap_or("a method that there is not").to_owned()
}

/// Whether a failure means that a call was refused: not that it was given up, cut short, or met with a fault of ours.
const fn is_a_refusal(code: Code) -> bool {
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

/// The code of a failure travels in the headers; a success tells its own behind the message.
fn code(headers: &HeaderMap) -> Code {
    headers.get("grpc-status").map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

/// The name of the `ErrorReason`.
fn reason(headers: &HeaderMap) -> String {
    let details = Status::from_header_map(headers).map(|status| status.get_error_details());
    details.and_then(|details| details.error_info().map(|info| info.reason.clone())).unwrap_or_default()
}
