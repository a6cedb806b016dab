//! What the layers have in common, so that each one holds its rule and little else.

use std::{
    convert::Infallible,
    future::ready,
    task::{Context, Poll},
};

use http::{Request, Response};
use tonic::{Status, body::Body, codegen::BoxFuture};
use tower::{Layer, Service};

use crate::{error::ServiceError, transport::RequestService};

/// A response that is being made.
pub(crate) type Answer = BoxFuture<Response<Body>, Infallible>;

/// The rule of one layer.
pub(crate) trait Middleware: Clone + Send + 'static {
    /// Answers a request itself, or has `inner` answer it.
    fn call<S: RequestService>(&self, request: Request<Body>, inner: &mut S) -> Answer;
}

/// The layer of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Around<M>(pub(crate) M);

/// A service whose requests pass a rule.
#[derive(Clone, Debug)]
pub(crate) struct Guarded<M, S> {
    middleware: M,
    inner: S,
}

impl<M: Middleware, S> Layer<S> for Around<M> {
    type Service = Guarded<M, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded {
            middleware: self.0.clone(),
            inner,
        }
    }
}

impl<M: Middleware, S: RequestService> Service<Request<Body>> for Guarded<M, S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        self.middleware.call(request, &mut self.inner)
    }
}

/// Answers at once.
pub(crate) fn reply(response: Response<Body>) -> Answer {
    Box::pin(ready(Ok(response)))
}

/// Refuses a request at once.
pub(crate) fn refuse(error: ServiceError) -> Answer {
    reply(refused(error))
}

/// Returns the response to a request that is refused.
pub(crate) fn refused(error: ServiceError) -> Response<Body> {
    Status::from(error).into_http()
}
