//! Files that hold secrets: read whole, if nobody else can read them.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

use zeroize::Zeroizing;

/// Permission bits that others than the owner must not have. The group may read: a mounted secret belongs to root and a group.
pub(crate) const FORBIDDEN_BITS: u32 = 0o137;

/// Why such a file is not read.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// What the system said.
    Io(io::Error),
    /// Others can read it: its mode.
    Permissions(u32),
}

/// Reads the file's text, at most `max_bytes` of it.
pub(crate) fn read(path: &Path, max_bytes: u64) -> Result<Zeroizing<String>, Unreadable> {
    let file = File::open(path).map_err(Unreadable::Io)?;
    let metadata = file.metadata().map_err(Unreadable::Io)?;
    let mode = metadata.mode() & 0o777;
    if mode & FORBIDDEN_BITS != 0 {
        return Err(Unreadable::Permissions(mode));
    }
    // Sized up front: a buffer that grew would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(metadata.len().min(max_bytes)).unwrap_or(0) + 1));
    file.take(max_bytes).read_to_string(&mut text).map_err(Unreadable::Io)?;
    Ok(text)
}
