//! `tokend export-revocations` and `tokend restore`: how a restored backup learns what ended since.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use tokend_core::clock::Clock;
use tokend_server::{
    keyring_file,
    restore::{self, RestoreError, Restored},
};
use tokend_store::Store;

use super::{
    config::ConfigArgs,
    logging::{self, Format, Level},
    storage::{Storage, StorageArgs},
};
use crate::{failure::Failure, stdout, terminal::note};

/// Statements here may look at whole tables.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(300);
/// Lines that are read at once.
const LINES_AT_ONCE: u64 = 1_000;

/// What `export-revocations` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    storage: StorageArgs,
}

/// What `restore` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    storage: StorageArgs,

    /// The file that `serve --revocations-file` kept, or the output of `export-revocations`
    #[arg(long, value_name = "FILE")]
    revocations: Option<PathBuf>,

    /// Revoke every token that is alive in the backup: for when there is no export
    #[arg(long, conflicts_with = "revocations")]
    revoke_all: bool,
}

/// Writes everything that ever ended to stdout, a line each.
pub(crate) async fn export(ExportArgs { config, storage }: ExportArgs, clock: Clock) -> Result<ExitCode, Failure> {
    logging::start(Level::Error, Format::Pretty);
    let store = open(config, storage, clock).await?;
    let exported = write_lines(&store).await;
    store.close().await;
    exported.map(|()| ExitCode::SUCCESS)
}

async fn write_lines(store: &Store) -> Result<(), Failure> {
    let mut position = 0;
    loop {
        let endings = store.endings_after(position, LINES_AT_ONCE).await?;
        let Some(last) = endings.last() else { return Ok(()) };
        position = last.place.position;
        let lines: String = endings.iter().flat_map(|ending| [ending.line.as_str(), "\n"]).collect();
        // A part of it must not be taken for all of it.
        stdout::print_whole(&lines)?;
    }
}

/// Ends again, in a restored database, what ended since the backup.
pub(crate) async fn restore(args: RestoreArgs, clock: Clock) -> Result<ExitCode, Failure> {
    let RestoreArgs { config, storage, revocations, revoke_all } = args;
    logging::start(Level::Error, Format::Pretty);
    let Storage { keyring, store: settings, .. } = patient(storage.resolve_for_command(&mut config.read()?)?);
    let roots = Arc::new(keyring_file::read(&keyring)?);
    // Before anything opens the database, which takes the log in.
    let log = tokend_store::leftover_log(&settings)?;
    if tokend_store::is_in_use(&settings).await? {
        return Err(Failure::Other("other processes use the database; stop every server first, and try again".to_owned()));
    }
    if let Some(log) = log {
        note(&format!(
            "{} was there, and SQLite takes it for a part of the database. If it was left over by the database that the backup replaced, \
             the result is neither of the two: delete it and the -shm file, put the backup in place again, and repeat this.",
            log.display()
        ));
    }
    let store = Store::open_to_restore(&settings, roots, clock).await?;
    let restored = match (&revocations, revoke_all) {
        (Some(path), _) => restore::from_export(&store, path).await,
        (None, true) => restore::revoking_all(&store).await,
        (None, false) => match store.live_token_count().await {
            Ok(live) => Err(RestoreError::NobodyKnows { live }),
            Err(error) => Err(error.into()),
        },
    };
    store.close().await;
    let Restored { workspaces, policies, tokens, callers, caller_keys, refused } = restored?;
    note(&format!(
        "Ended again: {workspaces} workspaces, {tokens} tokens, {callers} callers, {caller_keys} caller keys; {policies} policies set again. A new epoch has begun."
    ));
    if refused > 0 {
        note(&format!("{refused} rows were not what tokend wrote; they stay refused, and the log names them."));
    }
    if revoke_all {
        note("Callers are as they were in the backup: look at `tokend caller list`, and delete those that had been deleted since.");
        note("So are workspaces: look at `tokend workspace list`, and suspend or delete those that had been.");
    }
    note("Next: start the servers.");
    Ok(ExitCode::SUCCESS)
}

async fn open(config: ConfigArgs, storage: StorageArgs, clock: Clock) -> Result<Store, Failure> {
    let Storage { keyring, store, .. } = patient(storage.resolve_for_command(&mut config.read()?)?);
    // Nothing is changed, so that a standby will do.
    let store = Store::open_to_read(&store, Arc::new(keyring_file::read(&keyring)?), clock).await?;
    // What a database exports that was restored half-way would pass for everything that was ever revoked.
    store.check_feed().await?;
    Ok(store)
}

fn patient(mut storage: Storage) -> Storage {
    storage.store.statement_timeout = STATEMENT_TIMEOUT;
    storage
}
