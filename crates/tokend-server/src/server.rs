//! Puts the server together, runs it, and takes it apart: database and key ring first, traffic last, and the other way round.

use std::{fs::File, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokend_core::{
    clock::Clock,
    keyring::RootKeys,
    scope::{CatalogError, ScopeCatalog},
};
use tokend_store::{OpenError, Store};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    audit_keeper::{self, Keeper},
    expiry_keeper::ExpiryKeeper,
    failed_authentications::FailedAuthentications,
    health::Health,
    keyring_watch,
    layers::{
        admission::{Admission, Admitted},
        authenticate::{Authenticate, Authenticator},
        bounds::Bounded,
        dispatch::{Dispatch, Services},
        framework_errors::FrameworkErrors,
        hygiene::Hygiene,
        message::{Complete, Messages},
        panics::Panics,
        refusals::Refusals,
        sensitive::Sensitive,
        telemetry::{Measured, Telemetry},
    },
    limits::Limits,
    ops,
    reflection::Reflection,
    refusal_record::Recorder,
    retention::RetentionKeeper,
    revocations_file::{RevocationsFile, RevocationsFileError},
    services::{
        audit_log::AuditLogService, caller_admin::CallerAdminService, token_admin::TokenAdminService,
        token_verify::TokenVerifyService, workspace_admin::WorkspaceAdminService,
    },
    tally::{DeniedVerdicts, LeakedSecrets, RefusedCalls, Sample},
    tls::{self, TlsError, TlsFiles},
    transport::{self, OutOfRange, Report, TransportError},
    usage,
    usecases::Context,
    webhook::{self, Courier, WebhookError},
};

