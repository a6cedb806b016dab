//! `tokend migrate`: updates the database schema.

use std::process::ExitCode;

use tokend_store::{migrate, schema_status};

use super::{
    config::ConfigArgs,
    logging::{self, Format, Level},
    storage::StorageArgs,
};
use crate::{command_error::CommandError, stdout};

/// Commands about the schema.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Update the schema to the current version. It is safe to run this on several machines at once
    Up(Args),
    /// Show the version of the schema, and whether it needs an update
    Status(Args),
}

/// The database.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    storage: StorageArgs,
}

pub(crate) async fn run(command: Command) -> Result<ExitCode, CommandError> {
    logging::start(Level::Error, Format::Pretty);
    let (status, done) = match command {
        Command::Up(args) => (migrate(&args.settings()?).await?, Some("the schema is up to date")),
        Command::Status(args) => (schema_status(&args.settings()?).await?, None),
    };
    if status.version == 0 {
        return Err(CommandError::Other(
            "the database is empty; run `tokend init` first".to_owned(),
        ));
    }
    let state = if status.is_behind() {
        "behind; run `tokend migrate up`"
    } else {
        "up to date"
    };
    let shown = stdout::print(&format!(
        "schema version {} of {}: {state}\n",
        status.version, status.needed
    ));
    shown.map_err(|error| match done {
        Some(done) => error.after_change(done),
        None => error,
    })?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn settings(self) -> Result<tokend_store::StoreSettings, CommandError> {
        let Self { config, storage } = self;
        Ok(storage.resolve_for_command(&mut config.read()?)?.store)
    }
}
