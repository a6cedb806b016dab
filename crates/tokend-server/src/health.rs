//! Whether this replica should get traffic, for orchestrators and load balancers.
//!
//! Liveness says that the process runs, whatever the database does. Readiness says that it can answer: it follows the database and
//! the key ring, and ends before the server drains.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, Stream, StreamExt, stream};
use tokend_store::Store;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, async_trait};
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, HealthCheckResponse, health_check_response, health_server},
    server::{HealthReporter, HealthService},
};

use crate::refusal::Refusal;

/// Services whose health follows readiness: the whole server and each service that answers from the database.
const READY_SERVICES: [&str; 3] = ["", "tokend.v1.TokenVerify", "tokend.v1.TokenAdmin"];
/// The service whose health says that the process runs.
const LIVENESS: &str = "liveness";
/// The time between looks at the database. This and the next two are short enough that a replica which can revoke nothing says within
/// a second that it is not ready.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);
/// The time between looks after one that failed.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// The time for a look: more than a database needs that can serve.
const PROBE_TIMEOUT: Duration = Duration::from_millis(300);
/// Looks that must fail in a row before the replica counts as not ready: one may be a hiccup.
const FAILURES_UNTIL_NOT_READY: u32 = 2;

/// Tells, and remembers, whether this replica is ready.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    reporter: HealthReporter,
    ready: Arc<AtomicBool>,
}

impl Health {
    /// Alive and not ready.
    pub(crate) async fn not_ready() -> Self {
        let health = Self { reporter: HealthReporter::new(), ready: Arc::new(AtomicBool::new(false)) };
        health.reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        health.set_ready(false).await;
        health
    }

    /// The gRPC service that tells it. Its watches end with `stop`.
    pub(crate) fn service(&self, stop: CancellationToken) -> Probes {
        Probes { health: HealthService::from_health_reporter(self.reporter.clone()), stop }
    }

    /// Whether the replica can answer.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    pub(crate) async fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in READY_SERVICES {
            self.reporter.set_service_status(service, status).await;
        }
    }

    /// Follows the database and the key ring until `stop`, then says that the replica is not ready, for good.
    pub(crate) async fn follow(self, store: Store, stop: CancellationToken) {
        // Not in line with requests: a server that is full is no sick one.
        let store = store.reserved();
        let mut failures = 0;
        // A panic on the way is a failure like any other: readiness goes on being told.
        let look = || timeout(PROBE_TIMEOUT, AssertUnwindSafe(store.now()).catch_unwind());
        while let Some(outcome) = stop.run_until_cancelled(look()).await {
            failures = if matches!(outcome, Ok(Ok(Ok(_)))) { 0 } else { failures + 1 };
            // Without the keys that the others sign with it could recognize nothing new.
            let ready = failures < FAILURES_UNTIL_NOT_READY && store.wrong_keys().is_none();
            if ready != self.is_ready() {
                tracing::info!(ready, "readiness changed");
                self.set_ready(ready).await;
            }
            let pause = if failures == 1 { RETRY_INTERVAL } else { PROBE_INTERVAL };
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                break;
            }
        }
        self.set_ready(false).await;
    }
}

/// The gRPC service, where it is not tonic's: what is told of services that are not served, and when a watch ends.
#[derive(Debug)]
pub(crate) struct Probes {
    health: HealthService,
    stop: CancellationToken,
}

#[async_trait]
impl health_server::Health for Probes {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.get_ref().service.clone();
        // The one way in which it fails.
        self.health.check(request).await.map_err(|_| Refusal::NotServed(service).into())
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let statuses: Self::WatchStream = match self.health.watch(request).await {
            Ok(watch) => Box::pin(watch.into_inner()),
            // The protocol wants to have it watched until it is served, which here is never.
            Err(_) => Box::pin(stream::iter([Ok(unknown_service())]).chain(stream::pending())),
        };
        // An endless answer would hold up the drain to its deadline. What became known before, NOT_SERVING, is told first.
        let watch = stream::unfold((statuses, self.stop.clone()), |(mut statuses, stop)| async move {
            tokio::select! {
                biased;
                status = statuses.next() => Some((status?, (statuses, stop))),
                () = stop.cancelled() => None,
            }
        });
        Ok(Response::new(Box::pin(watch)))
    }
}

fn unknown_service() -> HealthCheckResponse {
    HealthCheckResponse { status: health_check_response::ServingStatus::ServiceUnknown.into() }
}
