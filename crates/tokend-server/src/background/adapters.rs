//! Jobs that run what other modules own: readiness, the TLS files, sums of refused calls, and the ops port.

use std::sync::Arc;

use tokend_core::time::Clock;
use tokend_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::supervisor::{BackgroundJob, JobError, Phase};
use crate::{
    observability::{health::Health, metrics::Telemetry, ops, refusal_record::Recorder},
    tls::{self, Acceptor, TlsError, TlsFiles},
    verifier::Verifier,
};

/// Keeps readiness in step with the database and the key ring, and reports NOT_SERVING at the end.
pub(crate) struct ReadinessJob {
    health: Health,
    store: Store,
    verifier: Verifier,
}

impl ReadinessJob {
    pub(crate) fn new(health: Health, store: &Store, verifier: &Verifier) -> Self {
        // Requests don't hold it up: a server that is full is not a sick one.
        let store = store.reserved();
        Self {
            health,
            store,
            verifier: verifier.clone(),
        }
    }
}

impl BackgroundJob for ReadinessJob {
    fn name(&self) -> &'static str {
        "readiness"
    }

    fn phase(&self) -> Phase {
        Phase::BeforeDraining
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), JobError> {
        self.health.follow(&self.store, &self.verifier, stop).await;
        Ok(())
    }

    async fn finish(&mut self) {
        self.health.set_ready(false).await;
    }
}

/// Takes over changed TLS files.
pub(crate) struct TlsFilesJob {
    follower: tls::Follower,
    gauges: tls::Gauges,
}

impl TlsFilesJob {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// [`TlsError`], one sentence for the operator.
    pub(crate) fn start(files: TlsFiles, telemetry: &Telemetry, clock: Clock) -> Result<Self, TlsError> {
        Ok(Self {
            follower: tls::Follower::start(files, clock)?,
            gauges: tls::Gauges::new(telemetry),
        })
    }

    /// Returns the acceptor for new connections, which always uses the current files.
    pub(crate) fn acceptor(&self) -> Acceptor {
        self.follower.acceptor()
    }
}

impl BackgroundJob for TlsFilesJob {
    fn name(&self) -> &'static str {
        "tls_files"
    }

    fn phase(&self) -> Phase {
        Phase::AfterDraining
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), JobError> {
        match stop.run_until_cancelled(self.follower.follow(&self.gauges)).await {
            Some(Err(error)) => Err(error.into()),
            Some(Ok(never)) => match never {},
            None => Ok(()),
        }
    }
}

/// Records the sums of refused calls every minute.
pub(crate) struct RefusedCallsJob(pub(crate) Arc<Recorder>);

impl BackgroundJob for RefusedCallsJob {
    fn name(&self) -> &'static str {
        "refused_calls"
    }

    fn phase(&self) -> Phase {
        Phase::AfterDraining
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), JobError> {
        self.0.keep(stop).await;
        Ok(())
    }

    async fn finish(&mut self) {
        self.0.write_sums().await;
    }
}

/// Answers probes and scrapes.
pub(crate) struct OpsJob {
    listener: TcpListener,
    health: Health,
    telemetry: Telemetry,
    store: Store,
}

impl OpsJob {
    pub(crate) const fn new(listener: TcpListener, health: Health, telemetry: Telemetry, store: Store) -> Self {
        Self {
            listener,
            health,
            telemetry,
            store,
        }
    }
}

impl BackgroundJob for OpsJob {
    fn name(&self) -> &'static str {
        "ops"
    }

    fn phase(&self) -> Phase {
        Phase::Last
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), JobError> {
        ops::serve(&self.listener, &self.health, &self.telemetry, &self.store, stop).await;
        Ok(())
    }
}
