//! `tokend serve`: runs the server.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use tokend_core::time::Clock;
use tokend_server::{
    background::audit_checkpoints::AuditSettings,
    background::retention,
    limits::Limits,
    operator::keyring_file,
    server::{Server, ServerSettings},
    transport::TransportSettings,
};

use super::{
    config::{ConfigArgs, switch},
    logging::{self, Format, Level},
    ready_file::Ready,
    storage::StorageArgs,
    tls::TlsArgs,
    webhook::WebhookArgs,
};
use crate::{
    command_error::CommandError,
    process::{self, Hangup},
};

/// Arguments of `tokend serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    storage: StorageArgs,

    /// The address to serve gRPC on; port 0 picks a free port [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDRESS", env = "TOKEND_LISTEN")]
    listen: Option<SocketAddr>,

    /// The address to serve health and metrics on, over plain HTTP [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS", env = "TOKEND_OPS_LISTEN")]
    ops_listen: Option<SocketAddr>,

    #[command(flatten)]
    tls: TlsArgs,

    /// Serve gRPC without TLS on an address that other machines can reach
    #[arg(
        long, env = "TOKEND_INSECURE_PLAINTEXT", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = switch(),
    )]
    insecure_plaintext: Option<bool>,

    /// Append all revocations to this file, outside the database, for `tokend restore`
    #[arg(long, value_name = "FILE", env = "TOKEND_REVOCATIONS_FILE")]
    revocations_file: Option<PathBuf>,

    /// Serve gRPC reflection
    #[arg(
        long, env = "TOKEND_REFLECTION", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = switch(),
    )]
    reflection: Option<bool>,

    /// Refuse to start on an older schema instead of updating it
    #[arg(
        long, env = "TOKEND_NO_MIGRATE", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = switch(),
    )]
    no_migrate: Option<bool>,

    /// Append checkpoints of the audit log to this file. Keep it where nobody who can write to the database can edit it
    #[arg(long, value_name = "FILE", env = "TOKEND_AUDIT_CHECKPOINT_FILE")]
    audit_checkpoint_file: Option<PathBuf>,

    /// How many days to keep audit log records [default: 400]
    #[arg(
        long, value_name = "DAYS", env = "TOKEND_AUDIT_RETENTION_DAYS",
        value_parser = clap::value_parser!(u32).range(1..=36_500),
    )]
    audit_retention_days: Option<u32>,

    /// How many days to keep expired and revoked tokens [default: 90]
    #[arg(
        long, value_name = "DAYS", env = "TOKEND_TOKEN_RETENTION_DAYS",
        value_parser = clap::value_parser!(u32).range(1..=36_500),
    )]
    token_retention_days: Option<u32>,

    #[command(flatten)]
    webhook: WebhookArgs,

    /// The lowest severity to log [default: info]
    #[arg(long, env = "TOKEND_LOG")]
    log: Option<Level>,

    /// The format of log lines [default: pretty]
    #[arg(long, env = "TOKEND_LOG_FORMAT")]
    log_format: Option<Format>,

    /// Write the addresses to this file, as JSON, once the server is serving
    #[arg(long, value_name = "FILE", env = "TOKEND_READY_FILE")]
    ready_file: Option<PathBuf>,
}

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 50_051);
const DEFAULT_OPS_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9_090);

/// The resolved settings: flags and environment override the file, and the file overrides defaults.
struct Plan {
    settings: ServerSettings,
    keyring: PathBuf,
    ready_file: Option<PathBuf>,
    log: Level,
    log_format: Format,
}

pub(crate) async fn run(args: Args, clock: Clock) -> Result<ExitCode, CommandError> {
    let Plan {
        settings,
        keyring,
        ready_file,
        log,
        log_format,
    } = resolve(args)?;
    logging::start(log, log_format);
    let roots = Arc::new(keyring_file::read(&keyring)?);
    process::allow_connections(settings.transport.max_connections);
    let is_tls = settings.tls.is_some();
    let stop = process::stop_on_signal(Hangup::Ignored)?;
    let server = Server::bind(settings, roots, clock).await?;
    let (address, ops_address) = (server.address(), server.ops_address());
    tracing::info!(%address, ops_address = ops_address.map(tracing::field::display), is_tls, "serving");
    if let Some(path) = ready_file {
        let ready = Ready {
            grpc_address: Some(address),
            ops_address,
            ..Ready::default()
        };
        ready.write(&path)?;
    }
    server.run(stop).await?;
    Ok(ExitCode::SUCCESS)
}

