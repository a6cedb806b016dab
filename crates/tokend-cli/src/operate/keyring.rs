//! `tokend keyring`: the keys that mint tokens and seal rows.

use std::{process::ExitCode, sync::Arc, time::Duration};

use serde::Serialize;
use tokend_core::{clock::Clock, credential::Kid, time::Timestamp, token::Expiry};
use tokend_server::{
    keyring_file,
    keyring_life::{self, Added, InFile, KeyLifeError, KeyStatus, LEARNING_TIME, Retired},
};
use tokend_store::Store;

use super::{
    config::ConfigArgs,
    logging::{self, Format, Level},
    storage::{Storage, StorageArgs},
};
use crate::{
    client::output::{self, Output},
    failure::Failure,
    stdout,
    terminal::{View, note},
};

/// Statements here look at whole tables.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(300);

/// What can be done with keys.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Add a key that only verifies; its id is printed on stdout. Then give the file to every server, and activate the key
    Add(Args),
    /// Make a key the one that signs, on all servers at once
    Activate(ActivateArgs),
    /// End a key for good, once nothing alive was made with it. Seals anew what it sealed
    Retire(RetireArgs),
    /// List the keys: what each may do, and what still needs it
    Status(StatusArgs),
}

/// Which database and file.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    storage: StorageArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ActivateArgs {
    /// The key's id
    kid: Kid,
    /// Do it even if servers may not have had the time to learn the key
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    args: Args,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RetireArgs {
    /// The key's id
    kid: Kid,
    #[command(flatten)]
    args: Args,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    args: Args,
}

/// A key as JSON tells it.
#[derive(Debug, Serialize)]
struct KeyView {
    kid: String,
    /// VERIFIES, ACTIVE or RETIRED; absent if only the file has it.
    state: Option<&'static str>,
    create_time: Option<String>,
    activate_time: Option<String>,
    retire_time: Option<String>,
    /// OK, or what is wrong with the file.
    file: &'static str,
    live_tokens: u64,
    live_caller_keys: u64,
    /// When the last of them ends by itself: a time, or `never`.
    needed_until: Option<String>,
}

