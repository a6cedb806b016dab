//! Reports to orchestrators and load balancers whether this replica should get traffic.
//!
//! Liveness means that the process runs, whatever the state of the database. Readiness means that it can answer: it
//! follows the database and the key ring, and ends before the server drains.

use std::{
    collections::BTreeSet,
    iter,
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

use crate::{error::ServiceError, operation::Operation, verifier::Verifier};

/// The service whose health says that the process runs.
const LIVENESS: &str = "liveness";
/// The time between two probes of the database. This and the next two are so short that a replica which can't revoke
/// tokens reports within a second that it is not ready.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);
/// The time until the next probe after one that failed.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// The most time for a probe, which is more than a working database needs.
const PROBE_TIMEOUT: Duration = Duration::from_millis(300);
/// Probes that must fail in a row before the replica counts as not ready. A single failure may be a hiccup.
const FAILURES_UNTIL_NOT_READY: u32 = 2;

/// Knows and reports whether this replica is ready.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    reporter: HealthReporter,
    ready: Arc<AtomicBool>,
}

impl Health {
    /// Creates the health of a replica that is alive and not ready.
    pub(crate) async fn not_ready() -> Self {
        let health = Self {
            reporter: HealthReporter::new(),
            ready: Arc::new(AtomicBool::new(false)),
        };
        health
            .reporter
            .set_service_status(LIVENESS, ServingStatus::Serving)
            .await;
        health.set_ready(false).await;
        health
    }

    /// Returns the gRPC service that reports it. Its watches end with `stop`.
    pub(crate) fn service(&self, stop: CancellationToken) -> Probes {
        Probes {
            health: HealthService::from_health_reporter(self.reporter.clone()),
            stop,
        }
    }

    /// Returns whether the replica can answer.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    pub(crate) async fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
        let status = if ready {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in ready_services() {
            self.reporter.set_service_status(service, status).await;
        }
    }

    /// Follows the database, the key ring and the verifier until `stop`.
    pub(crate) async fn follow(&self, store: &Store, verifier: &Verifier, stop: &CancellationToken) {
        let mut failures = 0;
        // A panic in a probe counts as a failure, so that readiness is still followed after it.
        let look = || timeout(PROBE_TIMEOUT, AssertUnwindSafe(store.now()).catch_unwind());
        while let Some(outcome) = stop.run_until_cancelled(look()).await {
            failures = if matches!(outcome, Ok(Ok(Ok(_)))) {
                0
            } else {
                failures + 1
            };
            // A replica without the keys that the others sign with would not recognize new tokens.
            let ready = failures < FAILURES_UNTIL_NOT_READY && store.wrong_keys().is_none() && !verifier.has_stopped();
            if ready != self.is_ready() {
                tracing::info!(ready, "readiness changed");
                self.set_ready(ready).await;
            }
            let pause = if failures == 1 { RETRY_INTERVAL } else { PROBE_INTERVAL };
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                break;
            }
        }
    }
}

/// Returns the services whose health is readiness: the whole server, which has no name, and each service of the
/// contract, because all of them need the database. Verdicts from memory do so when the lease ends.
fn ready_services() -> impl Iterator<Item = &'static str> {
    let services: BTreeSet<_> = Operation::ALL
        .iter()
        .filter(|operation| operation.is_of_contract())
        .map(|operation| operation.service())
        .collect();
    iter::once("").chain(services)
}

/// The gRPC health service. It differs from tonic's in what it says of unknown services, and in when watches end.
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
        // It fails only for unknown services.
        self.health
            .check(request)
            .await
            .map_err(|_| ServiceError::NotServed(service).into())
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let statuses: Self::WatchStream = match self.health.watch(request).await {
            Ok(watch) => Box::pin(watch.into_inner()),
            // The protocol wants a service watched until it is served, which never happens here.
            Err(_) => Box::pin(stream::iter([Ok(unknown_service())]).chain(stream::pending())),
        };
        // An endless answer would hold up the drain until its deadline. NOT_SERVING, which is known before, is sent
        // first.
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
    HealthCheckResponse {
        status: health_check_response::ServingStatus::ServiceUnknown.into(),
    }
}
