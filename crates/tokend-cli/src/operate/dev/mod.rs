//! `tokend dev`: serves a throw-away installation on loopback, and demonstrates it.

mod demo;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use tokend_client::{CallerKey, Client};
use tokend_core::{credential::Prefix, lease::Terms, time::Clock};
use tokend_server::{
    background::audit_checkpoints::AuditSettings,
    background::retention,
    limits::Limits,
    operator::installation::{Installed, install},
    random,
    server::{Server, ServerSettings},
    transport::TransportSettings,
};

use super::{
    logging::{self, Format, Level},
    ready_file::Ready,
    storage::sqlite_url,
};
use crate::{
    command_error::CommandError,
    process::{self, Hangup},
    stdout::print_whole,
    terminal::note,
};
use demo::Seeded;
use zeroize::Zeroizing;

/// Arguments of `tokend dev`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The loopback address to serve gRPC on; port 0 picks a free port
    #[arg(long, value_name = "ADDRESS", default_value_t = local(50_051))]
    listen: SocketAddr,

    /// The loopback address to serve health and metrics on
    #[arg(long, value_name = "ADDRESS", default_value_t = local(9_090))]
    ops_listen: SocketAddr,

    /// The address for the HTTP APIs. They are not implemented yet: nothing will listen on it
    #[arg(long, value_name = "ADDRESS")]
    http_listen: Option<SocketAddr>,

    /// Write the addresses and keys to this file, as JSON, once the server is serving
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,

    /// Exit after the demonstration instead of serving until Ctrl-C
    #[arg(long)]
    once: bool,

    /// The lowest severity to log, on stderr
    #[arg(long, default_value = "warn")]
    log: Level,
}

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

pub(crate) async fn run(args: Args, clock: Clock) -> Result<ExitCode, CommandError> {
    let Args {
        listen,
        ops_listen,
        http_listen,
        ready_file,
        once,
        log,
    } = args;
    for address in [listen, ops_listen] {
        if !address.ip().is_loopback() {
            return Err(CommandError::Other(format!(
                "`tokend dev` serves on loopback only, and {address} is another address; use `tokend serve` instead"
            )));
        }
    }
    if http_listen.is_some() {
        note("The HTTP APIs are not implemented yet. Nothing listens on the address of --http-listen.");
    }
    logging::start(log, Format::Pretty);
    let stop = process::stop_on_signal(Hangup::Drains)?;

    // Deleted when this function returns, with its keys and tokens.
    let directory = tempfile::Builder::new().prefix("tokend-dev-").tempdir()?;
    let store = tokend_store::StoreSettings::new(sqlite_url(&directory.path().join("tokend.db")));
    let roots = random::generate_roots(Prefix::default())
        .map_err(|error| CommandError::Other(format!("the system's random source failed: {error}")))?;
    let roots = Arc::new(roots);
    let Installed {
        key: admin_key,
        key_name: _,
    } = install(&store, Arc::clone(&roots), Terms::default(), clock.clone()).await?;

    let settings = ServerSettings {
        listen,
        ops_listen: Some(ops_listen),
        tls: None,
        reflection: true,
        transport: TransportSettings::default(),
        limits: Limits::default(),
        store,
        audit: AuditSettings::default(),
        token_retention: retention::DEFAULT,
        keyring: None,
        revocations_file: None,
        webhook: None,
        is_new_database: true,
    };
    let server = Server::bind(settings, roots, clock.clone()).await?;
    let (address, ops_address) = (server.address(), server.ops_address());
    let serving = tokio::spawn(server.run(stop.clone()));

    let admin = Client::connect(&address.to_string(), &CallerKey::new(admin_key.expose())?).await?;
    let seeded = demo::seed(&admin).await?;
    let verifier = Client::connect(&address.to_string(), &CallerKey::new(seeded.verifier_key.expose())?).await?;
    print_whole(&greeting(address, ops_address))?;
    demo::show(&admin, &verifier, &clock).await?;

    if let Some(path) = ready_file {
        let ready = Ready {
            grpc_address: Some(address),
            ops_address,
            http_address: None,
            admin_key: Some(admin_key.expose()),
            verifier_key: Some(seeded.verifier_key.expose()),
            workspace: Some(demo::WORKSPACE),
        };
        ready.write(&path)?;
    }
    if once {
        stop.cancel();
    } else {
        print_whole(&next_steps(address, admin_key.expose(), &seeded))?;
    }
    // Otherwise the server would wait for these connections when it drains.
    drop((admin, verifier));
    serving
        .await
        .map_err(|error| CommandError::Other(format!("the server failed: {error}")))??;
    Ok(ExitCode::SUCCESS)
}

fn greeting(address: SocketAddr, ops_address: Option<SocketAddr>) -> String {
    let ops = ops_address
        .map(|ops| format!("Health and metrics: http://{ops}/readyz and /metrics\n"))
        .unwrap_or_default();
    format!("tokend serves a throw-away installation on {address}. It has the workspace acme.\n{ops}\n")
}

fn next_steps(address: SocketAddr, admin_key: &str, seeded: &Seeded) -> Zeroizing<String> {
    let program = std::env::current_exe().map_or_else(|_| "tokend".to_owned(), |path| path.display().to_string());
    let verifier_key = seeded.verifier_key.expose();
    Zeroizing::new(format!(
        "Try it from another shell:\n
  alias tokend={program}
  export TOKEND_ADDRESS={address}
  export TOKEND_CALLER_KEY={admin_key}
  TOKEN=$(tokend token create --workspace acme --name ci --scope repository:write --ttl 30d)
  echo $TOKEN | tokend verify --resource workspaces/acme/repositories/site --scope repository:write
  tokend token list --workspace acme\n
A service that only verifies tokens uses a key that can do nothing else:\n
  export TOKEND_CALLER_KEY={verifier_key}\n
Ctrl-C stops the server and deletes everything.\n"
    ))
}
