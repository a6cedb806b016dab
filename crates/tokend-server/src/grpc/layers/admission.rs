//! Limits how many calls are served at once, in all and for each caller. Only complete calls of known callers count.
//!
//! | calls | in all | of one caller |
//! |---|---|---|
//! | that verify or administrate | `max_in_flight` | three quarters |
//! | that revoke | `max_revocations_in_flight`, a quarter of them reserved for ADMINs | half |
//! | streams | `max_streams`, until they end | half |
//! | health watches | `max_health_watches`, until they end | `max_health_watches_per_source` from one source |
//! | health checks | not counted | |
//!
//! A Verify that memory answers at once waits for nothing and takes no room ([`short_path`](crate::grpc::short_path)).
//!
//! Nobody has to authenticate for a health watch. A quarter of them is reserved for connections on which a caller has
//! authenticated.

use std::sync::Arc;

use http::Request;
use http_body_util::BodyExt;
use tokend_core::caller::Role;
use tonic::body::Body;

use super::middleware::{Answer, Middleware, refuse};
use crate::{
    auth::Authenticated,
    error::ServiceError,
    limits::Limits,
    limits::room::{Holder, Place, Room, RoomOfCall, Sizes},
    operation::{Facts, Operation, Traffic},
    transport::{Connection, PeerAddress, RequestService},
};

/// Gives calls their room.
#[derive(Debug)]
pub(crate) struct Admission {
    ordinary: Arc<Room>,
    revocations: Arc<Room>,
    streams: Arc<Room>,
    health_watches: Arc<Room>,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let Limits {
            max_in_flight,
            max_revocations_in_flight,
            max_streams,
            max_health_watches,
            ..
        } = *limits;
        // Rounded up: a share is at least one.
        let without = |all: usize, part: usize| all - all / part;
        Arc::new(Self {
            ordinary: Room::new(Sizes {
                all: max_in_flight,
                each: without(max_in_flight, 4),
                reserve: 0,
            }),
            revocations: Room::new(Sizes {
                all: max_revocations_in_flight,
                each: without(max_revocations_in_flight, 2),
                reserve: max_revocations_in_flight / 4,
            }),
            streams: Room::new(Sizes {
                all: max_streams,
                each: without(max_streams, 2),
                reserve: 0,
            }),
            health_watches: Room::new(Sizes {
                all: max_health_watches,
                each: limits.max_health_watches_per_source,
                reserve: max_health_watches / 4,
            }),
        })
    }

    /// Takes the room for a call. Returns `None` if calls of its kind need none.
    fn admit(&self, facts: &Facts, request: &Request<Body>) -> Result<Option<Place>, ServiceError> {
        let room = match facts.traffic {
            Traffic::Verification | Traffic::Administration => &self.ordinary,
            Traffic::Revocation => &self.revocations,
            Traffic::Stream => &self.streams,
            Traffic::HealthWatch => return self.admit_health_watch(request),
            Traffic::Probe => return Ok(None),
        };
        let Authenticated { caller, .. } = request.extensions().get().ok_or(ServiceError::MissingCredential)?;
        let is_admin = caller.role == Role::Admin;
        room.take(Holder::caller(caller), facts.weight, is_admin)
            .map(Some)
            .ok_or(ServiceError::Overloaded)
    }

    fn admit_health_watch(&self, request: &Request<Body>) -> Result<Option<Place>, ServiceError> {
        let PeerAddress(address) = request.extensions().get().ok_or(ServiceError::Overloaded)?;
        let is_known = request.extensions().get().is_some_and(Connection::is_known);
        let place = self
            .health_watches
            .take(Holder::Source(address.ip().into()), 1, is_known);
        place.map(Some).ok_or(ServiceError::Overloaded)
    }
}

impl Middleware for Arc<Admission> {
    fn call<S: RequestService>(&self, mut request: Request<Body>, inner: &mut S) -> Answer {
        let Some(operation) = request.extensions().get::<Operation>().copied() else {
            return refuse(ServiceError::UnknownMethod(request.uri().path().to_owned()));
        };
        let facts = operation.facts();
        let place = match self.admit(facts, &request) {
            Ok(place) => RoomOfCall::new(place),
            Err(error) => return refuse(error),
        };
        request.extensions_mut().insert(place.clone());
        let answer = inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            Ok(if facts.traffic.is_stream() {
                response.map(|body| held(body, place))
            } else {
                place.release();
                response
            })
        })
    }
}

/// Returns the body of a stream, which keeps its room until it ends.
fn held(body: Body, place: RoomOfCall) -> Body {
    Body::new(body.map_frame(move |frame| {
        let _held = &place;
        frame
    }))
}
