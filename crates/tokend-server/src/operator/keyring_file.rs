//! Reads, creates and replaces the key ring's file. It has mode 0600 and is only ever replaced as a whole.

use std::{
    io,
    path::{Path, PathBuf},
};

use tokend_core::keyring::{KeyRingFileError, RootKeys};

use crate::private_file::{self, Unreadable};

/// The maximum size of the file in bytes: 62 keys take less than 10 KiB.
const MAX_BYTES: u64 = 64 * 1024;

/// The key ring's file can't be used. Each is one sentence that says what to do; none quotes a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// The file does not exist.
    #[error(
        "there is no key ring at {path}; run `tokend init` first, or give the one of this installation with --keyring",
        path = .0.display()
    )]
    Missing(PathBuf),
    /// The file can't be read or created.
    #[error("can't use the key ring {path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Other users may read it.
    #[error(
        "the key ring {path} has mode {mode:04o}, so that others can use its keys; run `chmod 600` on it",
        path = .path.display()
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It can't be parsed.
    #[error("the key ring {path} can't be read: {source}", path = .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with the file.
        source: KeyRingFileError,
    },
}

/// Reads the key ring at `path`.
///
/// # Errors
/// [`KeyRingError`], also for a file that other users may read.
pub fn read(path: &Path) -> Result<RootKeys, KeyRingError> {
    let text = private_file::read(path, MAX_BYTES).map_err(|unreadable| match unreadable {
        Unreadable::Io(source) if source.kind() == io::ErrorKind::NotFound => KeyRingError::Missing(path.to_owned()),
        Unreadable::Io(source) => KeyRingError::Io {
            path: path.to_owned(),
            source,
        },
        Unreadable::Permissions(mode) => KeyRingError::Permissions {
            path: path.to_owned(),
            mode,
        },
    })?;
    RootKeys::from_toml(&text).map_err(|source| KeyRingError::Content {
        path: path.to_owned(),
        source,
    })
}

/// Creates a file with `roots` at `path`, and returns false if the path exists. If two processes do this at once,
/// exactly one gets true.
///
/// The file appears complete or not at all, even if the machine crashes.
///
/// # Errors
/// [`KeyRingError::Io`].
pub fn create(path: &Path, roots: &RootKeys) -> Result<bool, KeyRingError> {
    private_file::create(path, &roots.to_toml()).map_err(|source| KeyRingError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Replaces the file at `path`. Readers see the old or the new file, complete, even if the machine crashes. Its owner
/// and mode stay, so that its readers can still read it. A symbolic link stays a link to the new file.
///
/// # Errors
/// [`KeyRingError::Io`].
pub fn replace(path: &Path, roots: &RootKeys) -> Result<(), KeyRingError> {
    private_file::replace(path, &roots.to_toml()).map_err(|source| KeyRingError::Io {
        path: path.to_owned(),
        source,
    })
}
