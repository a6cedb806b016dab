//! The number of calls that are served at once is limited, in all and for each caller. Only complete calls of known callers count.
//!
//! | calls | in all | of one caller |
//! |---|---|---|
//! | that verify or administrate | `max_in_flight` | three quarters |
//! | that revoke | `max_revocations_in_flight`, a quarter for ADMINs alone | half |
//! | streams | `max_streams`, until they end | half |
//! | health watches | `max_health_watches`, until they end | of one source `max_health_watches_per_source` |
//! | health checks | not counted | |
//!
//! Nobody has to authenticate for a health watch. A quarter of them is kept for connections on which somebody has.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::ready;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokend_core::caller::Role;
use tonic::{Status, body::Body};
use tower::Service;

use super::traffic::Traffic;
use crate::{
    access::Authenticated,
    limits::Limits,
    refusal::Refusal,
    room::{Holder, Place, Room, Sizes},
    transport::{Connection, PeerAddress},
};

/// Room for calls.
#[derive(Debug)]
pub(crate) struct Admission {
    ordinary: Arc<Room>,
    revocations: Arc<Room>,
    streams: Arc<Room>,
    health_watches: Arc<Room>,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let Limits { max_in_flight, max_revocations_in_flight, max_streams, max_health_watches, .. } = *limits;
        // Rounded up: a share is at least one.
        let without = |all: usize, part: usize| all - all / part;
        Arc::new(Self {
            ordinary: Room::new(Sizes { all: max_in_flight, each: without(max_in_flight, 4), reserve: 0 }),
            revocations: Room::new(Sizes {
                all: max_revocations_in_flight,
                each: without(max_revocations_in_flight, 2),
                reserve: max_revocations_in_flight / 4,
            }),
            streams: Room::new(Sizes { all: max_streams, each: without(max_streams, 2), reserve: 0 }),
            health_watches: Room::new(Sizes {
                all: max_health_watches,
                each: limits.max_health_watches_per_source,
                reserve: max_health_watches / 4,
            }),
        })
    }

    /// Takes the room for a call, if calls of its kind take any.
    fn admit(&self, request: &Request<Body>) -> Result<Option<Place>, Refusal> {
        let path = request.uri().path();
        let traffic = Traffic::of(path);
        let room = match traffic {
            Traffic::Verification | Traffic::Administration => &self.ordinary,
            Traffic::Revocation => &self.revocations,
            Traffic::Stream => &self.streams,
            Traffic::HealthWatch => return self.admit_health_watch(request),
            Traffic::Probe => return Ok(None),
        };
        let Authenticated { caller, .. } = request.extensions().get().ok_or(Refusal::MissingCredential)?;
        let is_admin = caller.role == Role::Admin;
        room.take(Holder::caller(caller), Traffic::size_of(path), is_admin).map(Some).ok_or(Refusal::Overloaded)
    }

    fn admit_health_watch(&self, request: &Request<Body>) -> Result<Option<Place>, Refusal> {
        let PeerAddress(address) = request.extensions().get().ok_or(Refusal::Overloaded)?;
        let is_known = request.extensions().get().is_some_and(Connection::is_known);
        let place = self.health_watches.take(Holder::Source(address.ip().into()), 1, is_known);
        place.map(Some).ok_or(Refusal::Overloaded)
    }
}

/// Wraps the service that answers.
#[derive(Clone, Debug)]
pub(crate) struct Admitted<S> {
    pub(crate) admission: Arc<Admission>,
    pub(crate) inner: S,
}

impl<S> Service<Request<Body>> for Admitted<S>
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
        let place = match self.admission.admit(&request) {
            Ok(place) => place,
            Err(refusal) => return Box::pin(ready(Ok(Status::from(refusal).into_http()))),
        };
        let is_stream = Traffic::of(request.uri().path()).is_stream();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answered = answer.await?;
            Ok(if is_stream { answered.map(|body| held(body, place)) } else { answered })
        })
    }
}

/// The body, which keeps its room until it has ended.
fn held(body: Body, place: Option<Place>) -> Body {
    Body::new(body.map_frame(move |frame| {
        let _held = &place;
        frame
    }))
}
