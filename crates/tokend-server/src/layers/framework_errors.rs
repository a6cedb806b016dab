//! Gives the errors that the framework made by itself the form of our own.
//!
//! tonic answers bytes that don't decode, oversized messages and the like before any handler runs, with codes of its own
//! choice and without details. Our own errors always carry details: whatever has none comes from the framework.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderName, Request, Response};
use tokend_core::credential::without_secrets;
use tokend_proto::v1::ErrorReason;
use tonic::{Code, Status, body::Body};
use tower::Service;

use crate::status::status;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Wraps the service that answers.
#[derive(Clone, Debug)]
pub(crate) struct FrameworkErrors<S>(pub(crate) S);

impl<S> Service<Request<Body>> for FrameworkErrors<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let response = answer.await?;
            Ok(match framework_status(response.headers()) {
                None => response,
                Some(theirs) => {
                    let mut ours = in_our_form(&theirs).into_http();
                    // Which compression would be served: gRPC wants it told when one is not.
                    if let Some(encodings) = response.headers().get(GRPC_ACCEPT_ENCODING) {
                        ours.headers_mut().insert(GRPC_ACCEPT_ENCODING, encodings.clone());
                    }
                    ours
                }
            })
        })
    }
}

/// The trailers that end a stream, their error in our form, too. Only streams of the framework's services end with errors that it
/// made; ours need not be looked through.
pub(crate) fn trailers_in_our_form(trailers: HeaderMap) -> HeaderMap {
    let Some(theirs) = framework_status(&trailers) else { return trailers };
    let mut ours = HeaderMap::new();
    match in_our_form(&theirs).add_header(&mut ours) {
        Ok(()) => ours,
        Err(_) => trailers,
    }
}

/// The status of an error without details. Errors before the first message travel in the headers (gRPC's "Trailers-Only").
fn framework_status(headers: &HeaderMap) -> Option<Status> {
    let code = headers.get(GRPC_STATUS)?;
    if code == "0" || headers.contains_key(GRPC_STATUS_DETAILS) {
        return None;
    }
    Status::from_header_map(headers)
}

fn in_our_form(theirs: &Status) -> Status {
    let (code, reason, message) = match theirs.code() {
        // tonic's words for a message past the limit of its size.
        Code::OutOfRange | Code::ResourceExhausted => {
            (Code::ResourceExhausted, ErrorReason::MessageTooLarge, format!("the message is too large: {}", theirs.message()))
        }
        Code::Unimplemented => (Code::Unimplemented, ErrorReason::UnknownMethod, format!("not served: {}", theirs.message())),
        // Reflection's. Its words repeat the name, of whatever length.
        Code::NotFound => (Code::NotFound, ErrorReason::NotServed, "there is no such file or symbol here".to_owned()),
        Code::Cancelled => (Code::Cancelled, ErrorReason::Cancelled, "the call was cancelled".to_owned()),
        Code::DeadlineExceeded => (Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, "the call took too long".to_owned()),
        // Handlers never fail without details, so that whatever else the framework complains of is what it was sent.
        _ => (
            Code::InvalidArgument,
            ErrorReason::UndecodableRequest,
            format!("the request is no message of the expected type: {}", theirs.message()),
        ),
    };
    // The framework's words may repeat what a client sent, such as the name of an encoding.
    status(code, reason, without_secrets(&message).into_owned())
}
