//! The key ring's file: made once with mode 0600, never readable by others.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use tokend_core::keyring::{KeyRing, KeyRingFileError};
use zeroize::Zeroizing;

/// Most bytes of a key ring's file: 62 keys take less than 10 KiB.
const MAX_BYTES: u64 = 64 * 1024;
/// Permission bits that others than the owner must not have. The group may read: a mounted secret belongs to root and a group.
const FORBIDDEN_BITS: u32 = 0o137;

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
pub fn read(path: &Path) -> Result<KeyRing, KeyRingError> {
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => KeyRingError::Missing(path.to_owned()),
        _ => KeyRingError::Io { path: path.to_owned(), source },
    };
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    let mode = metadata.mode() & 0o777;
    if mode & FORBIDDEN_BITS != 0 {
        return Err(KeyRingError::Permissions { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(metadata.len().min(MAX_BYTES)).unwrap_or(0) + 1));
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(io)?;
    KeyRing::from_toml(&text).map_err(|source| KeyRingError::Content { path: path.to_owned(), source })
}

/// Writes `ring` to a new file at `path` and returns whether there was none before: of two at once exactly one does.
///
/// The file appears whole or not at all, even if the machine fails meanwhile.
///
/// # Errors
/// [`KeyRingError::Io`].
pub fn create(path: &Path, ring: &KeyRing) -> Result<bool, KeyRingError> {
    let io = |source| KeyRingError::Io { path: path.to_owned(), source };
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.new", std::process::id()));
    let draft = PathBuf::from(draft);
    let written = write_whole(&draft, &ring.to_toml()).and_then(|()| {
        // A link, unlike a renaming, never replaces a ring that came in between.
        match fs::hard_link(&draft, path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    });
    // Failing to remove a draft that was never made is no fault.
    let _ = fs::remove_file(&draft);
    let is_new = written.map_err(io)?;
    if let Some(directory) = path.parent().filter(|_| is_new) {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(io)?;
    }
    Ok(is_new)
}

fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
