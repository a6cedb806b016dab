//! `tokend audit verify`: checks that the audit log is complete, and that the stored rows match it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use tokend_core::{
    audit::{Checkpoint, MalformedCheckpoint},
    time::Clock,
};
use tokend_server::operator::keyring_file;
use tokend_store::{AuditReport, Store};

use super::{config::ConfigArgs, storage::StorageArgs};
use crate::{command_error::CommandError, stdout, terminal::printable};

/// Statements of this command scan whole tables.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(300);

/// Arguments of `tokend audit verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    storage: StorageArgs,

    /// A file with checkpoints that were kept outside the database: from `serve --audit-checkpoint-file`, or log lines.
    /// With it, a truncated log or an older copy of the database is detected. Repeatable
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
}

pub(crate) async fn run(args: Args, clock: Clock) -> Result<ExitCode, CommandError> {
    let Args {
        config,
        storage,
        checkpoint,
    } = args;
    let mut storage = storage.resolve_for_command(&mut config.read()?)?;
    storage.store.statement_timeout = STATEMENT_TIMEOUT;
    let roots = Arc::new(keyring_file::read(&storage.keyring)?);
    let kept = checkpoint
        .iter()
        .map(|path| read_checkpoints(path))
        .collect::<Result<Vec<_>, _>>()?
        .concat();
    let store = Store::open_to_read(&storage.store, roots, clock).await?;
    let report = store.verify_audit(kept).await;
    store.close().await;
    let AuditReport {
        chains,
        records,
        checkpoints,
        rows,
        findings,
        more,
    } = report?;

    let mut text =
        format!("{chains} chains, {records} records, {checkpoints} checkpoints and {rows} rows were compared\n");
    for finding in &findings {
        text += &format!("{}\n", printable(&finding.to_string()));
    }
    if more > 0 {
        text += &format!("... and {more} more\n");
    }
    let problems = findings.len() as u64 + more;
    if problems == 0 {
        text += "everything is as it was recorded\n";
    }
    // A reader that has gone is not an error here: the exit code still reports the findings.
    stdout::print(&text)?;
    match problems {
        0 => Ok(ExitCode::SUCCESS),
        problems => Err(CommandError::Other(format!(
            "{problems} differences from the audit log were found, listed above"
        ))),
    }
}

/// Characters of `mac=` and its 64 digits.
const MAC_LEN: usize = 68;

/// Reads the checkpoints in a file, at most one per line. Log lines may have other text around them, and lines without
/// a checkpoint are skipped. A file without any checkpoint is an error.
fn read_checkpoints(path: &Path) -> Result<Vec<Checkpoint>, CommandError> {
    let fault = |problem: &dyn std::fmt::Display| {
        CommandError::Other(format!("can't read checkpoints from {}: {problem}", path.display()))
    };
    let text = fs::read_to_string(path).map_err(|error| fault(&error))?;
    let mut checkpoints = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(start) = line.find(Checkpoint::LABEL) else {
            continue;
        };
        // A log may append other text.
        let end = line[start..]
            .find("mac=")
            .map_or(line.len(), |mac| start + mac + MAC_LEN)
            .min(line.len());
        let parsed = line.get(start..end).unwrap_or_default().parse();
        checkpoints
            .push(parsed.map_err(|error: MalformedCheckpoint| fault(&format!("line {} is {error}", index + 1)))?);
    }
    if checkpoints.is_empty() {
        Err(fault(&"it has none"))
    } else {
        Ok(checkpoints)
    }
}
