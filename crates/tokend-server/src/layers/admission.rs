//! How many calls may be under way, and for how long: before anything is known of the caller, so that not even finding out who calls
//! can be had without limit.
//!
//! | calls | of one connection | in all | deadline |
//! |---|---|---|---|
//! | that verify | `max_in_flight_per_connection` | `max_in_flight` | `verify_deadline` |
//! | that administrate | the same | the same | `admin_deadline` |
//! | that revoke | not counted | `max_revocations_in_flight` | `revocation_deadline` |
//! | streams | not counted | `max_streams`, until they end | `admin_deadline`, for their head |
//! | health watches | not counted | `max_health_watches`, until they end | the same |
//! | health checks | `max_in_flight_per_connection` | not counted | `admin_deadline` |
//!
//! Nobody waits here. A call that finds no room is told at once when to come again, which costs less than keeping it, and tells its
//! client more than silence.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::ready;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tonic::{Status, body::Body};
use tower::Service;

use super::{deadline::given_by_client, traffic::Traffic};
use crate::{
    limits::Limits,
    refusal::Refusal,
    transport::{Connection, InFlight},
};

/// Room for calls.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    ordinary: Arc<Semaphore>,
    revocations: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    health_watches: Arc<Semaphore>,
}

/// The room that a call takes, given back on drop.
#[derive(Debug)]
struct Room {
    _of_connection: Option<InFlight>,
    _of_all: Option<OwnedSemaphorePermit>,
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        let of = |count: usize| Arc::new(Semaphore::new(count));
        Arc::new(Self {
            ordinary: of(limits.max_in_flight),
            revocations: of(limits.max_revocations_in_flight),
            streams: of(limits.max_streams),
            health_watches: of(limits.max_health_watches),
            limits,
        })
    }

    fn admit(&self, traffic: Traffic, connection: Option<&Connection>) -> Result<Room, Refusal> {
        let of_connection = match (traffic, connection) {
            (Traffic::Verification | Traffic::Administration | Traffic::Probe, Some(connection)) => {
                Some(connection.enter(self.limits.max_in_flight_per_connection).ok_or(Refusal::TooManyInFlight)?)
            }
            _ => None,
        };
        let of_all = match traffic {
            Traffic::Verification | Traffic::Administration => Some(&self.ordinary),
            Traffic::Revocation => Some(&self.revocations),
            Traffic::Stream => Some(&self.streams),
            Traffic::HealthWatch => Some(&self.health_watches),
            Traffic::Probe => None,
        };
        let of_all = of_all.map(|room| Arc::clone(room).try_acquire_owned()).transpose().map_err(|_| Refusal::Overloaded)?;
        Ok(Room { _of_connection: of_connection, _of_all: of_all })
    }

    fn deadline(&self, traffic: Traffic, headers: &HeaderMap) -> Duration {
        let ours = match traffic {
            Traffic::Verification => self.limits.verify_deadline,
            Traffic::Revocation => self.limits.revocation_deadline,
            Traffic::Administration | Traffic::Stream | Traffic::HealthWatch | Traffic::Probe => self.limits.admin_deadline,
        };
        given_by_client(headers).map_or(ours, |theirs| theirs.min(ours))
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
        let traffic = Traffic::of(request.uri().path());
        let room = match self.admission.admit(traffic, request.extensions().get()) {
            Ok(room) => room,
            Err(refusal) => return Box::pin(ready(Ok(Status::from(refusal).into_http()))),
        };
        let deadline = self.admission.deadline(traffic, request.headers());
        let answer = self.inner.call(request);
        Box::pin(async move {
            match timeout(deadline, answer).await {
                Ok(answered) if traffic.is_stream() => Ok(answered?.map(|body| held(body, room))),
                Ok(answered) => answered,
                // What the call began to change goes on; whoever asked is told that nobody knows.
                Err(_elapsed) => Ok(Status::from(Refusal::DeadlineExceeded).into_http()),
            }
        })
    }
}

/// The body, which keeps its room until it has ended.
fn held(body: Body, room: Room) -> Body {
    Body::new(body.map_frame(move |frame| {
        let _held = &room;
        frame
    }))
}
