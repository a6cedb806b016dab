//! `tokend keyring`: manages the keys that create tokens and sign rows.

use std::{process::ExitCode, sync::Arc, time::Duration};

use serde::Serialize;
use tokend_core::{
    credential::Kid,
    time::{Clock, Timestamp},
    token::Expiry,
};
use tokend_server::{
    operator::keyring_file,
    operator::keyring_life::{self, Added, InFile, KeyLifeError, KeyStatus, LEARNING_TIME, Retired},
};
use tokend_store::Store;

use super::{
    config::ConfigArgs,
    logging::{self, Format, Level},
    storage::{Storage, StorageArgs},
};
use crate::{
    client::output::{self, Output},
    command_error::CommandError,
    stdout,
    terminal::{Field, View, note},
};

/// Statements of these commands scan whole tables.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(300);

/// Commands about the key ring.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Add a key that only verifies, and print its id on stdout. Next, copy the file to every server, then activate the
    /// key
    Add(Args),
    /// Make a key the active one, which creates tokens, on all servers at once
    Activate(ActivateArgs),
    /// Permanently retire an unused key and re-sign its rows
    Retire(RetireArgs),
    /// List the keys with their states, and the tokens and caller keys that still need them
    Status(StatusArgs),
}

/// The database and the key ring file.
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
    /// Skip the three-minute safety wait
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

/// A key in the output of `status`, as JSON or a table row.
#[derive(Debug, Serialize)]
struct KeyView {
    kid: String,
    /// VERIFIES, ACTIVE or RETIRED. Absent for a key that only the file has.
    state: Option<&'static str>,
    create_time: Option<String>,
    activate_time: Option<String>,
    retire_time: Option<String>,
    /// `OK`, or what is wrong with the file.
    file: &'static str,
    live_tokens: u64,
    live_caller_keys: u64,
    /// When the last of them expires: a time, or `never`.
    needed_until: Option<String>,
}

