//! Records checkpoints of the audit log in the database, in the log, and in a file if one is named.
//!
//! A checkpoint that has left the database shows when records were cut off the end of a chain. Each server reports
//! every record that is new to it, whichever server appended it, so that any server's log is enough to show that.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use tokend_core::audit::{Checkpoint, Head};
use tokend_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use super::supervisor::{BackgroundJob, JobError, Phase};
use crate::private_file;

/// The time between checkpoints: an attacker who can write to the database can cut off the records of so much time
/// without leaving a trace.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);
/// The time for the last checkpoints, at shutdown.
const LAST_CHECKPOINTS_TIMEOUT: Duration = Duration::from_secs(2);

/// How the audit log is kept.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// A file to which checkpoints are appended, one per line. The server creates it with mode 0600. Default: none.
    pub checkpoint_file: Option<PathBuf>,
    /// How long records are kept (above 0). Default: 400 days.
    pub retention: Duration,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            checkpoint_file: None,
            retention: Duration::from_secs(400 * 24 * 60 * 60),
        }
    }
}

/// The checkpoint file can't be appended to.
#[derive(Debug, thiserror::Error)]
#[error("can't append to the checkpoint file {}: {source}; check that this user may write to it", .path.display())]
pub struct CheckpointFileError {
    path: PathBuf,
    source: io::Error,
}

impl AuditSettings {
    /// Opens the file to which checkpoints are appended, if there is one.
    ///
    /// # Errors
    /// [`CheckpointFileError`], one sentence for the operator.
    pub(crate) fn open_checkpoint_file(&self) -> Result<Option<File>, CheckpointFileError> {
        let open = |path: &PathBuf| {
            private_file::open_to_append(path).map_err(|source| CheckpointFileError {
                path: path.clone(),
                source,
            })
        };
        self.checkpoint_file.as_ref().map(open).transpose()
    }
}

/// Records checkpoints every minute, and the last ones when everything else has stopped.
pub(crate) struct CheckpointJob {
    store: Store,
    file: Option<File>,
    /// The sequence number of each chain's last checkpoint, whichever server made it.
    last_sequences: HashMap<String, u64>,
}

impl CheckpointJob {
    pub(crate) fn new(store: Store, file: Option<File>) -> Self {
        Self {
            store,
            file,
            last_sequences: HashMap::new(),
        }
    }

    async fn record(&mut self) {
        if let Err(error) = self.try_to_record().await {
            tracing::warn!(%error, "checkpoints of the audit log could not be recorded");
        }
    }

    async fn try_to_record(&mut self) -> Result<(), StoreError> {
        let (now, ring) = (self.store.now().await?, self.store.keys());
        let mut after = None;
        loop {
            let (heads, next) = self.store.audit_heads(after).await?;
            // A head that fails verification was logged, and gets no checkpoint that would confirm it.
            let grown = heads.into_iter().flatten().filter(|head| self.has_grown(head));
            let checkpoints: Vec<_> = grown.map(|head| Checkpoint::of(&head, now, &ring)).collect();
            if !checkpoints.is_empty() {
                self.store.store_checkpoints(checkpoints.clone()).await?;
                self.publish(&checkpoints).await;
                self.last_sequences.extend(
                    checkpoints
                        .into_iter()
                        .map(|checkpoint| (checkpoint.chain.as_str().to_owned(), checkpoint.sequence)),
                );
            }
            match next {
                None => return Ok(()),
                next => after = next,
            }
        }
    }

    /// Returns whether a chain has records after its last checkpoint. It can only have fewer if its end was cut off.
    fn has_grown(&self, head: &Head) -> bool {
        let (chain, last) = (head.chain.as_str(), head.sequence);
        let checkpoint = self.last_sequences.get(chain).copied().unwrap_or(0);
        if last < checkpoint {
            tracing::error!(
                chain,
                last,
                checkpoint,
                "the end of a chain of the audit log was cut off: run `tokend audit verify`"
            );
        }
        last > checkpoint
    }

    /// Writes checkpoints to the log and to the file.
    async fn publish(&self, checkpoints: &[Checkpoint]) {
        for checkpoint in checkpoints {
            tracing::info!(%checkpoint, "audit");
        }
        let Some(Ok(mut file)) = self.file.as_ref().map(File::try_clone) else {
            return;
        };
        let lines: String = checkpoints.iter().map(|checkpoint| format!("{checkpoint}\n")).collect();
        let written =
            tokio::task::spawn_blocking(move || file.write_all(lines.as_bytes()).and_then(|()| file.sync_data())).await;
        if let Ok(Err(error)) = written {
            tracing::error!(%error, "checkpoints of the audit log could not be appended to their file");
        }
    }
}

impl BackgroundJob for CheckpointJob {
    fn name(&self) -> &'static str {
        "audit_checkpoints"
    }

    fn phase(&self) -> Phase {
        Phase::Last
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), JobError> {
        if self.last_sequences.is_empty() {
            match self.store.last_checkpoints().await {
                Ok(sequences) => self.last_sequences = sequences,
                Err(error) => {
                    tracing::warn!(%error, "checkpoints of the audit log can't be read; every chain gets a new one");
                }
            }
        }
        while stop
            .run_until_cancelled(tokio::time::sleep(CHECKPOINT_INTERVAL))
            .await
            .is_some()
        {
            self.record().await;
        }
        Ok(())
    }

    async fn finish(&mut self) {
        if tokio::time::timeout(LAST_CHECKPOINTS_TIMEOUT, self.record())
            .await
            .is_err()
        {
            tracing::warn!("the last checkpoints of the audit log could not be recorded in time");
        }
    }
}
