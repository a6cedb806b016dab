//! A handler that panics answers with an internal fault, as every other fault of ours does, and takes nothing down with it.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::FutureExt;
use http::{Request, Response};
use tonic::body::Body;
use tower::Service;

use crate::{panics::request_id, status::fault_logged_under};

/// Wraps the service that answers.
#[derive(Clone, Debug)]
pub(crate) struct Panics<S>(pub(crate) S);

impl<S> Service<Request<Body>> for Panics<S>
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
        // Unwind safe: what the request had is dropped with it, and what requests share is made of locks and atomic numbers that no
        // panic leaves half changed.
        let answer = catch_unwind(AssertUnwindSafe(|| self.0.call(request)));
        Box::pin(async move {
            let answered = match answer {
                Ok(answer) => AssertUnwindSafe(answer).catch_unwind().await,
                Err(panic) => Err(panic),
            };
            answered.unwrap_or_else(|_payload| Ok(fault_logged_under(&request_id().to_string()).into_http()))
        })
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};
    use tonic_types::StatusExt;
    use tower::{ServiceExt, service_fn};

    use super::*;

    async fn answer(path: &'static str) -> Status {
        let service = service_fn(|request: Request<Body>| {
            assert_ne!(request.uri().path(), "/at-once", "tkdw_hush");
            async move {
                assert_ne!(request.uri().path(), "/later", "tkdw_hush");
                Ok::<_, Infallible>(Response::new(Body::empty()))
            }
        });
        let request = Request::builder().uri(path).body(Body::empty()).expect("a request");
        let response = Panics(service).oneshot(request).await.expect("infallible");
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
