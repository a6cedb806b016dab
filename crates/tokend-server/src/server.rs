//! Builds the server from its settings, runs it, and shuts it down.
//!
//! [`Server::bind`] takes the addresses, reads the files, opens the database and builds every component, in that order.
//! [`Server::run`] serves. Its jobs and its transport stop in the order that `background::supervisor` gives; the
//! database closes last.

mod files;
mod jobs;
mod ports;
mod settings;

use std::{net::SocketAddr, sync::Arc};

use tokend_core::{keyring::RootKeys, log_limit::LogLimit, time::Clock};
use tokend_store::{OpenError, Store, StoreSettings};
use tokio_util::sync::CancellationToken;

pub use self::settings::{ServerSettings, StartError};
use self::{files::Files, jobs::JobParts, ports::Ports};
use crate::{
    auth::failed_authentications::FailedAuthentications,
    background::{adapters::TlsFilesJob, revocations_file::RevocationsFileJob, supervisor::Supervisor, webhook},
    grpc::{self, layers::authenticate::Gate},
    observability::{
        counters::{DeniedVerdicts, LeakedSecrets, RefusedCalls},
        health::Health,
        metrics::Telemetry,
        refusal_record::Recorder,
    },
    transport::{self, Report, TransportSettings},
    usage::UsageRecorder,
    usecases::{Context, tokens::revocation_queue::RevocationQueue},
    verifier::{MemorySettings, Verifier, measures::LookUpCounters},
};

/// A server that holds its addresses and its database, and does not serve yet.
pub struct Server {
    ports: Ports,
    transport: TransportSettings,
    grpc: grpc::Parts,
    jobs: Supervisor,
}

impl Server {
    /// Takes the addresses, reads the files, opens the database, and builds every component.
    ///
    /// # Errors
    /// [`StartError`], one sentence for the operator.
    pub async fn bind(settings: ServerSettings, roots: Arc<RootKeys>, clock: Clock) -> Result<Self, StartError> {
        settings.check()?;
        // The addresses come first: a second server on them must not even touch the database.
        let mut ports = Ports::bind(&settings).await?;
        let telemetry = Telemetry::new();
        let files = Files::open(&settings, &telemetry, &clock)?;
        let store_settings = StoreSettings {
            has_webhook: files.webhook.is_some(),
            ..settings.store
        };
        let store = Store::open_alone(&store_settings, roots, clock.clone()).await?;
        let terms = store.lease_terms().await.map_err(OpenError::from)?;
        settings.limits.check_wait(terms.full_wait())?;
        let revocations_file = match &settings.revocations_file {
            Some(path) => Some(RevocationsFileJob::open(path, &store).await?),
            None => None,
        };
        if files.webhook.is_none() {
            webhook::warn_of_leftovers(&store).await;
        }
        let tls = files.tls.as_ref().map(TlsFilesJob::acceptor);
        let transport = TransportSettings {
            tls,
            ..settings.transport
        };

        let mut jobs = Supervisor::new(telemetry.clone());
        let usage = Arc::new(UsageRecorder::new(&telemetry));
        let verifier = Verifier::start(
            store.clone(),
            clock.clone(),
            MemorySettings {
                max_bytes: settings.limits.max_cache_bytes,
                is_new_database: settings.is_new_database,
            },
            LookUpCounters::new(&telemetry),
        )
        .await
        .map_err(OpenError::from)?;
        let grpc = grpc::Parts {
            gate: Arc::new(Gate::new(
                store.clone(),
                &store_settings,
                verifier.clone(),
                FailedAuthentications::new(&settings.limits, clock.clone()),
                Arc::clone(&usage),
                LogLimit::new(clock.clone()),
                transport.max_connections,
            )),
            refusals: Arc::new(Recorder::new(
                store.clone(),
                RefusedCalls::new(&telemetry, clock.clone()),
                clock.clone(),
            )),
            context: Arc::new(Context {
                verifier,
                revocations: RevocationQueue::new(store.reserved(), &telemetry),
                catalog: files.catalog,
                denied: DeniedVerdicts::new(&telemetry, clock.clone()),
                leaked: LeakedSecrets::new(&telemetry),
                store: store.clone(),
                usage,
            }),
            limits: settings.limits,
            health: Health::not_ready().await,
            reflection: files.reflection,
            draining: jobs.draining(),
            telemetry,
            clock,
        };
        let job_parts = JobParts {
            tls: files.tls,
            keyring: settings.keyring,
            checkpoint_file: files.checkpoint_file,
            audit_retention: settings.audit.retention,
            token_retention: settings.token_retention,
            revocations_file,
            webhook: files.webhook,
            ops_listener: ports.ops_listener.take(),
        };
        job_parts.add_to(&mut jobs, &grpc);

        // The last step, so that a start that fails logs nothing but the reason.
        store.reserved().warn_if_unencrypted().await.map_err(OpenError::from)?;
        Ok(Self {
            ports,
            transport,
            grpc,
            jobs,
        })
    }

    /// Returns the address of the gRPC port. If the settings say port 0, it has the port that was taken.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.ports.address
    }

    /// Returns the address of the ops port.
    #[must_use]
    pub const fn ops_address(&self) -> Option<SocketAddr> {
        self.ports.ops_address
    }

    /// Serves until `shutdown`. Then reports that it is not ready, drains, and closes the database.
    ///
    /// # Errors
    /// [`StartError::Transport`].
    pub async fn run(self, shutdown: CancellationToken) -> Result<Report, StartError> {
        let Self {
            ports,
            transport,
            grpc,
            jobs,
        } = self;
        let (health, store) = (grpc.health.clone(), grpc.context.store.clone());
        let service = grpc::service(grpc);
        health.set_ready(true).await;
        let serve = transport::serve(ports.listener, service, transport, jobs.draining().cancelled_owned());
        let report = jobs.run(serve, shutdown).await;
        store.close().await;
        Ok(report?)
    }
}
