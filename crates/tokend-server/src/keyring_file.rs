//! The key ring's file: made with mode 0600, replaced whole, never readable by others.

use std::{
    io,
    path::{Path, PathBuf},
};

use tokend_core::keyring::{KeyRingFileError, RootKeys};

use crate::private_file::{self, Unreadable};

/// Most bytes of a key ring's file: 62 keys take less than 10 KiB.
const MAX_BYTES: u64 = 64 * 1024;

/// Why a key ring can't be used. Each is one sentence that says what to do; none quotes a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// There is no such file.
    #[error("there is no key ring at {path}; run `tokend init` first, or give the one of this installation with --keyring", path = .0.display())]
    Missing(PathBuf),
    /// The file can't be read or made.
    #[error("can't use the key ring {path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read it.
    #[error("the key ring {path} has mode {mode:04o}, so that others can use its keys; run `chmod 600` on it", path = .path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is something else.
    #[error("the key ring {path} can't be read: {source}", path = .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyRingFileError,
    },
}

/// Reads the key ring at `path`.
///
/// # Errors
/// [`KeyRingError`]; a ring that others may read is refused.
pub fn read(path: &Path) -> Result<RootKeys, KeyRingError> {
    let text = private_file::read(path, MAX_BYTES).map_err(|unreadable| match unreadable {
        Unreadable::Io(source) if source.kind() == io::ErrorKind::NotFound => KeyRingError::Missing(path.to_owned()),
        Unreadable::Io(source) => KeyRingError::Io { path: path.to_owned(), source },
        Unreadable::Permissions(mode) => KeyRingError::Permissions { path: path.to_owned(), mode },
    })?;
    RootKeys::from_toml(&text).map_err(|source| KeyRingError::Content { path: path.to_owned(), source })
}

/// Writes `roots` to a new file at `path` and returns whether there was none before: of two at once exactly one does.
///
/// The file appears whole or not at all, even if the machine fails meanwhile.
///
/// # Errors
/// [`KeyRingError::Io`].
pub fn create(path: &Path, roots: &RootKeys) -> Result<bool, KeyRingError> {
    private_file::create(path, &roots.to_toml()).map_err(|source| KeyRingError::Io { path: path.to_owned(), source })
}

/// Puts `roots` in place of the ring at `path`: whoever reads it finds the one or the other whole, even if the machine fails
/// meanwhile. Owner and mode stay, so that whoever could read it still can. A link stays a link to the new file.
///
/// # Errors
/// [`KeyRingError::Io`].
pub fn replace(path: &Path, roots: &RootKeys) -> Result<(), KeyRingError> {
    private_file::replace(path, &roots.to_toml()).map_err(|source| KeyRingError::Io { path: path.to_owned(), source })
}
