//! `tokend lease`: how long servers and clients may answer from memory, and how long revocations wait for them.

use std::{fmt::Write as _, process::ExitCode, sync::Arc, time::Duration};

use jiff::SignedDuration;
use tokend_core::{
    lease::Terms,
    rule::{self, Rule},
    time::{BootTime, Clock},
};
use tokend_server::{limits::Limits, operator::keyring_file, transport::TransportSettings};
use tokend_store::{LeaseChange, Store};

use super::{
    config::ConfigArgs,
    logging::{self, Format, Level},
    storage::{Storage, StorageArgs},
};
use crate::{command_error::CommandError, stdout, terminal::note};

/// Commands about leases.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show how long servers answer from memory without asking the database, and how long revocations take
    Show(Args),
    /// Change it, while servers run. A shorter lease makes revocations return sooner, and costs more polls of the database
    Set(SetArgs),
}

/// The database.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    storage: StorageArgs,
}

/// The new lease, and the database.
#[derive(Debug, clap::Args)]
pub(crate) struct SetArgs {
    /// How long a lease lasts, from 50ms to 30s, such as 300ms
    #[arg(value_name = "DURATION", value_parser = duration)]
    lease: Duration,
    #[command(flatten)]
    database: Args,
}

pub(crate) async fn run(command: Command, clock: Clock) -> Result<ExitCode, CommandError> {
    logging::start(Level::Error, Format::Pretty);
    match command {
        Command::Show(args) => {
            let (storage, _) = args.resolve()?;
            let roots = Arc::new(keyring_file::read(&storage.keyring)?);
            let store = Store::open_to_read(&storage.store, roots, clock).await?;
            let terms = store.lease_terms().await;
            store.close().await;
            stdout::print(&described(terms?))?;
        }
        Command::Set(SetArgs { lease, database }) => {
            let (storage, limits) = database.resolve()?;
            limits.check_wait(Terms::with_margin(lease))?;
            let roots = Arc::new(keyring_file::read(&storage.keyring)?);
            // A server with a SQLite database reads the lease once, at its start.
            let store = Store::open_alone(&storage.store, roots, clock.clone()).await?;
            let set = set(&store, lease, &clock).await;
            store.close().await;
            let shown = stdout::print(&described(set?));
            shown.map_err(|error| error.after_change("the lease is set"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Sets the lease. If that shortens it, waits until the former leases have ended before revocations wait less (L3).
async fn set(store: &Store, lease: Duration, clock: &Clock) -> Result<Terms, CommandError> {
    let LeaseChange {
        terms,
        former_leases_end_within,
    } = store.set_lease(lease).await?;
    let committed = clock.boot_time();
    if terms.wait <= terms.grant {
        return Ok(terms);
    }
    note(&format!(
        "Servers take over the lease now. Revocations go on taking {:?} until former leases have ended, in {:?}.",
        terms.full_wait(),
        former_leases_end_within
    ));
    if rule::is_kept(Rule::LowerWaitsOldWait) {
        until(clock, committed.saturating_add(former_leases_end_within)).await;
    }
    Ok(store.lower_wait(terms).await?)
}

async fn until(clock: &Clock, end: BootTime) {
    loop {
        let left = end.saturating_since(clock.boot_time());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left).await;
    }
}

fn described(terms: Terms) -> String {
    let mut text = format!(
        "lease               {:?}\nrevocations take    {:?}\n",
        terms.grant,
        terms.full_wait()
    );
    if terms.wait != terms.grant {
        let _ = writeln!(
            text,
            "The lease was lowered, and revocations still wait for the former one of {:?}. Run `tokend lease set` again to \
             finish that.",
            terms.wait
        );
    }
    text
}

/// Parses the duration of a lease, such as `300ms` or `1s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let span: SignedDuration = text
        .parse()
        .map_err(|_| "write a number with a unit, such as 300ms or 1s".to_owned())?;
    let lease = Duration::try_from(span).map_err(|_| "must not be negative".to_owned())?;
    Terms::check(lease).map_err(|error| error.to_string())?;
    Ok(lease)
}

impl Args {
    fn resolve(self) -> Result<(Storage, Limits), CommandError> {
        let Self { config, storage } = self;
        let mut file = config.read()?;
        let mut storage = storage.resolve_for_command(&mut file)?;
        let (mut transport, mut limits) = (TransportSettings::default(), Limits::default());
        let for_command = storage.store.clone();
        std::mem::take(&mut file.limits).apply(&mut transport, &mut limits, &mut storage.store);
        storage.store = for_command;
        Ok((storage, limits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_has_a_unit_and_a_range() {
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(duration("1s"), Ok(Duration::from_secs(1)));
        for text in ["", "300", "49ms", "31s", "-1s", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
