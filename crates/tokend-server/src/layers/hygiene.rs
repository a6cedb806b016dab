//! Requests that are not gRPC calls are answered here and change nothing.
//!
//! Another site can make a browser send a POST with its user's client certificate, but none with gRPC's content type unless the server
//! agrees first (Fetch standard, "CORS-safelisted request-header").

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::ready;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use tokend_core::quote::quoted;
use tonic::{Status, body::Body};
use tower::Service;

use crate::refusal::Refusal;

const GRPC: &str = "application/grpc";
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const IDENTITY: &str = "identity";

/// Wraps the service that answers.
#[derive(Clone, Debug)]
pub(crate) struct Hygiene<S>(pub(crate) S);

impl<S> Service<Request<Body>> for Hygiene<S>
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
        match no_call(request.method(), request.headers()) {
            Some(answer) => Box::pin(ready(Ok(answer))),
            None => Box::pin(self.0.call(request)),
        }
    }
}

/// Returns the answer to a request that is not a call that can be served.
fn no_call(method: &Method, headers: &HeaderMap) -> Option<Response<Body>> {
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
    let refusal = Refusal::EncodingNotServed(quoted(&String::from_utf8_lossy(encoding.as_bytes())).to_string());
    let mut answer = Status::from(refusal).into_http();
    answer.headers_mut().insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static(IDENTITY));
    Some(answer)
}

/// Returns whether this is the content type of gRPC with protocol buffers ("Content-Type" in gRPC over HTTP/2), under whatever parameters. Media
/// types are case-insensitive (RFC 9110, section 8.3.1).
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
        for good in ["application/grpc", "application/grpc+proto", "Application/GRPC", "application/grpc; charset=utf-8"] {
            assert!(is(good), "{good}");
        }
        for bad in
            ["", "text/plain", "application/grpc-web", "application/grpc-web+proto", "application/grpc+json", "application/grpcx"]
        {
            assert!(!is(bad), "{bad}");
        }
        assert!(!is_grpc(&HeaderValue::from_bytes(b"application/grpc\xff").expect("a header")));
    }
}
