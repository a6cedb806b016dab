//! Calls get their deadline and count against their connection's limit before anything is known about them.
//!
//! | calls | of one connection | deadline |
//! |---|---|---|
//! | that verify | `max_in_flight_per_connection` | `verify_deadline` |
//! | that administrate | the same | `admin_deadline` |
//! | that revoke | not counted | `revocation_deadline` |
//! | streams, health watches | not counted | `admin_deadline`, for their head |
//! | health checks | `max_in_flight_per_connection` | the same |

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::ready;
use http::{HeaderMap, Request, Response};
use tokio::time::timeout;
use tonic::{Status, body::Body};
use tower::Service;

use super::{deadline::given_by_client, traffic::Traffic};
use crate::{limits::Limits, refusal::Refusal, transport::Connection};

/// Wraps the service that answers.
#[derive(Clone, Debug)]
pub(crate) struct Bounded<S> {
    pub(crate) limits: Limits,
    pub(crate) inner: S,
}

impl<S> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let traffic = Traffic::of(request.uri().path());
        let in_flight = match (traffic, request.extensions().get::<Connection>()) {
            (Traffic::Verification | Traffic::Administration | Traffic::Probe, Some(connection)) => {
                match connection.enter(self.limits.max_in_flight_per_connection) {
                    Some(in_flight) => Some(in_flight),
                    None => return Box::pin(ready(Ok(Status::from(Refusal::TooManyInFlight).into_http()))),
                }
            }
            _ => None,
        };
        let deadline = deadline(&self.limits, traffic, request.headers());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answered = timeout(deadline, answer).await;
            drop(in_flight);
            // The change that the call began goes on; its client is told that the outcome is unknown.
            answered.unwrap_or_else(|_elapsed| Ok(Status::from(Refusal::DeadlineExceeded).into_http()))
        })
    }
}

fn deadline(limits: &Limits, traffic: Traffic, headers: &HeaderMap) -> Duration {
    let ours = match traffic {
        Traffic::Verification => limits.verify_deadline,
        Traffic::Revocation => limits.revocation_deadline,
        Traffic::Administration | Traffic::Stream | Traffic::HealthWatch | Traffic::Probe => limits.admin_deadline,
    };
    given_by_client(headers).map_or(ours, |theirs| theirs.min(ours))
}
