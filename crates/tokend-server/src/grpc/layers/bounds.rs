//! Each call gets its deadline, and counts against the limit of its connection, before its caller is known.
//!
//! | calls | limit for one connection | deadline |
//! |---|---|---|
//! | that verify | `max_in_flight_per_connection` | `verify_deadline` |
//! | that administrate | the same | `admin_deadline` |
//! | that revoke | not counted | `revocation_deadline` |
//! | streams, health watches | not counted | `admin_deadline`, for the head of the answer |
//! | health checks | `max_in_flight_per_connection` | the same |

use std::time::Duration;

use http::{HeaderMap, Request};
use tokend_core::time::Clock;
use tokio::time::timeout;
use tonic::body::Body;

use super::{
    deadline::given_by_client,
    middleware::{Answer, Middleware, refuse, refused},
};
use crate::{
    auth::Deadline,
    error::ServiceError,
    limits::Limits,
    operation::{Operation, Traffic},
    transport::{Connection, RequestService},
};

/// Gives each call its deadline, and limits the calls of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
}

impl Middleware for Bounds {
    fn call<S: RequestService>(&self, mut request: Request<Body>, inner: &mut S) -> Answer {
        let traffic = traffic(&request);
        let in_flight = match (traffic, request.extensions().get::<Connection>()) {
            (Traffic::Verification | Traffic::Administration | Traffic::Probe, Some(connection)) => {
                let Some(in_flight) = connection.enter(self.limits.max_in_flight_per_connection) else {
                    return refuse(ServiceError::TooManyInFlight);
                };
                Some(in_flight)
            }
            _ => None,
        };
        let deadline = deadline(&self.limits, traffic, request.headers());
        request.extensions_mut().insert(Deadline::new(&self.clock, deadline));
        let answer = inner.call(request);
        Box::pin(async move {
            let answered = timeout(deadline, answer).await;
            drop(in_flight);
            // A change that the call began goes on. The client learns that its outcome is unknown.
            answered.unwrap_or_else(|_elapsed| Ok(refused(ServiceError::DeadlineExceeded)))
        })
    }
}

/// Returns the kind of a call. One to an unknown method comes under the limits of administration until it is refused.
fn traffic(request: &Request<Body>) -> Traffic {
    let operation = request.extensions().get::<Operation>();
    operation.map_or(Traffic::Administration, |operation| operation.facts().traffic)
}

fn deadline(limits: &Limits, traffic: Traffic, headers: &HeaderMap) -> Duration {
    let ours = match traffic {
        Traffic::Verification => limits.verify_deadline,
        Traffic::Revocation => limits.revocation_deadline,
        Traffic::Administration | Traffic::Stream | Traffic::HealthWatch | Traffic::Probe => limits.admin_deadline,
    };
    given_by_client(headers).map_or(ours, |theirs| theirs.min(ours))
}
