//! `tokend export-revocations` and `tokend restore`: re-apply revocations to a database restored from a backup.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use tokend_core::time::Clock;
use tokend_server::{
    operator::keyring_file,
    operator::restore::{self, RestoreError, Restored},
};
use tokend_store::Store;

use super::{
    config::ConfigArgs,
    logging::{self, Format, Level},
    storage::{Storage, StorageArgs},
};
use crate::{command_error::CommandError, stdout, terminal::note};

/// Statements of these commands may scan whole tables.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(300);
/// Lines that are read with one statement.
const LINES_AT_ONCE: u64 = 1_000;

/// Arguments of `tokend export-revocations`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    storage: StorageArgs,
}

/// Arguments of `tokend restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    storage: StorageArgs,

    /// The file that `serve --revocations-file` wrote, or the output of `export-revocations`
    #[arg(long, value_name = "FILE")]
    revocations: Option<PathBuf>,

    /// Revoke every unexpired token in the backup, for when there is no such file
    #[arg(long, conflicts_with = "revocations")]
    revoke_all: bool,
}

/// Prints all revocations, one per line.
pub(crate) async fn export(ExportArgs { config, storage }: ExportArgs, clock: Clock) -> Result<ExitCode, CommandError> {
    logging::start(Level::Error, Format::Pretty);
    let store = open(config, storage, clock).await?;
    let exported = write_lines(&store).await;
    store.close().await;
    exported.map(|()| ExitCode::SUCCESS)
}

async fn write_lines(store: &Store) -> Result<(), CommandError> {
    let mut position = 0;
    loop {
        let endings = store.revocations_after(position, LINES_AT_ONCE).await?;
        let Some(last) = endings.last() else { return Ok(()) };
        position = last.place.position;
        let lines: String = endings.iter().flat_map(|ending| [ending.line.as_str(), "\n"]).collect();
        // An incomplete export must not be mistaken for a complete one.
        stdout::print_whole(&lines)?;
    }
}

/// Re-applies revocations to a restored database.
pub(crate) async fn restore(args: RestoreArgs, clock: Clock) -> Result<ExitCode, CommandError> {
    let RestoreArgs {
        config,
        storage,
        revocations,
        revoke_all,
    } = args;
    logging::start(Level::Error, Format::Pretty);
    let Storage {
        keyring,
        store: settings,
        ..
    } = with_long_timeout(storage.resolve_for_command(&mut config.read()?)?);
    let roots = Arc::new(keyring_file::read(&keyring)?);
    // Before anything opens the database, which merges the log into it.
    let log = tokend_store::leftover_log(&settings)?;
    if tokend_store::is_in_use(&settings).await? {
        return Err(CommandError::Other(
            "other processes use the database; stop every server first, and a connection pooler that keeps their \
             connections open, then run `tokend restore` again"
                .to_owned(),
        ));
    }
    if let Some(log) = log {
        note(&format!(
            "{} exists, and SQLite treats it as part of the database. If it belongs to the database that the backup \
             replaced, the result is a mix of both: delete it and the -shm file, restore the backup again, and repeat \
             this command.",
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
    let Restored {
        workspaces,
        policies,
        tokens,
        callers,
        caller_keys,
        refused,
    } = restored?;
    note(&format!(
        "Re-applied the end of {workspaces} workspaces, {tokens} tokens, {callers} callers, {caller_keys} caller \
         keys, and \
         restored {policies} policies. A new epoch has begun."
    ));
    if refused > 0 {
        note(&format!(
            "{refused} rows were not written by tokend. They stay rejected; the log names them."
        ));
    }
    if revoke_all {
        note(
            "Callers are as they were in the backup. Check `tokend caller list`, and delete those that had been \
             deleted since.",
        );
        note(
            "Workspaces are, too. Check `tokend workspace list`, and suspend or delete those that had been suspended \
             or deleted since.",
        );
    }
    note("Next: start the servers.");
    Ok(ExitCode::SUCCESS)
}

async fn open(config: ConfigArgs, storage: StorageArgs, clock: Clock) -> Result<Store, CommandError> {
    let Storage { keyring, store, .. } = with_long_timeout(storage.resolve_for_command(&mut config.read()?)?);
    // Nothing is written, so a standby is enough.
    let store = Store::open_to_read(&store, Arc::new(keyring_file::read(&keyring)?), clock).await?;
    // The export of a half-restored database would be mistaken for a complete one.
    store.check_feed().await?;
    Ok(store)
}

fn with_long_timeout(mut storage: Storage) -> Storage {
    storage.store.statement_timeout = STATEMENT_TIMEOUT;
    storage
}