pub(crate) async fn run(command: Command, clock: Clock) -> Result<ExitCode, CommandError> {
    logging::start(Level::Error, Format::Pretty);
    match command {
        Command::Add(args) => add(args, clock).await?,
        Command::Activate(args) => activate(args, clock).await?,
        Command::Retire(args) => retire(args, clock).await?,
        Command::Status(args) => status(args, clock).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(args: Args, clock: Clock) -> Result<(), CommandError> {
    let Storage { keyring, store, .. } = args.resolve()?;
    // The file is checked under the lock: another command may be writing it right now.
    let store = Store::inspect(&store, Arc::new(keyring_file::read(&keyring)?), clock).await?;
    let added = keyring_life::add(&store, &keyring).await;
    store.close().await;
    let Added { kid, was_in_file } = added?;
    if was_in_file {
        note(&format!(
            "Key {kid} was already in the file, from an interrupted `tokend keyring add`. It is now in the database, \
             too."
        ));
    }
    stdout::print(&format!("{kid}\n")).map_err(|error| error.after_change(&format!("key {kid} is added")))?;
    note(&format!("Copy {} to every server, and back it up.", keyring.display()));
    note(&format!(
        "Next, after at least {} s: run `tokend keyring activate {kid}` with the same options.",
        LEARNING_TIME.as_secs()
    ));
    Ok(())
}

async fn activate(ActivateArgs { kid, force, args }: ActivateArgs, clock: Clock) -> Result<(), CommandError> {
    let Storage { keyring, store, .. } = args.resolve()?;
    // The file is checked under the lock: another command may be writing it right now.
    let store = Store::inspect(&store, Arc::new(keyring_file::read(&keyring)?), clock).await?;
    let activated = keyring_life::activate(&store, &keyring, kid, force).await;
    store.close().await;
    activated?;
    note(&format!(
        "Key {kid} is active. Servers without it are not ready until they have it."
    ));
    Ok(())
}

async fn retire(RetireArgs { kid, args }: RetireArgs, clock: Clock) -> Result<(), CommandError> {
    let Storage { keyring, store, .. } = args.resolve()?;
    let store = Store::open(&store, Arc::new(keyring_file::read(&keyring)?), clock).await?;
    let retired = keyring_life::retire(&store, &keyring, kid).await;
    store.close().await;
    let Retired { renewed, refused } = retired?;
    note(&format!(
        "Key {kid} is retired. {renewed} rows were re-signed with the active key."
    ));
    if refused > 0 {
        note(&format!(
            "{refused} rows were not written by tokend. They stay rejected; the log names them."
        ));
    }
    note(&format!(
        "Keep it in {}: older audit records need it.",
        keyring.display()
    ));
    Ok(())
}

async fn status(StatusArgs { output, args }: StatusArgs, clock: Clock) -> Result<(), CommandError> {
    let Storage { keyring, store, .. } = args.resolve()?;
    let store = Store::inspect(&store, Arc::new(keyring_file::read(&keyring)?), clock).await?;
    let keys = keyring_life::status(&store, &keyring).await;
    store.close().await;
    let keys: Vec<_> = keys?.iter().map(KeyView::of).collect();
    let view = View::list(&keys, COLUMNS, "There are no keys.");
    output.print_value(&view, &keys)
}

impl Args {
    fn resolve(self) -> Result<Storage, CommandError> {
        let Self { config, storage } = self;
        let mut storage = storage.resolve_for_command(&mut config.read()?)?;
        storage.store.statement_timeout = STATEMENT_TIMEOUT;
        Ok(storage)
    }
}

impl KeyView {
    fn of(key: &KeyStatus) -> Self {
        let KeyStatus {
            kid,
            stored,
            file,
            live,
        } = key;
        let stored = stored.as_ref();
        Self {
            kid: kid.to_string(),
            state: stored.map(|stored| stored.key.state.as_str()),
            create_time: stored.map(|stored| formatted(stored.create_time)),
            activate_time: stored.and_then(|stored| stored.activate_time).map(formatted),
            retire_time: stored.and_then(|stored| stored.retire_time).map(formatted),
            file: match file {
                InFile::Right => "OK",
                InFile::Unregistered => "NOT IN DATABASE (run add)",
                InFile::Another => "ANOTHER KEY",
                InFile::Missing => "MISSING",
                InFile::NotMarked => "NOT MARKED RETIRED (run retire)",
            },
            live_tokens: live.tokens,
            live_caller_keys: live.caller_keys,
            needed_until: live.until.map(expiry),
        }
    }
}

const COLUMNS: &[Field<KeyView>] = &[
    ("KEY", |key| key.kid.clone()),
    ("STATE", |key| key.state.unwrap_or_default().to_owned()),
    ("CREATED", |key| key.create_time.clone().unwrap_or_default()),
    ("ACTIVATED", |key| key.activate_time.clone().unwrap_or_default()),
    ("RETIRED", |key| key.retire_time.clone().unwrap_or_default()),
    ("FILE", |key| key.file.to_owned()),
    ("LIVE TOKENS", |key| key.live_tokens.to_string()),
    ("LIVE CALLER KEYS", |key| key.live_caller_keys.to_string()),
    ("NEEDED UNTIL", |key| key.needed_until.clone().unwrap_or_default()),
];

impl From<KeyLifeError> for CommandError {
    fn from(error: KeyLifeError) -> Self {
        match &error {
            KeyLifeError::StillNeeded { live, .. } => {
                let until = match live.until {
                    None => String::new(),
                    Some(Expiry::Never) => ", some of which never expire; revoke these first".to_owned(),
                    Some(end @ Expiry::At(_)) => format!(
                        ", the last of which are needed until {}; wait, or revoke them first",
                        expiry(end)
                    ),
                };
                Self::Other(format!("{error}{until}"))
            }
            _ => Self::Other(error.to_string()),
        }
    }
}

fn expiry(end: Expiry) -> String {
    end.time().map_or_else(|| "never".to_owned(), formatted)
}

fn formatted(time: Timestamp) -> String {
    let (seconds, _) = time.unix_seconds();
    output::time(Some(&prost_types::Timestamp { seconds, nanos: 0 }), "")
}
