use std::process::ExitCode;

use tokend_store::{migrate, schema_status};

use super::{
    config::ConfigArgs,
    logging::{self, Format, Level},
    storage::StorageArgs,
};
use crate::failure::Failure;

/// What `migrate` can do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Bring the schema up to date; safe while others do the same
    Up(Args),
    /// Tell the schema's version and whether migrations are due
    Status(Args),
}

/// Which database.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    storage: StorageArgs,
}

pub(crate) async fn run(command: Command) -> Result<ExitCode, Failure> {
    logging::start(Level::Error, Format::Pretty);
    let status = match command {
        Command::Up(args) => migrate(&args.settings()?).await?,
        Command::Status(args) => schema_status(&args.settings()?).await?,
    };
    if status.version == 0 {
        return Err(Failure::Other("the database is empty; run `tokend init` first".to_owned()));
    }
    let state = if status.is_behind() { "behind; run `tokend migrate up`" } else { "up to date" };
    println!("schema version {} of {}: {state}", status.version, status.needed);
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn settings(self) -> Result<tokend_store::Settings, Failure> {
        let Self { config, storage } = self;
        Ok(storage.resolve_for_command(&mut config.read()?).store)
    }
}
