//! Fills the database of an installation with many tokens, so that servers can be measured with them.
//!
//! The tokens are distributed over the workspaces by Zipf's law, as they are where a few teams automate everything and
//! most teams little. They are inserted by the store's own code, each with its event in the audit log, so that `tokend
//! serve` serves them and `tokend audit verify` finds nothing to complain about. What tokend would have done over the
//! years is missing otherwise: the notices of expiry count as given, but neither these notices nor the revocations are
//! in the audit log or in the feed.

#![expect(clippy::print_stdout, reason = "the results go to stdout")]

mod fill;
mod life;
mod mix;
mod plan;
mod progress;
pub mod sample;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

pub use self::{
    fill::{Loaded, Pace, fill, stored},
    plan::{Load, Plan, Planned},
    sample::SampleFile,
};
use tokend_core::time::Clock;
use tokend_server::operator::keyring_file::{self, KeyRingError};
use tokend_store::{Store, StoreSettings};

use crate::BoxError;

/// Fill the database of an installation that `tokend init` made with many tokens. Repeat it after an interruption, with
/// the same values: it goes on. No server may run meanwhile
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    load: Load,

    /// The directory of the key ring and of the SQLite database
    #[arg(long, value_name = "DIR", default_value = "tokend-data")]
    data_dir: PathBuf,

    /// The database [default: tokend.db in the data directory]
    #[arg(long, value_name = "URL", env = "TOKEND_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,

    /// Write the secrets of some tokens to this file, with mode 0600
    #[arg(long, value_name = "FILE")]
    sample_file: Option<PathBuf>,

    /// Tokens in the sample, spread evenly over all
    #[arg(long, value_name = "N", default_value_t = 1_000, requires = "sample_file")]
    sample: u64,

    /// Tokens in one transaction [default: 500 on SQLite, 100 on PostgreSQL]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    batch: Option<u64>,

    /// Transactions that run at the same time [default: 1 on SQLite, 6 on PostgreSQL]
    #[arg(long, value_name = "N", value_parser = writers)]
    writers: Option<usize>,
}

/// A store has as many connections that write and leave others for reads; see [`StoreSettings::max_connections`].
const MAX_WRITERS: usize = 7;

/// Runs the command.
///
/// # Errors
/// The database can't be used, or has tokens of a load with other values.
pub async fn run(args: &Args) -> Result<(), BoxError> {
    let store = open(&args.data_dir, args.database_url.as_deref()).await?;
    let done = load(args, &store).await;
    store.close().await;
    done
}

async fn load(args: &Args, store: &Store) -> Result<(), BoxError> {
    let sample = match &args.sample_file {
        Some(path) => Some(SampleFile::open(path, store).await?),
        None => None,
    };
    let wanted = sample.as_ref().map_or(0, |_| args.sample);
    let plan = Plan::new(args.load, wanted)?;
    let (workspaces, largest) = (
        plan.workspaces().len(),
        plan.workspaces().iter().map(|workspace| workspace.tokens).max(),
    );
    let pace = Pace::of(store);
    let pace = Pace {
        batch: args.batch.unwrap_or(pace.batch),
        writers: args.writers.unwrap_or(pace.writers),
        ..pace
    };
    let (loaded, sample) = fill(store, plan, pace, sample).await?;
    let Loaded { tokens, inserted, took } = loaded;
    println!(
        "{tokens} tokens in {workspaces} workspaces, at most {} in one; stored {inserted} in {:.1} s, {:.0} tokens/s",
        largest.unwrap_or(0),
        took.as_secs_f64(),
        loaded.rate()
    );
    if let Some((sample, path)) = sample.zip(args.sample_file.as_deref()) {
        println!("{} tokens are in {}", sample.len(), path.display());
    }
    Ok(())
}

impl Pace {
    /// Returns the defaults for a database, which were the fastest of those that were tried (`docs/scale.md`). SQLite has
    /// one writer at a time.
    #[must_use]
    pub fn of(store: &Store) -> Self {
        let (batch, writers) = if store.is_sqlite() { (500, 1) } else { (100, 6) };
        Self {
            batch,
            writers,
            is_shown: true,
        }
    }
}

impl Loaded {
    /// Returns the tokens per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        progress::rate(self.inserted, self.took)
    }
}

/// Opens the database of an installation, for this process alone where the database can tell.
///
/// # Errors
/// There is no key ring in the directory, or the database can't be used.
pub async fn open(data_dir: &Path, url: Option<&str>) -> Result<Store, BoxError> {
    let file = data_dir.join("tokend.db");
    let url = url.map_or_else(|| format!("sqlite://{}", file.display()), ToOwned::to_owned);
    let roots = keyring_file::read(&data_dir.join("keyring")).map_err(|error| match error {
        KeyRingError::Missing(path) => format!(
            "there is no key ring at {}: create an installation with `tokend init --data-dir {}`, or give the \
             --data-dir of another one",
            path.display(),
            data_dir.display()
        )
        .into(),
        error => BoxError::from(error),
    })?;
    let settings = StoreSettings::new(url).for_command();
    Ok(Store::open_alone(&settings, Arc::new(roots), Clock::system()).await?)
}

fn writers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(writers) if (1..=MAX_WRITERS).contains(&writers) => Ok(writers),
        _ => Err(format!("it must be a number from 1 to {MAX_WRITERS}")),
    }
}
