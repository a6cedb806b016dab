//! Replaces the errors that the framework returns by errors in our form.
//!
//! tonic refuses bytes that don't decode, and the like, before any handler runs. It chooses the codes itself and adds
//! no details. Our own errors always have details, so an error without details comes from the framework.

use http::{HeaderMap, HeaderName, Response};
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokend_core::credential::without_secrets;
use tokend_proto::v1::ErrorReason;
use tonic::{Code, Status, body::Body};

use super::outcome::GRPC_STATUS;
use crate::error::grpc::status;

const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Replaces the response of a call that the framework refused by one of ours.
pub(crate) fn in_our_form(response: Response<Body>) -> Response<Body> {
    let Some(theirs) = framework_status(response.headers()) else {
        return response;
    };
    let mut ours = our_status(&theirs).into_http();
    // gRPC asks a server that refuses a compression to name those that it serves.
    if let Some(encodings) = response.headers().get(GRPC_ACCEPT_ENCODING) {
        ours.headers_mut().insert(GRPC_ACCEPT_ENCODING, encodings.clone());
    }
    ours
}

/// Replaces the error that ends a stream likewise. Only a stream whose client sends a stream, too, can end with an error
/// of the framework.
pub(crate) fn stream_in_our_form(answers: Body) -> Body {
    Body::new(answers.map_frame(|frame| match frame.into_trailers() {
        Ok(trailers) => Frame::trailers(trailers_in_our_form(trailers)),
        Err(frame) => frame,
    }))
}

fn trailers_in_our_form(trailers: HeaderMap) -> HeaderMap {
    let Some(theirs) = framework_status(&trailers) else {
        return trailers;
    };
    let mut ours = HeaderMap::new();
    match our_status(&theirs).add_header(&mut ours) {
        Ok(()) => ours,
        Err(_) => trailers,
    }
}

/// Returns the status of an error without details. Errors before the first message are in the headers ("Trailers-Only"
/// in gRPC over HTTP/2).
fn framework_status(headers: &HeaderMap) -> Option<Status> {
    let code = headers.get(GRPC_STATUS)?;
    if code == "0" || headers.contains_key(GRPC_STATUS_DETAILS) {
        return None;
    }
    Status::from_header_map(headers)
}

/// Returns our status for an error of the framework.
fn our_status(theirs: &Status) -> Status {
    let (code, reason, message) = match theirs.code() {
        // tonic uses both for a message that is too large.
        Code::OutOfRange | Code::ResourceExhausted => (
            Code::ResourceExhausted,
            ErrorReason::MessageTooLarge,
            format!("the message is too large: {}", theirs.message()),
        ),
        Code::Unimplemented => (
            Code::Unimplemented,
            ErrorReason::UnknownMethod,
            format!("not served: {}", theirs.message()),
        ),
        // Reflection returns this. Its message repeats the name, which may be of any length.
        Code::NotFound => (
            Code::NotFound,
            ErrorReason::NotServed,
            "there is no such file or symbol here".to_owned(),
        ),
        Code::Cancelled => (
            Code::Cancelled,
            ErrorReason::Cancelled,
            "the call was cancelled".to_owned(),
        ),
        Code::DeadlineExceeded => (
            Code::DeadlineExceeded,
            ErrorReason::DeadlineExceeded,
            "the call took too long".to_owned(),
        ),
        // Handlers never fail without details, so any other code means that the framework was sent something wrong.
        _ => (
            Code::InvalidArgument,
            ErrorReason::UndecodableRequest,
            format!("the request is no message of the expected type: {}", theirs.message()),
        ),
    };
    // The framework's message may repeat what a client sent, such as the name of an encoding.
    status(code, reason, without_secrets(&message).into_owned())
}
