//! A panic in a handler ends its call with an internal fault, and no other call.

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;
use http::{Request, Response};
use tonic::body::Body;

use super::middleware::{Answer, Middleware};
use crate::{error::grpc::internal_fault, observability::panics::logged_under, transport::RequestService};

/// Catches panics.
#[derive(Clone, Debug)]
pub(crate) struct Panics;

impl Middleware for Panics {
    fn call<S: RequestService>(&self, request: Request<Body>, inner: &mut S) -> Answer {
        // Unwind safe: what the request owns is dropped with it, and what requests share consists of locks and atomic
        // numbers, which no panic leaves half changed.
        let answer = catch_unwind(AssertUnwindSafe(|| inner.call(request)));
        Box::pin(async move {
            let answered = match answer {
                Ok(answer) => AssertUnwindSafe(answer).catch_unwind().await,
                Err(panic) => Err(panic),
            };
            answered.unwrap_or_else(|_payload| Ok(answer_to_panic()))
        })
    }
}

/// Returns the answer to a call that has panicked on this thread.
pub(crate) fn answer_to_panic() -> Response<Body> {
    internal_fault(&logged_under().to_string()).into_http()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tonic::{Code, Status};
    use tonic_types::StatusExt;
    use tower::{Layer, ServiceExt, service_fn};

    use super::{super::middleware::Around, *};

    async fn answer(path: &'static str) -> Status {
        let service = service_fn(|request: Request<Body>| {
            assert_ne!(request.uri().path(), "/at-once", "tkdw_hush");
            async move {
                assert_ne!(request.uri().path(), "/later", "tkdw_hush");
                Ok::<_, Infallible>(Response::new(Body::empty()))
            }
        });
        let request = Request::builder().uri(path).body(Body::empty()).expect("a request");
        let response = Around(Panics)
            .layer(service)
            .oneshot(request)
            .await
            .expect("infallible");
        Status::from_header_map(response.headers()).unwrap_or_else(|| Status::ok(""))
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_fault_that_tells_nothing_but_an_id() {
        for path in ["/at-once", "/later"] {
            let status = answer(path).await;
            assert_eq!(status.code(), Code::Internal, "{path}");
            let details = status.get_error_details();
            let id = &details.request_info().expect("an id").request_id;
            assert!(status.message().contains(id.as_str()), "{status:?}");
            assert!(!format!("{status:?}").contains("hush"), "{status:?}");
        }
        assert_eq!(answer("/").await.code(), Code::Ok);
    }
}
