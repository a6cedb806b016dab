//! What ended for good, appended to a file outside the database as it happens: a restored backup learns from it what it must not
//! revive.
//!
//! The database keeps every line in the transaction that ended something, the file says itself how far it has come: its last line.
//! So nothing is lost by a crash in between, nor by a file that was away for a while, and several servers may keep a file each.

use std::{
    fs::{File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use tokend_core::ending::NotAnEnding;
use tokend_store::{Store, StoreError, StoredEnding};
use tokio_util::sync::CancellationToken;

use crate::private_file;

/// Time between looks at what ended: so much of the newest may be missing in the file when server and database are lost together.
const INTERVAL: Duration = Duration::from_millis(250);
/// Lines that are appended, and synced, at once.
const LINES_AT_ONCE: u64 = 500;
/// Most bytes of a line: that of a policy with a long list of scopes.
const MAX_LINE: u64 = 64 * 1024;

/// Why the file can't be kept. Each is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RevocationsFileError {
    /// The file can't be opened or written.
    #[error("can't keep the revocations file {path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process writes to it.
    #[error("another server writes to the revocations file {path}; give each a file of its own", path = .0.display())]
    InUse(PathBuf),
    /// Its last line is none of ours.
    #[error("the last line of {path} can't be relied on: {problem}; move the file away, and a new one is begun", path = .path.display())]
    LastLine {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: NotAnEnding,
    },
    /// The database does not have the file's last line: it knows less than the file, or other things.
    #[error(
        "the database does not have the last line of {path}: it was restored from a backup, and what was revoked since would work again; run `tokend restore --revocations {path}` on it, or on the backup in its place if it has changed since. Move the file away only if you know that it is not needed",
        path = .0.display()
    )]
    DatabaseIsOlder(PathBuf),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The file, locked, and how far it has come.
#[derive(Debug)]
pub(crate) struct RevocationsFile {
    file: File,
    path: PathBuf,
    /// What ended up to this position is in the file.
    position: u64,
}

impl RevocationsFile {
    /// Opens the file, or makes it with mode 0600, and finds out where to go on. A line that a crash cut short is taken away.
    pub(crate) async fn open(path: &Path, store: &Store) -> Result<Self, RevocationsFileError> {
        let io = |source| RevocationsFileError::Io { path: path.to_owned(), source };
        let mut file = private_file::open_to_append(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RevocationsFileError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let position = match last_line(&mut file).map_err(io)? {
            None => 0,
            Some(line) => {
                let read = store.keys().read_ending(&line);
                let (place, _) = read.map_err(|problem| RevocationsFileError::LastLine { path: path.to_owned(), problem })?;
                match store.ending_at(place.position).await? {
                    Some(ours) if ours.place == place && ours.line == line => place.position,
                    _ => return Err(RevocationsFileError::DatabaseIsOlder(path.to_owned())),
                }
            }
        };
        Ok(Self { file, path: path.to_owned(), position })
    }

    /// Appends what ends until `stop`, and then what is left.
    pub(crate) async fn follow(mut self, store: Store, stop: CancellationToken) {
        // Not in line with requests.
        let store = store.reserved();
        let mut is_failing = false;
        loop {
            let is_last = stop.is_cancelled();
            match self.catch_up(&store).await {
                Ok(()) => is_failing = false,
                // Told once; it is tried again.
                Err(_) if is_failing => {}
                Err(error) => {
                    tracing::error!(%error, "what ended is not exported");
                    is_failing = true;
                }
            }
            if is_last {
                return;
            }
            stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await;
        }
    }

    /// Appends what the file lacks.
    pub(crate) async fn catch_up(&mut self, store: &Store) -> Result<(), RevocationsFileError> {
        loop {
            let endings = store.endings_after(self.position, LINES_AT_ONCE).await?;
            let Some(last) = endings.last().map(|ending| ending.place.position) else { return Ok(()) };
            self.append(&endings).map_err(|source| RevocationsFileError::Io { path: self.path.clone(), source })?;
            self.position = last;
        }
    }

    /// All of these lines or, after the next start, none of the one that was cut short.
    fn append(&mut self, endings: &[StoredEnding]) -> io::Result<()> {
        let end = self.file.seek(SeekFrom::End(0))?;
        let lines: String = endings.iter().flat_map(|StoredEnding { line, .. }| [line.as_str(), "\n"]).collect();
        let written = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // Else the next attempt would write behind half a line.
            self.file.set_len(end)?;
        }
        written
    }
}

/// The last whole line; what stands behind it is cut off.
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
    let start = tail[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
    Ok(Some(String::from_utf8_lossy(&tail[start..end]).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};

    use super::*;

    #[test]
    fn a_line_that_was_cut_short_is_taken_away() {
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
            let mut file = OpenOptions::new().read(true).append(true).open(&path).expect("it is there");
            assert_eq!(last_line(&mut file).expect("it can be read").as_deref(), last, "{text:?}");
            assert_eq!(fs::read_to_string(&path).expect("it can be read"), left, "{text:?}");
        }
        // Garbage without an end is none of ours, and is left for people to look at.
        let garbage = "x".repeat(3 * MAX_LINE as usize);
        fs::write(&path, &garbage).expect("it can be written");
        let mut file = OpenOptions::new().read(true).append(true).open(&path).expect("it is there");
        assert_eq!(last_line(&mut file).expect("it can be read").as_deref(), Some(""));
        assert_eq!(fs::read_to_string(&path).expect("it can be read"), garbage);
    }
}
