//! `tokend dev`: a throw-away installation on loopback, the main job before your eyes, and something to play with.

mod job;
mod seed;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use tokend_client::{CallerKey, Client};
use tokend_core::{clock::Clock, credential::Prefix};
use tokend_server::{
    audit_keeper,
    installation::{Installed, install},
    limits::Limits,
    random, retention,
    server::{Server, Settings},
    transport,
};

use super::{
    logging::{self, Format, Level},
    ready_file::Ready,
    stop::{self, Hangup},
    storage::sqlite_url,
};
use crate::{failure::Failure, stdout::print_whole, terminal::note};
use seed::Seeded;
use zeroize::Zeroizing;

/// What `dev` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to serve gRPC, on loopback; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value_t = local(50_051))]
    listen: SocketAddr,

    /// Where to serve health and metrics, on loopback
    #[arg(long, value_name = "ADDRESS", default_value_t = local(9_090))]
    ops_listen: SocketAddr,

    /// The HTTP faces, which are not served yet: nothing will listen there
    #[arg(long, value_name = "ADDRESS")]
    http_listen: Option<SocketAddr>,

    /// A file to write the addresses and keys to, as JSON, once the server serves
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,

    /// End after the job instead of serving until Ctrl-C
    #[arg(long)]
    once: bool,

    /// How much to log, on stderr
    #[arg(long, default_value = "warn")]
    log: Level,
}

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

pub(crate) async fn run(args: Args, clock: Clock) -> Result<ExitCode, Failure> {
    let Args { listen, ops_listen, http_listen, ready_file, once, log } = args;
    for address in [listen, ops_listen] {
        if !address.ip().is_loopback() {
            return Err(Failure::Other(format!("`tokend dev` serves on loopback only, not on {address}; use `tokend serve`")));
        }
    }
    if http_listen.is_some() {
        note("The HTTP faces are not served yet; nothing listens on --http-listen.");
    }
    logging::start(log, Format::Pretty);
    let stop = stop::on_signal(Hangup::Drains)?;

    // Gone when this function ends, keys and tokens with it.
    let directory = tempfile::Builder::new().prefix("tokend-dev-").tempdir()?;
    let store = tokend_store::Settings::new(sqlite_url(&directory.path().join("tokend.db")));
    let roots = random::generate_roots(Prefix::default())
        .map_err(|error| Failure::Other(format!("the system's random source failed: {error}")))?;
    let roots = Arc::new(roots);
    let Installed { key: admin_key, key_name: _ } = install(&store, Arc::clone(&roots), clock.clone()).await?;

    let settings = Settings {
        listen,
        ops_listen: Some(ops_listen),
        tls: None,
        reflection: true,
        transport: transport::Settings::default(),
        limits: Limits::default(),
        store,
        audit: audit_keeper::Settings::default(),
        token_retention: retention::DEFAULT,
        keyring: None,
        revocations_file: None,
        webhook: None,
    };
    let server = Server::bind(settings, roots, clock.clone()).await?;
    let (address, ops_address) = (server.address()?, server.ops_address()?);
    let serving = tokio::spawn(server.run(stop.clone()));

    let admin = Client::connect(&address.to_string(), &CallerKey::new(admin_key.expose())?).await?;
    let seeded = seed::seed(&admin).await?;
    let verifier = Client::connect(&address.to_string(), &CallerKey::new(seeded.verifier_key.expose())?).await?;
    print_whole(&greeting(address, ops_address))?;
    job::show(&admin, &verifier, &clock).await?;

    if let Some(path) = ready_file {
        let ready = Ready {
            grpc_address: Some(address),
            ops_address,
            http_address: None,
            admin_key: Some(admin_key.expose()),
            verifier_key: Some(seeded.verifier_key.expose()),
            workspace: Some(seed::WORKSPACE),
        };
        ready.write(&path)?;
    }
    if once {
        stop.cancel();
    } else {
        print_whole(&how_to_go_on(address, admin_key.expose(), &seeded))?;
    }
    // Connections of our own would be drained for nothing.
    drop((admin, verifier));
    serving.await.map_err(|error| Failure::Other(format!("the server failed: {error}")))??;
    Ok(ExitCode::SUCCESS)
}

fn greeting(address: SocketAddr, ops_address: Option<SocketAddr>) -> String {
    let ops = ops_address.map(|ops| format!("Health and metrics: http://{ops}/readyz and /metrics\n")).unwrap_or_default();
    format!("tokend serves a throw-away installation on {address}, with workspace acme.\n{ops}\n")
}

fn how_to_go_on(address: SocketAddr, admin_key: &str, seeded: &Seeded) -> Zeroizing<String> {
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
A service that only asks for verdicts uses a key that can do nothing else:\n
  export TOKEND_CALLER_KEY={verifier_key}\n
Ctrl-C ends it and deletes everything.\n"
    ))
}
