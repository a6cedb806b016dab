use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use tokend_core::clock::Clock;
use tokend_server::{
    audit_keeper, keyring_file,
    limits::Limits,
    retention,
    server::{Server, Settings},
    transport,
};

use super::{
    config::ConfigArgs,
    files,
    logging::{self, Format, Level},
    ready_file::Ready,
    stop::{self, Hangup},
    storage::StorageArgs,
    tls::TlsArgs,
    webhook::WebhookArgs,
};
use crate::failure::Failure;

/// What `serve` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    storage: StorageArgs,

    /// Where to serve gRPC; port 0 takes a free one [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDRESS", env = "TOKEND_LISTEN")]
    listen: Option<SocketAddr>,

    /// Where to serve health and metrics, as plain HTTP [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS", env = "TOKEND_OPS_LISTEN")]
    ops_listen: Option<SocketAddr>,

    #[command(flatten)]
    tls: TlsArgs,

    /// Serve gRPC without TLS on an address that others can reach
    #[arg(long, env = "TOKEND_INSECURE_PLAINTEXT")]
    insecure_plaintext: bool,

    /// A file outside the database to which everything that ends is appended, for `tokend restore`
    #[arg(long, value_name = "FILE", env = "TOKEND_REVOCATIONS_FILE")]
    revocations_file: Option<PathBuf>,

    /// Serve reflection
    #[arg(long, env = "TOKEND_REFLECTION")]
    reflection: bool,

    /// Refuse to start on an older schema rather than bring it up to date
    #[arg(long, env = "TOKEND_NO_MIGRATE")]
    no_migrate: bool,

    /// A file to append checkpoints of the audit log to, a line each: keep it where who can write to the database can't
    #[arg(long, value_name = "FILE", env = "TOKEND_AUDIT_CHECKPOINT_FILE")]
    audit_checkpoint_file: Option<PathBuf>,

    /// How many days to keep records of the audit log [default: 400]
    #[arg(long, value_name = "DAYS", env = "TOKEND_AUDIT_RETENTION_DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    audit_retention_days: Option<u32>,

    /// How many days to keep tokens after they have ended [default: 90]
    #[arg(long, value_name = "DAYS", env = "TOKEND_TOKEN_RETENTION_DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    token_retention_days: Option<u32>,

    #[command(flatten)]
    webhook: WebhookArgs,

    /// How much to log [default: info]
    #[arg(long, env = "TOKEND_LOG")]
    log: Option<Level>,

    /// How a line of the log looks [default: pretty]
    #[arg(long, env = "TOKEND_LOG_FORMAT")]
    log_format: Option<Format>,

    /// A file to write the addresses to, as JSON, once the server serves
    #[arg(long, value_name = "FILE", env = "TOKEND_READY_FILE")]
    ready_file: Option<PathBuf>,
}

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 50_051);
const DEFAULT_OPS_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9_090);

pub(crate) async fn run(args: Args, clock: Clock) -> Result<ExitCode, Failure> {
    let Args {
        config,
        storage,
        listen,
        ops_listen,
        tls,
        insecure_plaintext,
        revocations_file,
        reflection,
        no_migrate,
        log,
        log_format,
        ready_file,
        audit_checkpoint_file,
        audit_retention_days,
        token_retention_days,
        webhook,
    } = args;
    let mut file = config.read()?;
    let mut storage = storage.resolve(&mut file)?;
    storage.store.migrate = !no_migrate && !file.no_migrate.unwrap_or(false);
    logging::start(log.or(file.log).unwrap_or(Level::Info), log_format.or(file.log_format).unwrap_or(Format::Pretty));
    let ready_file = ready_file.or(file.ready_file.take());
    let retention_days = audit_retention_days.or(file.audit_retention_days);
    let mut audit = audit_keeper::Settings {
        checkpoint_file: audit_checkpoint_file.or(file.audit_checkpoint_file.take()),
        ..audit_keeper::Settings::default()
    };
    if let Some(retention) = retention_days {
        audit.retention = days(retention);
    }
    let token_retention = token_retention_days.or(file.token_retention_days.map(NonZeroU32::get)).map_or(retention::DEFAULT, days);

    let listen = listen.or(file.listen).unwrap_or(DEFAULT_LISTEN);
    let ops_listen = ops_listen.or(file.ops_listen).unwrap_or(DEFAULT_OPS_LISTEN);
    let may_be_plaintext = insecure_plaintext || file.insecure_plaintext.unwrap_or(false);
    let tls = tls.resolve(&mut file)?;
    let webhook = webhook.resolve(std::mem::take(&mut file.webhook))?;
    if tls.is_none() && !listen.ip().is_loopback() && !may_be_plaintext {
        return Err(Failure::Other(format!(
            "{listen} can be reached from other machines, and keys and tokens would travel in clear; \
             give --tls-cert and --tls-key, listen on loopback, or pass --insecure-plaintext where the network itself is encrypted"
        )));
    }

    let roots = Arc::new(keyring_file::read(&storage.keyring)?);
    let (mut transport, mut limits) = (transport::Settings::default(), Limits::default());
    file.limits.apply(&mut transport, &mut limits, &mut storage.store);
    files::allow_connections(transport.max_connections);
    let is_tls = tls.is_some();
    let settings = Settings {
        listen,
        ops_listen: Some(ops_listen),
        tls,
        reflection: reflection || file.reflection.unwrap_or(false),
        transport,
        limits,
        store: storage.store,
        audit,
        token_retention,
        keyring: Some(storage.keyring),
        revocations_file: revocations_file.or(file.revocations_file),
        webhook,
    };
    let stop = stop::on_signal(Hangup::Ignored)?;
    let server = Server::bind(settings, roots, clock).await?;
    let (address, ops_address) = (server.address()?, server.ops_address()?);
    tracing::info!(%address, ops_address = ops_address.map(tracing::field::display), is_tls, "serving");
    if let Some(path) = ready_file {
        let ready = Ready { grpc_address: Some(address), ops_address, ..Ready::default() };
        ready.write(&path)?;
    }
    server.run(stop).await?;
    Ok(ExitCode::SUCCESS)
}

/// So many days, and one at least.
fn days(days: u32) -> Duration {
    Duration::from_secs(u64::from(days.max(1)) * 24 * 60 * 60)
}
