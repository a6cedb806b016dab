use std::{fs, io, os::unix::fs::DirBuilderExt, path::Path, process::ExitCode, sync::Arc};

use tokend_core::{clock::Clock, credential::Prefix, keyring::KeyRing};
use tokend_server::{
    installation::{FIRST_CALLER, FIRST_KEY_TTL, install},
    keyring_file, random,
};

use super::{
    config::ConfigArgs,
    logging::{self, Format, Level},
    storage::{Storage, StorageArgs},
};
use crate::failure::Failure;

/// What `init` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    storage: StorageArgs,

    /// What every token starts with: 3 to 12 lower-case letters or digits. A permanent choice
    #[arg(long, value_name = "PREFIX", env = "TOKEND_TOKEN_PREFIX", default_value_t)]
    token_prefix: Prefix,
}

pub(crate) async fn run(args: Args, clock: Clock) -> Result<ExitCode, Failure> {
    let Args { config, storage, token_prefix } = args;
    let Storage { data_dir, keyring, store } = storage.resolve(&mut config.read()?);
    logging::start(Level::Error, Format::Pretty);
    make_directory(&data_dir).map_err(|error| Failure::Other(format!("can't make {}: {error}", data_dir.display())))?;

    let (ring, is_new) = find_or_make_ring(&keyring, token_prefix)?;
    let installed = install(&store, Arc::new(ring), clock).await;
    if installed.is_err() && is_new {
        // A ring that no database knows would only mislead. If it stays behind, the next init takes it.
        let _ = fs::remove_file(&keyring);
    }
    let key = installed?;
    eprintln!(
        "The key of {FIRST_CALLER}, an ADMIN caller, follows on stdout. It is shown this once and works {} days.",
        FIRST_KEY_TTL.as_secs() / 86_400
    );
    eprintln!("Back up {} apart from the database: without it every token is lost.", keyring.display());
    println!("{}", key.expose());
    eprintln!("Next: `tokend serve` with the same options.");
    Ok(ExitCode::SUCCESS)
}

/// The key ring at `path`, and whether it was just made.
fn find_or_make_ring(path: &Path, prefix: Prefix) -> Result<(KeyRing, bool), Failure> {
    let ring =
        random::generate_ring(prefix).map_err(|error| Failure::Other(format!("the system's random source failed: {error}")))?;
    if keyring_file::create(path, &ring)? {
        return Ok((ring, true));
    }
    // That of another init, interrupted or at work right now, or one that the operator brought: the database tells.
    Ok((keyring_file::read(path)?, false))
}

fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
