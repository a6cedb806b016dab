use std::{fs, io, os::unix::fs::DirBuilderExt, path::Path, process::ExitCode, sync::Arc};

use tokend_core::{
    clock::Clock,
    credential::{Prefix, Secret},
    keyring::RootKeys,
    name::CallerKeyName,
};
use tokend_server::{
    installation::{FIRST_KEY_TTL, Installed, install},
    keyring_file, random,
    recovery::{Recovered, recover},
};

use super::{
    config::ConfigArgs,
    logging::{self, Format, Level},
    storage::{Storage, StorageArgs},
};
use crate::{failure::Failure, stdout, terminal::note};

/// What `init` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    storage: StorageArgs,

    /// What every token starts with: 3 to 12 lower-case letters or digits. A permanent choice [default: tkd]
    #[arg(long, value_name = "PREFIX", env = "TOKEND_TOKEN_PREFIX")]
    token_prefix: Option<Prefix>,

    /// Make a new key for an ADMIN of an installation that is there, when nobody has one any more
    #[arg(long, conflicts_with = "token_prefix")]
    recover: bool,
}

pub(crate) async fn run(args: Args, clock: Clock) -> Result<ExitCode, Failure> {
    let Args { config, storage, token_prefix, recover } = args;
    let Storage { data_dir, keyring, store } = storage.resolve_for_command(&mut config.read()?)?;
    logging::start(Level::Error, Format::Pretty);
    stdout::check_for_secret()?;
    if recover {
        return make_key(&store, &keyring, clock).await;
    }
    make_directory(&data_dir).map_err(|error| Failure::Other(format!("can't make {}: {error}", data_dir.display())))?;

    // A ring that was made stays, whatever happens next: another init may have found it and be installing with it right now. The
    // next init takes it.
    let roots = find_or_make_ring(&keyring, token_prefix)?;
    let Installed { key_name, key } = install(&store, Arc::new(roots), clock).await?;
    let shown = print_key(&key_name, &key, "The installation is complete");
    note(&format!("Back up {} apart from the database: without it every token is lost.", keyring.display()));
    shown?;
    note("Next: `tokend serve` with the same options.");
    Ok(ExitCode::SUCCESS)
}

/// Makes a new key for an ADMIN.
async fn make_key(store: &tokend_store::Settings, keyring: &Path, clock: Clock) -> Result<ExitCode, Failure> {
    let roots = keyring_file::read(keyring)?;
    let Recovered { key_name, key } = recover(store, Arc::new(roots), clock).await?;
    print_key(&key_name, &key, &format!("{key_name} is created"))?;
    let caller = &key_name.caller;
    note(&format!(
        "Keys that worked still do: revoke what was lost with `tokend caller key list {caller}` and `tokend caller key revoke`."
    ));
    Ok(ExitCode::SUCCESS)
}

/// Prints an ADMIN's key alone on stdout. `done` says what was created, in case that the key can't be written.
fn print_key(name: &CallerKeyName, key: &Secret, done: &str) -> Result<(), Failure> {
    stdout::print_secret(key).map_err(|error| {
        Failure::Other(format!(
            "{done}, but the key could not be written to stdout ({error}) and is lost: create another with `tokend init --recover` and the same options, then revoke the lost one with `tokend caller key revoke {name}`"
        ))
    })?;
    note(&format!(
        "The key of {}, an ADMIN caller, is on stdout. It is shown this once and works {} days.",
        name.caller,
        FIRST_KEY_TTL.as_secs() / 86_400
    ));
    Ok(())
}

/// The key ring at `path`, made if there is none.
fn find_or_make_ring(path: &Path, prefix: Option<Prefix>) -> Result<RootKeys, Failure> {
    let roots = random::generate_roots(prefix.unwrap_or_default())
        .map_err(|error| Failure::Other(format!("the system's random source failed: {error}")))?;
    if keyring_file::create(path, &roots)? {
        return Ok(roots);
    }
    // That of another init, interrupted or at work right now, or one that the operator brought: the database tells.
    let found = keyring_file::read(path)?;
    match prefix {
        Some(wanted) if wanted != *found.prefix() => Err(Failure::Other(format!(
            "the key ring {} is there already, with the prefix {}; give another --keyring, or leave --token-prefix out",
            path.display(),
            found.prefix()
        ))),
        _ => Ok(found),
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
