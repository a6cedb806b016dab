use std::process::ExitCode;

use tokend_store::{migrate, schema_status};

use super::{
    config::ConfigArgs,
    logging::{self, Format, Level},
    storage::StorageArgs,
};
use crate::{failure::Failure, stdout};

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
    let (status, done) = match command {
        Command::Up(args) => (migrate(&args.settings()?).await?, Some("the schema is up to date")),
        Command::Status(args) => (schema_status(&args.settings()?).await?, None),
    };
    if status.version == 0 {
        return Err(Failure::Other("the database is empty; run `tokend init` first".to_owned()));
    }
    let state = if status.is_behind() { "behind; run `tokend migrate up`" } else { "up to date" };
    let shown = stdout::print(&format!("schema version {} of {}: {state}\n", status.version, status.needed));
    shown.map_err(|failure| match done {
        Some(done) => failure.after(done),
        None => failure,
    })?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn settings(self) -> Result<tokend_store::Settings, Failure> {
        let Self { config, storage } = self;
        Ok(storage.resolve_for_command(&mut config.read()?)?.store)
    }
}
