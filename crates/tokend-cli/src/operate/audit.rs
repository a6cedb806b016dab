//! `tokend audit verify`: whether the audit log is whole, and what is stored is what it tells.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use tokend_core::{
    audit::{Checkpoint, MalformedCheckpoint},
    clock::Clock,
};
use tokend_server::keyring_file;
use tokend_store::{AuditReport, Store};

use super::{config::ConfigArgs, storage::StorageArgs};
use crate::{failure::Failure, stdout, terminal::printable};

/// Statements here look at whole tables.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(300);

/// What `audit verify` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    storage: StorageArgs,

    /// A file with checkpoints that were kept outside of the database (`serve --audit-checkpoint-file`, or lines of the log): shows
    /// that the end of a chain was cut off, or an older database put back. Can be given several times
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
}

pub(crate) async fn run(args: Args, clock: Clock) -> Result<ExitCode, Failure> {
    let Args { config, storage, checkpoint } = args;
    let mut storage = storage.resolve_for_command(&mut config.read()?)?;
    storage.store.statement_timeout = STATEMENT_TIMEOUT;
    let roots = Arc::new(keyring_file::read(&storage.keyring)?);
    let kept = checkpoint.iter().map(|path| read_checkpoints(path)).collect::<Result<Vec<_>, _>>()?.concat();
    let store = Store::open_to_read(&storage.store, roots, clock).await?;
    let report = store.verify_audit(kept).await;
    store.close().await;
    let AuditReport { chains, records, checkpoints, rows, findings, more } = report?;

    let mut told = format!("{chains} chains, {records} records, {checkpoints} checkpoints and {rows} rows were compared\n");
    for finding in &findings {
        told += &format!("{}\n", printable(&finding.to_string()));
    }
    if more > 0 {
        told += &format!("... and {more} more\n");
    }
    let problems = findings.len() as u64 + more;
    if problems == 0 {
        told += "everything is as it was recorded\n";
    }
    // Whoever reads the first lines only still learns from the exit code that something is wrong.
    stdout::print(&told)?;
    match problems {
        0 => Ok(ExitCode::SUCCESS),
        problems => Err(Failure::Other(format!("{problems} things are not as they were recorded; see above"))),
    }
}

/// Characters of `mac=` and its 64 digits.
const MAC_LEN: usize = 68;

/// The checkpoints in a file, one in a line; a line of a log may have other words before it. Lines without one are passed over, but
/// a file without any is none.
fn read_checkpoints(path: &Path) -> Result<Vec<Checkpoint>, Failure> {
    let fault =
        |problem: &dyn std::fmt::Display| Failure::Other(format!("can't read checkpoints from {}: {problem}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| fault(&error))?;
    let mut checkpoints = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(start) = line.find(Checkpoint::LABEL) else { continue };
        // What a log puts behind it is not part of it.
        let end = line[start..].find("mac=").map_or(line.len(), |mac| start + mac + MAC_LEN).min(line.len());
        let parsed = line.get(start..end).unwrap_or_default().parse();
        checkpoints.push(parsed.map_err(|error: MalformedCheckpoint| fault(&format!("line {} is {error}", index + 1)))?);
    }
    if checkpoints.is_empty() { Err(fault(&"there are none in it")) } else { Ok(checkpoints) }
}
