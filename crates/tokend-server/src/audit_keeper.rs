//! Keeps the audit log while the server runs: makes checkpoints, has them leave the database, and cuts what is older than it has to
//! be kept.
//!
//! A checkpoint leaves by the log, and by a file if one is named. Each server tells of every record that was new to it, whichever
//! server appended it, so that any server's log shows when the end of a chain was cut off.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use tokend_core::audit::{Checkpoint, Head};
use tokend_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::private_file;

/// Time between checkpoints: what an attacker who can write to the database could cut off without a checkpoint that tells.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);
/// Time between looks for what is too old.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// How long the last checkpoints, at shutdown, may take.
const LAST_CHECKPOINTS: Duration = Duration::from_secs(2);

/// How the audit log is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A file that checkpoints are appended to, a line each, made with mode 0600. Default: none.
    pub checkpoint_file: Option<PathBuf>,
    /// How long records are kept (above 0). Default: 400 days.
    pub retention: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { checkpoint_file: None, retention: Duration::from_secs(400 * 24 * 60 * 60) }
    }
}

/// Makes checkpoints, and cuts.
pub(crate) struct Keeper {
    store: Store,
    file: Option<File>,
    retention: Duration,
    /// The last record of each chain that a checkpoint of this server, or an older one in the database, tells of.
    told: HashMap<String, u64>,
}

/// Opens the file that checkpoints are appended to.
///
/// # Errors
/// The system's.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    private_file::open_to_append(path)
}

impl Keeper {
    pub(crate) fn new(store: Store, file: Option<File>, retention: Duration) -> Self {
        Self { store, file, retention, told: HashMap::new() }
    }

    /// Works until `stop`.
    pub(crate) async fn keep(mut self, stop: CancellationToken) -> Self {
        match self.store.last_checkpoints().await {
            Ok(told) => self.told = told,
            Err(error) => tracing::warn!(%error, "the checkpoints of the audit log can't be read: all are made anew"),
        }
        let cuts = self.cutting();
        let cutting = tokio::spawn(stop.clone().run_until_cancelled_owned(cuts));
        while stop.run_until_cancelled(tokio::time::sleep(CHECKPOINT_INTERVAL)).await.is_some() {
            self.tell().await;
        }
        // Ends by the same signal.
        let _ = cutting.await;
        self
    }

    /// The last checkpoints, when nothing is appended any more.
    pub(crate) async fn end(mut self) {
        if tokio::time::timeout(LAST_CHECKPOINTS, self.tell()).await.is_err() {
            tracing::warn!("the last checkpoints of the audit log were not made in time");
        }
    }

    async fn tell(&mut self) {
        if let Err(error) = self.try_to_tell().await {
            tracing::warn!(%error, "the audit log got no checkpoints");
        }
    }

    async fn try_to_tell(&mut self) -> Result<(), StoreError> {
        let (now, ring) = (self.store.now().await?, self.store.keys());
        let mut after = None;
        loop {
            let (heads, next) = self.store.audit_heads(after).await?;
            // One that was tampered with was logged: no checkpoint says that it is right.
            let grown = heads.into_iter().flatten().filter(|head| self.has_grown(head));
            let checkpoints: Vec<_> = grown.map(|head| Checkpoint::of(&head, now, &ring)).collect();
            if !checkpoints.is_empty() {
                self.store.keep_checkpoints(checkpoints.clone()).await?;
                self.leave(&checkpoints).await;
                self.told.extend(checkpoints.into_iter().map(|made| (made.chain.as_str().to_owned(), made.sequence)));
            }
            match next {
                None => return Ok(()),
                next => after = next,
            }
        }
    }

    /// Whether there is more to tell of a chain than was told. Less there can't be, unless its end was cut off.
    fn has_grown(&self, head: &Head) -> bool {
        let (chain, last) = (head.chain.as_str(), head.sequence);
        let told = self.told.get(chain).copied().unwrap_or(0);
        if last < told {
            tracing::error!(chain, last, told, "the end of a chain of the audit log was cut off: run `tokend audit verify`");
        }
        last > told
    }

    /// Has checkpoints leave the database.
    async fn leave(&self, checkpoints: &[Checkpoint]) {
        for checkpoint in checkpoints {
            tracing::info!(%checkpoint, "audit");
        }
        let Some(Ok(mut file)) = self.file.as_ref().map(File::try_clone) else { return };
        let lines: String = checkpoints.iter().map(|checkpoint| format!("{checkpoint}\n")).collect();
        let written = tokio::task::spawn_blocking(move || file.write_all(lines.as_bytes()).and_then(|()| file.sync_data())).await;
        if let Ok(Err(error)) = written {
            tracing::error!(%error, "checkpoints of the audit log could not be appended to their file");
        }
    }

    fn cutting(&self) -> impl Future<Output = ()> + Send + 'static {
        let (store, retention) = (self.store.clone(), self.retention);
        async move {
            loop {
                match cut(&store, retention).await {
                    Ok(0) => {}
                    Ok(chains) => tracing::info!(chains, "records of the audit log that were old enough were deleted"),
                    Err(error) => tracing::error!(%error, "the audit log could not be cut"),
                }
                tokio::time::sleep(RETENTION_INTERVAL).await;
            }
        }
    }
}

async fn cut(store: &Store, retention: Duration) -> Result<u64, StoreError> {
    let micros = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
    let keep_since = store.now().await?.saturating_add_micros(-micros);
    store.cut_audit(keep_since).await
}