/// Where and how to serve.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where gRPC is served.
    pub listen: SocketAddr,
    /// Where health and metrics are served, as plain HTTP; nowhere if absent.
    pub ops_listen: Option<SocketAddr>,
    /// TLS on gRPC; plaintext if absent. The files are followed while the server runs.
    pub tls: Option<TlsFiles>,
    /// Whether to serve reflection.
    pub reflection: bool,
    /// What peers are granted.
    pub transport: transport::Settings,
    /// What callers are granted.
    pub limits: Limits,
    /// The database.
    pub store: tokend_store::Settings,
    /// How the audit log is kept.
    pub audit: audit_keeper::Settings,
    /// How long tokens are kept after they have ended (above 0).
    pub token_retention: Duration,
    /// The key ring's file, read again when the database knows a key that was not in it. Nothing is read again if absent.
    pub keyring: Option<PathBuf>,
    /// Where what ends is kept outside the database; nowhere if absent.
    pub revocations_file: Option<PathBuf>,
    /// Who is told of what becomes of tokens; nobody if absent.
    pub webhook: Option<webhook::Settings>,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database can't be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The scope catalogue can't be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A limit is out of its range.
    #[error(transparent)]
    Limits(#[from] OutOfRange),
    /// An address can't be listened on.
    #[error("can't listen on {address}: {source}; is another process using it?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// TLS can't be served.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file for checkpoints of the audit log can't be appended to.
    #[error("can't append to the checkpoint file {}: {source}; check that this user may write to it", .path.display())]
    CheckpointFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Reflection can't be set up.
    #[error("can't set up reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The file for what ends can't be kept.
    #[error(transparent)]
    RevocationsFile(#[from] RevocationsFileError),
    /// There can't be such a webhook.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// The transport does not start.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// A server that holds its addresses and its database, and does not serve yet.
pub struct Server {
    context: Arc<Context>,
    authenticator: Arc<Authenticator>,
    limits: Limits,
    refusals: Arc<Recorder>,
    keeper: Keeper,
    expiry: ExpiryKeeper,
    retention: RetentionKeeper,
    listener: TcpListener,
    ops_listener: Option<TcpListener>,
    health: Health,
    telemetry: Telemetry,
    reflection: Option<Reflection>,
    tls: Option<tls::Follower>,
    transport: transport::Settings,
    keyring: Option<PathBuf>,
    revocations_file: Option<RevocationsFile>,
    usage: usage::Keeper,
    courier: Option<Courier>,
}

impl Server {
    /// Takes the addresses and opens the database.
    ///
    /// # Errors
    /// [`StartError`], one sentence for the operator.
    pub async fn bind(settings: Settings, roots: Arc<RootKeys>, clock: Clock) -> Result<Self, StartError> {
        let Settings {
            listen,
            ops_listen,
            tls,
            reflection,
            mut transport,
            limits,
            store: store_settings,
            audit,
            token_retention,
            keyring,
            revocations_file,
            webhook,
        } = settings;
        transport.check()?;
        limits.check()?;
        // The addresses first: a second server on them must not even touch the database.
        let listener = bind(listen).await?;
        let ops_listener = match ops_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let tls = tls.map(|files| tls::Follower::start(files, clock.clone())).transpose()?;
        transport.tls = tls.as_ref().map(tls::Follower::acceptor);
        let checkpoints = audit.checkpoint_file.map(open_checkpoints).transpose()?;
        let telemetry = Telemetry::new(clock.clone());
        let reflection = if reflection { Some(Reflection::new()?) } else { None };
        let catalog = Arc::new(ScopeCatalog::bitbucket()?);
        let denied = DeniedVerdicts::new(&telemetry, clock.clone());
        let leaked = LeakedSecrets::new(&telemetry);
        let refused = RefusedCalls::new(&telemetry, clock.clone());
        let failures = FailedAuthentications::new(&limits, clock.clone());
        let usage = Arc::new(usage::Recorder::new(&telemetry));
        let way = webhook.map(|settings| webhook::Way::open(settings, clock.clone())).transpose()?;
        let store = Store::open_alone(&store_settings, roots, clock.clone()).await?;
        let revocations_file = match revocations_file {
            Some(path) => Some(RevocationsFile::open(&path, &store).await?),
            None => None,
        };
        let context = Arc::new(Context { store: store.clone(), catalog, denied, leaked, usage });
        let courier = way.map(|way| Courier::new(way, store.clone(), &telemetry, clock.clone()));
        if courier.is_none() {
            webhook::tell_of_leftovers(&store).await;
        }
        // Last, so that a start that fails says nothing but why.
        store.reserved().warn_if_unencrypted().await.map_err(OpenError::from)?;
        Ok(Self {
            authenticator: Arc::new(Authenticator::new(
                store.clone(),
                &store_settings,
                failures,
                Arc::clone(&context.usage),
                Sample::new(clock.clone()),
                transport.max_connections,
            )),
            limits,
            refusals: Arc::new(Recorder::new(store.clone(), refused, clock.clone())),
            keeper: Keeper::new(store.clone(), checkpoints, audit.retention),
            expiry: ExpiryKeeper::new(store.clone(), clock.clone(), &telemetry, courier.is_some()),
            retention: RetentionKeeper::new(store, clock.clone(), token_retention, &telemetry),
            usage: usage::Keeper::new(Arc::clone(&context), clock),
            context,
            listener,
            ops_listener,
            health: Health::not_ready().await,
            telemetry,
            reflection,
            tls,
            transport,
            keyring,
            revocations_file,
            courier,
        })
    }

    /// Where gRPC is served: the port that was taken, if any would do.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where health and metrics are served.
    ///
    /// # Errors
    /// The system's.
    pub fn ops_address(&self) -> io::Result<Option<SocketAddr>> {
        self.ops_listener.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Serves until `shutdown`; then says that it is not ready, drains, and closes the database last.
    ///
    /// # Errors
    /// [`StartError::Transport`].
    pub async fn run(self, shutdown: CancellationToken) -> Result<Report, StartError> {
        let Self {
            context,
            authenticator,
            limits,
            refusals,
            keeper,
            expiry,
            retention,
            listener,
            ops_listener,
            health,
            telemetry,
            reflection,
            tls,
            transport,
            keyring,
            revocations_file,
            usage,
            courier,
        } = self;
        let store = context.store.clone();
        // NOT_SERVING goes out before the listener closes: `follow` ends at the same signal as `serve`, but says so first.
        let draining = CancellationToken::new();
        let dispatch = Dispatch::new(Services {
            token_verify: TokenVerifyService(Arc::clone(&context)),
            token_admin: TokenAdminService(Arc::clone(&context)),
            workspace_admin: WorkspaceAdminService(Arc::clone(&context)),
            caller_admin: CallerAdminService(Arc::clone(&context)),
            audit_log: AuditLogService { context: Arc::clone(&context), stop: draining.clone() },
            health: health.service(draining.clone()),
            reflection,
        });
        let service = Admitted { admission: Admission::new(&limits), inner: dispatch };
        let service = Complete { messages: Messages::new(Arc::clone(&authenticator), &limits), inner: service };
        let service = Bounded { limits, inner: Authenticate { authenticator, inner: service } };
        let service = Hygiene(Refusals { recorder: Arc::clone(&refusals), inner: FrameworkErrors(Panics(service)) });
        let service = Sensitive(Measured { telemetry: telemetry.clone(), inner: service });

        let following_files = tls.map(|tls| tokio::spawn(tls.follow(telemetry.of_tls_files())));
        // Ops answers until the very end, so that probes see the draining.
        let ops_stop = CancellationToken::new();
        let ops = ops_listener
            .map(|listener| tokio::spawn(ops::serve(listener, health.clone(), telemetry, store.clone(), ops_stop.clone())));
        health.set_ready(true).await;
        let following = tokio::spawn({
            let (store, draining) = (store.clone(), draining.clone());
            async move {
                health.follow(store, shutdown).await;
                draining.cancel();
            }
        });
        let keeping = tokio::spawn(keeper.keep(draining.clone()));
        let telling = tokio::spawn(expiry.keep(draining.clone()));
        let purging = tokio::spawn(retention.keep(draining.clone()));
        let watching = tokio::spawn(keyring_watch::follow(store.clone(), keyring));
        let drained = CancellationToken::new();
        let exporting = revocations_file.map(|file| tokio::spawn(file.follow(store.clone(), drained.clone())));
        let gathering = tokio::spawn(usage.keep(drained.clone()));
        let summing_up = tokio::spawn(refusals.keep(drained.clone()));
        let carrying = courier.map(|courier| tokio::spawn(courier.carry(draining.clone())));
        let report = transport::serve(listener, service, transport, draining.cancelled_owned()).await;
        following.abort();
        watching.abort();
        if let Some(following_files) = following_files {
            following_files.abort();
        }
        // What the last calls ended is exported, too, and what they used is recorded.
        drained.cancel();
        if let Some(exporting) = exporting {
            let _ = exporting.await;
        }
        let _ = (gathering.await, summing_up.await);
        if let Some(carrying) = carrying {
            let _ = carrying.await;
        }
        ops_stop.cancel();
        if let Some(ops) = ops {
            // It can't have panicked for anything that matters now.
            let _ = ops.await;
        }
        // Both end by the same signal. What they were just writing the store writes to its end.
        let _ = (telling.await, purging.await);
        if let Ok(keeper) = keeping.await {
            keeper.end().await;
        }
        drop(context);
        store.close().await;
        Ok(report?)
    }
}

fn open_checkpoints(path: PathBuf) -> Result<File, StartError> {
    audit_keeper::open(&path).map_err(|source| StartError::CheckpointFile { path, source })
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}