pub(crate) async fn run(command: Command, clock: Clock) -> Result<ExitCode, Failure> {
    logging::start(Level::Error, Format::Pretty);
    match command {
        Command::Add(args) => add(args, clock).await?,
        Command::Activate(args) => activate(args, clock).await?,
        Command::Retire(args) => retire(args, clock).await?,
        Command::Status(args) => status(args, clock).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(args: Args, clock: Clock) -> Result<(), Failure> {
    let Storage { keyring, store, .. } = args.resolve()?;
    // The file is judged under the lock: another command may be writing it right now.
    let store = Store::inspect(&store, Arc::new(keyring_file::read(&keyring)?), clock).await?;
    let added = keyring_life::add(&store, &keyring).await;
    store.close().await;
    let Added { kid, was_in_file } = added?;
    if was_in_file {
        note(&format!("Key {kid} was in the file already, from an add that was interrupted; the database knows it now."));
    }
    stdout::print(&format!("{kid}\n")).map_err(|failure| failure.after(&format!("key {kid} is added")))?;
    note(&format!("Give {} to every server that has a copy, and back it up.", keyring.display()));
    note(&format!(
        "Next, not before {} s from now: `tokend keyring activate {kid}` with the same options.",
        LEARNING_TIME.as_secs()
    ));
    Ok(())
}

async fn activate(ActivateArgs { kid, force, args }: ActivateArgs, clock: Clock) -> Result<(), Failure> {
    let Storage { keyring, store, .. } = args.resolve()?;
    // The file is judged under the lock: another command may be writing it right now.
    let store = Store::inspect(&store, Arc::new(keyring_file::read(&keyring)?), clock).await?;
    let activated = keyring_life::activate(&store, &keyring, kid, force).await;
    store.close().await;
    activated?;
    note(&format!("Key {kid} signs. Servers that have it go on; any other is not ready until it has."));
    Ok(())
}

async fn retire(RetireArgs { kid, args }: RetireArgs, clock: Clock) -> Result<(), Failure> {
    let Storage { keyring, store, .. } = args.resolve()?;
    let store = Store::open(&store, Arc::new(keyring_file::read(&keyring)?), clock).await?;
    let retired = keyring_life::retire(&store, &keyring, kid).await;
    store.close().await;
    let Retired { renewed, refused } = retired?;
    note(&format!("Key {kid} is retired. {renewed} rows that it had sealed are sealed with the active key."));
    if refused > 0 {
        note(&format!("{refused} rows were not what tokend wrote; they stay refused, and the log names them."));
    }
    note(&format!("Leave it in {}: records of its time are read with it.", keyring.display()));
    Ok(())
}

async fn status(StatusArgs { output, args }: StatusArgs, clock: Clock) -> Result<(), Failure> {
    let Storage { keyring, store, .. } = args.resolve()?;
    let store = Store::inspect(&store, Arc::new(keyring_file::read(&keyring)?), clock).await?;
    let keys = keyring_life::status(&store, &keyring).await;
    store.close().await;
    let keys: Vec<_> = keys?.iter().map(KeyView::of).collect();
    let view = View::List {
        header: &["KEY", "STATE", "CREATED", "ACTIVATED", "RETIRED", "FILE", "LIVE TOKENS", "LIVE CALLER KEYS", "NEEDED UNTIL"],
        rows: keys.iter().map(KeyView::row).collect(),
        none: "There is no key.",
    };
    output.print_value(&view, &keys)
}

impl Args {
    fn resolve(self) -> Result<Storage, Failure> {
        let Self { config, storage } = self;
        let mut storage = storage.resolve_for_command(&mut config.read()?)?;
        storage.store.statement_timeout = STATEMENT_TIMEOUT;
        Ok(storage)
    }
}

impl KeyView {
    fn of(key: &KeyStatus) -> Self {
        let KeyStatus { kid, stored, file, live } = key;
        let stored = stored.as_ref();
        Self {
            kid: kid.to_string(),
            state: stored.map(|stored| stored.key.state.as_str()),
            create_time: stored.map(|stored| shown(stored.create_time)),
            activate_time: stored.and_then(|stored| stored.activate_time).map(shown),
            retire_time: stored.and_then(|stored| stored.retire_time).map(shown),
            file: match file {
                InFile::Right => "OK",
                InFile::Unregistered => "NOT IN DATABASE (run add)",
                InFile::Another => "ANOTHER KEY",
                InFile::Missing => "MISSING",
                InFile::NotMarked => "NOT MARKED RETIRED (run retire)",
            },
            live_tokens: live.tokens,
            live_caller_keys: live.caller_keys,
            needed_until: live.until.map(end),
        }
    }

    fn row(&self) -> Vec<String> {
        let Self { kid, state, create_time, activate_time, retire_time, file, live_tokens, live_caller_keys, needed_until } = self;
        let text = |time: &Option<String>| time.clone().unwrap_or_default();
        vec![
            kid.clone(),
            state.unwrap_or_default().to_owned(),
            text(create_time),
            text(activate_time),
            text(retire_time),
            (*file).to_owned(),
            live_tokens.to_string(),
            live_caller_keys.to_string(),
            text(needed_until),
        ]
    }
}

impl From<KeyLifeError> for Failure {
    fn from(error: KeyLifeError) -> Self {
        match &error {
            KeyLifeError::StillNeeded { live, .. } => {
                let until = match live.until {
                    None => String::new(),
                    Some(Expiry::Never) => ", some of them without an end; revoke these first".to_owned(),
                    Some(end @ Expiry::At(_)) => format!(", the last of them until {}; wait, or revoke them first", self::end(end)),
                };
                Self::Other(format!("{error}{until}"))
            }
            _ => Self::Other(error.to_string()),
        }
    }
}

fn end(end: Expiry) -> String {
    end.time().map_or_else(|| "never".to_owned(), shown)
}

fn shown(time: Timestamp) -> String {
    let (seconds, _) = time.unix_seconds();
    output::time(Some(&prost_types::Timestamp { seconds, nanos: 0 }), "")
}
