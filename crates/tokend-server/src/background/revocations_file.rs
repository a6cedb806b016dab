//! Appends every revocation to a file outside the database, from which a restored backup learns what it must not
//! revive.
//!
//! The database stores each line in the transaction of the revocation, and the last line of the file says how far the
//! file has come. So neither a crash nor a file that was away for a while loses a line, and each of several servers may
//! have a file of its own.
//!
//! A database that lacks the last line has lost revocations: it was restored from a backup, or a standby was promoted
//! that had not received them. Nothing is appended then, because the file would have neither the lost lines nor those
//! that took their positions.

use std::{
    fs::{File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use tokend_core::revocation::RevocationLineError;
use tokend_store::{Store, StoreError, StoredRevocation};
use tokio_util::sync::CancellationToken;

use super::supervisor::{BackgroundJob, JobError, Phase};
use crate::private_file;

/// The time between two exports: the file may lack the revocations of so much time if server and database are lost
/// together.
const INTERVAL: Duration = Duration::from_millis(250);
/// The number of lines that are appended and synced at once.
const LINES_AT_ONCE: u64 = 500;
/// The maximum length of a line in bytes: that of a policy with a long list of scopes.
const MAX_LINE: u64 = 64 * 1024;

/// The revocations file can't be used. Each is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RevocationsFileError {
    /// The file can't be opened or written.
    #[error("can't keep the revocations file {path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process writes to it.
    #[error("another server writes to the revocations file {path}; give each a file of its own", path = .0.display())]
    InUse(PathBuf),
    /// Its last line was not written by tokend.
    #[error(
        "the last line of {path} can't be trusted: {problem}; move the file away, and the server starts a new one",
        path = .path.display()
    )]
    LastLine {
        /// The file.
        path: PathBuf,
        /// What is wrong with the line.
        problem: RevocationLineError,
    },
    /// The database does not have the file's last line: it is older than the file, or another one.
    #[error(
        "the database does not have the last line of {path}: it was restored from a backup, and \
         tokens that were revoked since would work again; run `tokend restore --revocations {path}` on it, or on the \
         backup in its place if it has changed since. If a failover has lost changes, see docs/failover.md. Move the \
         file away only if you know that it is not needed",
        path = .0.display()
    )]
    DatabaseIsOlder(PathBuf),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Appends revocations to the file, which it holds locked.
pub(crate) struct RevocationsFileJob {
    store: Store,
    file: File,
    path: PathBuf,
    /// The last line of the file, which has every revocation up to it.
    last: Option<StoredRevocation>,
    /// Why the last attempt failed. Each reason is logged once in a row.
    problem: Option<String>,
}

impl RevocationsFileJob {
    /// Opens the file, or creates it with mode 0600, and finds its position. Removes a line that a crash cut short.
    pub(crate) async fn open(path: &Path, store: &Store) -> Result<Self, RevocationsFileError> {
        let io = |source| RevocationsFileError::Io {
            path: path.to_owned(),
            source,
        };
        let mut file = private_file::open_to_append(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RevocationsFileError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let last = match last_line(&mut file).map_err(io)? {
            None => None,
            Some(line) => {
                let read = store.keys().read_revocation(&line);
                let (place, _) = read.map_err(|problem| RevocationsFileError::LastLine {
                    path: path.to_owned(),
                    problem,
                })?;
                match store.revocation_at(place.position).await? {
                    Some(ours) if ours.place == place && ours.line == line => Some(ours),
                    _ => return Err(RevocationsFileError::DatabaseIsOlder(path.to_owned())),
                }
            }
        };
        Ok(Self {
            // Requests don't hold it up.
            store: store.reserved(),
            file,
            path: path.to_owned(),
            last,
            problem: None,
        })
    }

    /// Appends the revocations that the file lacks. The first failure of an outage is logged, and the next call tries
    /// again.
    async fn export(&mut self) {
        let problem = self.catch_up().await.err().map(|error| error.to_string());
        if let Some(error) = problem.as_ref().filter(|_| problem != self.problem) {
            tracing::error!(%error, "revocations are not exported");
        }
        self.problem = problem;
    }

    async fn catch_up(&mut self) -> Result<(), RevocationsFileError> {
        loop {
            // The last line is read again, because the database may have lost it.
            let position = self.last.as_ref().map_or(0, |last| last.place.position);
            let stored = self
                .store
                .revocations_after(position.saturating_sub(1), LINES_AT_ONCE)
                .await?;
            let new = match &self.last {
                None => &stored[..],
                Some(last) => match stored.split_first() {
                    Some((first, rest)) if first == last => rest,
                    _ => return Err(RevocationsFileError::DatabaseIsOlder(self.path.clone())),
                },
            };
            let Some(last) = new.last().cloned() else {
                return Ok(());
            };
            self.append(new).map_err(|source| RevocationsFileError::Io {
                path: self.path.clone(),
                source,
            })?;
            self.last = Some(last);
        }
    }

    /// Appends these lines. A crash may cut one short, which the next start removes.
    fn append(&mut self, endings: &[StoredRevocation]) -> io::Result<()> {
        let end = self.file.seek(SeekFrom::End(0))?;
        let lines: String = endings
            .iter()
            .flat_map(|StoredRevocation { line, .. }| [line.as_str(), "\n"])
            .collect();
        let written = self
            .file
            .write_all(lines.as_bytes())
            .and_then(|()| self.file.sync_data());
        if written.is_err() {
            // Otherwise the next attempt would append to half a line.
            self.file.set_len(end)?;
        }
        written
    }
}

impl BackgroundJob for RevocationsFileJob {
    fn name(&self) -> &'static str {
        "revocations_file"
    }

    fn phase(&self) -> Phase {
        Phase::AfterDraining
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), JobError> {
        while !stop.is_cancelled() {
            self.export().await;
            stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await;
        }
        Ok(())
    }

    async fn finish(&mut self) {
        self.export().await;
    }
}

/// Returns the last complete line, and removes what follows it. Returns an empty line, and removes nothing, if there is
/// no line end where one must be.
fn last_line(file: &mut File) -> io::Result<Option<String>> {
    let len = file.metadata()?.len();
    let from = len.saturating_sub(2 * MAX_LINE);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else {
        file.set_len(if from == 0 { 0 } else { len })?;
        return Ok((from > 0).then(String::new));
    };
    file.set_len(from + end as u64 + 1)?;
    let start = tail[..end]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |before| before + 1);
    Ok(Some(String::from_utf8_lossy(&tail[start..end]).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};

    use super::*;

    #[test]
    fn a_line_that_was_cut_short_is_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        for (text, last, left) in [
            ("", None, ""),
            ("{\"torn", None, ""),
            ("one\n", Some("one"), "one\n"),
            ("one\ntwo\n", Some("two"), "one\ntwo\n"),
            ("one\ntwo\nthr", Some("two"), "one\ntwo\n"),
        ] {
            fs::write(&path, text).expect("it can be written");
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .open(&path)
                .expect("it is there");
            assert_eq!(
                last_line(&mut file).expect("it can be read").as_deref(),
                last,
                "{text:?}"
            );
            assert_eq!(fs::read_to_string(&path).expect("it can be read"), left, "{text:?}");
        }
        // Data without line ends was not written by tokend, and stays.
        let garbage = "x".repeat(3 * MAX_LINE as usize);
        fs::write(&path, &garbage).expect("it can be written");
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(&path)
            .expect("it is there");
        assert_eq!(last_line(&mut file).expect("it can be read").as_deref(), Some(""));
        assert_eq!(fs::read_to_string(&path).expect("it can be read"), garbage);
    }
}
