//! Answers requests that are not gRPC calls, so that they change nothing.
//!
//! Another site can make a browser send a POST with its user's client certificate, but none with gRPC's content type
//! unless the server agrees first (Fetch standard, "CORS-safelisted request-header").

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use tokend_core::text::quoted;
use tonic::body::Body;

use super::middleware::{Answer, Middleware, refused, reply};
use crate::{error::ServiceError, transport::RequestService};

const GRPC: &str = "application/grpc";
pub(crate) const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const IDENTITY: &str = "identity";

/// Lets only gRPC calls through.
#[derive(Clone, Debug)]
pub(crate) struct Hygiene;

impl Middleware for Hygiene {
    fn call<S: RequestService>(&self, request: Request<Body>, inner: &mut S) -> Answer {
        match answer_to_other_requests(request.method(), request.headers()) {
            Some(response) => reply(response),
            None => Box::pin(inner.call(request)),
        }
    }
}

/// Returns the answer to a request that is not a call that can be served.
fn answer_to_other_requests(method: &Method, headers: &HeaderMap) -> Option<Response<Body>> {
    if method != Method::POST {
        let mut answer = http_answer(StatusCode::METHOD_NOT_ALLOWED);
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Some(answer);
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    if !types.next().is_some_and(is_grpc) || types.next().is_some() {
        return Some(http_answer(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let encoding = headers.get(GRPC_ENCODING).filter(|encoding| *encoding != IDENTITY)?;
    let refusal = ServiceError::EncodingNotServed(quoted(&String::from_utf8_lossy(encoding.as_bytes())).to_string());
    let mut answer = refused(refusal);
    answer
        .headers_mut()
        .insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static(IDENTITY));
    Some(answer)
}

/// Returns whether this is the content type of gRPC with protocol buffers ("Content-Type" in gRPC over HTTP/2), under
/// whatever parameters. Media types are case-insensitive (RFC 9110, section 8.3.1).
fn is_grpc(value: &HeaderValue) -> bool {
    let text = value.to_str().unwrap_or_default();
    let media_type = text.split_once(';').map_or(text, |(media_type, _)| media_type).trim();
    media_type.eq_ignore_ascii_case(GRPC) || media_type.eq_ignore_ascii_case("application/grpc+proto")
}

fn http_answer(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_is_that_of_grpc() {
        let is = |text: &'static str| is_grpc(&HeaderValue::from_static(text));
        for good in [
            "application/grpc",
            "application/grpc+proto",
            "Application/GRPC",
            "application/grpc; charset=utf-8",
        ] {
            assert!(is(good), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpc+json",
            "application/grpcx",
        ] {
            assert!(!is(bad), "{bad}");
        }
        assert!(!is_grpc(
            &HeaderValue::from_bytes(b"application/grpc\xff").expect("a header")
        ));
    }
}