/// Resolves the settings. Clap has read flags and environment.
fn resolve(args: Args) -> Result<Plan, CommandError> {
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
    storage.store.migrate = !no_migrate.or(file.no_migrate).unwrap_or(false);
    let log = log.or(file.log).unwrap_or(Level::Info);
    let log_format = log_format.or(file.log_format).unwrap_or(Format::Pretty);
    let ready_file = ready_file.or(file.ready_file.take());
    let retention_days = audit_retention_days.or(file.audit_retention_days);
    let mut audit = AuditSettings {
        checkpoint_file: audit_checkpoint_file.or(file.audit_checkpoint_file.take()),
        ..AuditSettings::default()
    };
    if let Some(retention) = retention_days {
        audit.retention = days(retention);
    }
    let token_retention = token_retention_days
        .or(file.token_retention_days.map(NonZeroU32::get))
        .map_or(retention::DEFAULT, days);

    let listen = listen.or(file.listen).unwrap_or(DEFAULT_LISTEN);
    let ops_listen = ops_listen.or(file.ops_listen).unwrap_or(DEFAULT_OPS_LISTEN);
    let may_be_plaintext = insecure_plaintext.or(file.insecure_plaintext).unwrap_or(false);
    let tls = tls.resolve(&mut file)?;
    let webhook = webhook.resolve(std::mem::take(&mut file.webhook))?;
    if tls.is_none() && !listen.ip().is_loopback() && !may_be_plaintext {
        return Err(CommandError::Other(format!(
            "other machines can reach {listen}, and keys and tokens would be sent unencrypted; pass --tls-cert and \
             --tls-key, listen on loopback, or pass --insecure-plaintext if the network itself is encrypted"
        )));
    }

    let (mut transport, mut limits) = (TransportSettings::default(), Limits::default());
    file.limits.apply(&mut transport, &mut limits, &mut storage.store);
    let settings = ServerSettings {
        listen,
        ops_listen: Some(ops_listen),
        tls,
        reflection: reflection.or(file.reflection).unwrap_or(false),
        transport,
        limits,
        store: storage.store,
        audit,
        token_retention,
        keyring: Some(storage.keyring.clone()),
        revocations_file: revocations_file.or(file.revocations_file),
        webhook,
        is_new_database: false,
    };
    Ok(Plan {
        settings,
        keyring: storage.keyring,
        ready_file,
        log,
        log_format,
    })
}

/// Converts days to a duration of at least one day.
fn days(days: u32) -> Duration {
    Duration::from_secs(u64::from(days.max(1)) * 24 * 60 * 60)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    /// Returns the settings that this flag and a file with this line result in, on loopback and on another address.
    fn decided(flag: Option<&str>, line: &str) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        std::fs::write(&file, line).expect("it can be written");
        let file = file.to_str().expect("text");
        let plans = ["127.0.0.1:1", "192.0.2.1:1"].map(|listen| {
            let arguments = ["serve", "--config", file, "--listen", listen].into_iter().chain(flag);
            let Plan { settings, .. } = match resolve(Cli::parse_from(arguments).args) {
                Ok(plan) => plan,
                Err(error) => return format!("{error:?}"),
            };
            let tokend_store::StoreSettings {
                migrate,
                allow_unsafe_durability,
                ..
            } = settings.store;
            format!("{settings:?} {migrate} {allow_unsafe_durability}")
        });
        plans.concat()
    }

    /// Returns the switches that a variable and the file can set, too.
    fn switches() -> Vec<String> {
        let takes_no_value = |arg: &&clap::Arg| arg.get_num_args().is_some_and(|values| values.min_values() == 0);
        let command = Cli::command();
        let switches = command
            .get_arguments()
            .filter(|arg| arg.get_env().is_some())
            .filter(takes_no_value);
        switches
            .map(|arg| arg.get_long().expect("it has a name").to_owned())
            .collect()
    }

    #[test]
    fn a_switch_overrides_the_file_both_ways() {
        let switches = switches();
        assert!(switches.len() >= 4, "{switches:?}");
        for switch in switches {
            let key = switch.replace('-', "_");
            let by_file = [false, true].map(|value| decided(None, &format!("{key} = {value}")));
            let [off, on] = &by_file;
            assert_ne!(off, on, "{switch} decides something");
            assert_eq!(&decided(None, ""), off, "{switch} is off by default");
            assert_eq!(&decided(Some(&format!("--{switch}")), &format!("{key} = false")), on);
            for (value, expected) in [
                ("false", off),
                ("0", off),
                ("no", off),
                ("true", on),
                ("1", on),
                ("yes", on),
            ] {
                for file in [false, true] {
                    assert_eq!(
                        &decided(Some(&format!("--{switch}={value}")), &format!("{key} = {file}")),
                        expected,
                        "{switch}"
                    );
                }
            }
        }
    }
}
