//! `tokend init`: creates an installation, or recovers access to one.

use std::{fs, io, os::unix::fs::DirBuilderExt, path::Path, process::ExitCode, sync::Arc, time::Duration};

use tokend_core::{
    credential::{Prefix, Secret},
    keyring::RootKeys,
    lease::Terms,
    name::CallerKeyName,
    time::Clock,
};
use tokend_server::{
    limits::Limits,
    operator::installation::{FIRST_KEY_TTL, Installed, install},
    operator::keyring_file,
    operator::recovery::{Recovered, recover},
    random,
    transport::TransportSettings,
};

use super::{
    config::ConfigArgs,
    lease::duration,
    logging::{self, Format, Level},
    storage::{Storage, StorageArgs},
};
use crate::{command_error::CommandError, stdout, terminal::note};

/// Arguments of `tokend init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    storage: StorageArgs,

    /// The permanent prefix of all tokens: 3 to 12 lower-case letters or digits [default: tkd]
    #[arg(long, value_name = "PREFIX", env = "TOKEND_TOKEN_PREFIX")]
    token_prefix: Option<Prefix>,

    /// How long servers may answer from memory, from 50ms to 30s. Revocations return after this time and a fifth more
    /// [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    lease: Option<Duration>,

    /// Create a new key for an ADMIN of an existing installation, for when all ADMIN keys are lost
    #[arg(long, conflicts_with_all = ["token_prefix", "lease"])]
    recover: bool,
}

pub(crate) async fn run(args: Args, clock: Clock) -> Result<ExitCode, CommandError> {
    let Args {
        config,
        storage,
        token_prefix,
        lease,
        recover,
    } = args;
    let terms = lease.map_or(Ok(Terms::default()), Terms::new)?;
    let mut file = config.read()?;
    let Storage {
        data_dir,
        keyring,
        store,
    } = storage.resolve_for_command(&mut file)?;
    let mut limits = Limits::default();
    std::mem::take(&mut file.limits).apply(&mut TransportSettings::default(), &mut limits, &mut store.clone());
    limits.check_wait(terms.full_wait())?;
    logging::start(Level::Error, Format::Pretty);
    stdout::check_for_secret()?;
    if recover {
        return recover_key(&store, &keyring, clock).await;
    }
    create_directory(&data_dir)
        .map_err(|error| CommandError::Other(format!("can't create {}: {error}", data_dir.display())))?;

    // A created key ring is kept even if a later step fails: another init may have found it and be using it right now.
    // The next init uses it.
    let roots = find_or_create_ring(&keyring, token_prefix)?;
    let Installed { key_name, key } = install(&store, Arc::new(roots), terms, clock).await?;
    let shown = print_key(&key_name, &key, "The installation is complete");
    note(&format!(
        "Back up {} separately from the database: without it, all tokens are lost.",
        keyring.display()
    ));
    shown?;
    note("Next: run `tokend serve` with the same options.");
    Ok(ExitCode::SUCCESS)
}

/// Creates a new key for an ADMIN.
async fn recover_key(
    store: &tokend_store::StoreSettings,
    keyring: &Path,
    clock: Clock,
) -> Result<ExitCode, CommandError> {
    let roots = keyring_file::read(keyring)?;
    let Recovered { key_name, key } = recover(store, Arc::new(roots), clock).await?;
    print_key(&key_name, &key, &format!("{key_name} is created"))?;
    let caller = &key_name.caller;
    note(&format!(
        "Existing keys still work. Revoke the lost ones: `tokend caller key list {caller}`, then `tokend caller key \
         revoke`."
    ));
    Ok(ExitCode::SUCCESS)
}

/// Prints an ADMIN's key alone on stdout. If that fails, the error says what has been created: `done`.
fn print_key(name: &CallerKeyName, key: &Secret, done: &str) -> Result<(), CommandError> {
    stdout::print_secret(key).map_err(|error| {
        CommandError::Other(format!(
            "{done}, but the key could not be written to stdout ({error}) and is lost: create another one with \
             `tokend init --recover` and the same options, then revoke the lost one with `tokend caller key revoke \
             {name}`"
        ))
    })?;
    note(&format!(
        "The key of {}, an ADMIN caller, is on stdout. It works for {} days and is not shown again.",
        name.caller,
        FIRST_KEY_TTL.as_secs() / 86_400
    ));
    Ok(())
}

/// Reads the key ring at `path`, or creates it.
fn find_or_create_ring(path: &Path, prefix: Option<Prefix>) -> Result<RootKeys, CommandError> {
    let roots = random::generate_roots(prefix.unwrap_or_default())
        .map_err(|error| CommandError::Other(format!("the system's random source failed: {error}")))?;
    if keyring_file::create(path, &roots)? {
        return Ok(roots);
    }
    // The ring is from another init, interrupted or still running, or from the operator. `install` checks it.
    let found = keyring_file::read(path)?;
    match prefix {
        Some(wanted) if wanted != *found.prefix() => Err(CommandError::Other(format!(
            "the key ring {} already exists, with the prefix {}; choose another --keyring, or omit --token-prefix",
            path.display(),
            found.prefix()
        ))),
        _ => Ok(found),
    }
}

fn create_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
