//! The key ring's file: made with mode 0600, replaced whole, never readable by others.

use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use tokend_core::keyring::{KeyRingFileError, RootKeys};

use crate::private_file::{self, FORBIDDEN_BITS, Unreadable};

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
    let io = |source| KeyRingError::Io { path: path.to_owned(), source };
    let draft = draft_of(path);
    let written = write_whole(&draft, &roots.to_toml(), None).and_then(|()| {
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
    if is_new {
        sync_directory(path).map_err(io)?;
    }
    Ok(is_new)
}

/// Puts `roots` in place of the ring at `path`: whoever reads it finds the one or the other whole, even if the machine fails
/// meanwhile. Owner and mode stay, so that whoever could read it still can. A link stays a link to the new file.
///
/// # Errors
/// [`KeyRingError::Io`].
pub fn replace(path: &Path, roots: &RootKeys) -> Result<(), KeyRingError> {
    let io = |source| KeyRingError::Io { path: path.to_owned(), source };
    let path = fs::canonicalize(path).map_err(io)?;
    let draft = draft_of(&path);
    let replaced = fs::metadata(&path)
        .and_then(|metadata| write_whole(&draft, &roots.to_toml(), Some(&metadata)))
        .and_then(|()| fs::rename(&draft, &path))
        .and_then(|()| sync_directory(&path));
    if replaced.is_err() {
        // Nothing is left lying about; there may be nothing.
        let _ = fs::remove_file(&draft);
    }
    replaced.map_err(io)
}

/// Beside the file, so that it can take its place.
fn draft_of(path: &Path) -> PathBuf {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.new", std::process::id()));
    PathBuf::from(draft)
}

/// Writes a file that belongs to its maker alone, or to whom another file belongs.
fn write_whole(path: &Path, text: &str, like: Option<&Metadata>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    if let Some(like) = like {
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
            fchown(&file, Some(like.uid()), Some(like.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(like.mode() & 0o777 & !FORBIDDEN_BITS))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}
