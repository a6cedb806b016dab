//! Creates, replaces and reads files that hold secrets, or that no other user may write to. No other module does.
//!
//! A new file is written under a random name with mode 0600 and then renamed: no other user can prepare the file, or
//! have it written through a symbolic link. A file that is read or appended to must be a regular file.

use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::Path,
};

use rustix::fs::OFlags;
use tempfile::{Builder, NamedTempFile};
use tokend_core::text::encoding;
use zeroize::Zeroizing;

/// Permission bits that a secret file must not have. The group may read: a mounted secret belongs to root and a group.
pub(crate) const FORBIDDEN_BITS: u32 = 0o137;
/// Permission bits that let other users write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// The mode of a new file.
const MODE: u32 = 0o600;

/// The file can't be read.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// The system's error.
    Io(io::Error),
    /// Other users can read it. Holds its mode.
    Permissions(u32),
}

/// Reads the file's text, at most `max_bytes` of it, in any encoding that [`text_file`] knows.
pub(crate) fn read(path: &Path, max_bytes: u64) -> Result<Zeroizing<String>, Unreadable> {
    let (file, metadata) = open(path).map_err(Unreadable::Io)?;
    let mode = metadata.mode() & 0o777;
    if mode & FORBIDDEN_BITS != 0 {
        return Err(Unreadable::Permissions(mode));
    }
    // A buffer that grows leaves copies of the secret in memory, so it gets its size up front.
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        usize::try_from(metadata.len().min(max_bytes)).unwrap_or(0) + 1,
    ));
    file.take(max_bytes).read_to_end(&mut bytes).map_err(Unreadable::Io)?;
    encoding::decode(&bytes).map_err(|error| Unreadable::Io(io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// Opens a regular file to read it. The open does not block: that of a FIFO would wait for a writer.
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let file = OpenOptions::new().read(true).custom_flags(nonblocking()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(not_regular());
    }
    Ok((file, metadata))
}

/// Opens a file to append lines and to read them back, or creates it. It must be a regular file that no other user can
/// write to, and the path must not be a symbolic link.
pub(crate) fn open_to_append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(MODE);
    match options.clone().create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => return created,
    }
    if fs::symlink_metadata(path)?.is_symlink() {
        return Err(io::Error::other(
            "it is a symbolic link; give the path that it leads to",
        ));
    }
    // A link that was created since the check is not followed.
    let file = options
        .custom_flags(nonblocking() | flags(OFlags::NOFOLLOW))
        .open(path)?;
    let metadata = file.metadata()?;
    let mode = metadata.mode() & 0o777;
    if !metadata.is_file() {
        return Err(not_regular());
    }
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(io::Error::other(format!(
            "it has mode {mode:04o}, so that others can write to it; run `chmod go-w` on it"
        )));
    }
    Ok(file)
}

/// Creates a file, and returns false if the path exists. If two processes do this at once, exactly one gets true. The
/// file appears complete or not at all, even if the machine crashes.
pub(crate) fn create(path: &Path, text: &str) -> io::Result<bool> {
    // Unlike a rename, this never replaces a file that was created since.
    match draft(path, text, None)?.persist_noclobber(path) {
        Ok(_) => sync_directory(path).map(|()| true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}

/// Creates or replaces the file at `path`. Readers see the old or the new file, complete, even if the machine crashes.
///
/// # Errors
/// The system's, and one for a path that is not a regular file. Replacing `/dev/stdout`, for instance, would remove it
/// for every program.
pub fn put(path: &Path, text: &str) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => return Err(not_regular()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    put_draft(draft(path, text, None)?, path)
}

/// Replaces a file that exists. Its owner and mode stay, so that its readers can still read it. A symbolic link stays a
/// link to the new file.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let metadata = fs::metadata(&path)?;
    put_draft(draft(&path, text, Some(&metadata))?, &path)
}

fn put_draft(draft: NamedTempFile, path: &Path) -> io::Result<()> {
    draft.persist(path).map_err(|error| error.error)?;
    sync_directory(path)
}

/// Writes a temporary file beside `path`, with the owner and the mode of `like` if given. It is removed when dropped.
fn draft(path: &Path, text: &str, like: Option<&Metadata>) -> io::Result<NamedTempFile> {
    let name = path.file_name().unwrap_or_default();
    let mut draft = Builder::new();
    draft
        .prefix(name)
        .suffix(".new")
        .permissions(Permissions::from_mode(MODE));
    let mut draft = draft.tempfile_in(directory(path))?;
    let file = draft.as_file_mut();
    if let Some(like) = like {
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
            fchown(&*file, Some(like.uid()), Some(like.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(like.mode() & 0o777 & !FORBIDDEN_BITS))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(draft)
}

fn directory(path: &Path) -> &Path {
    path.parent()
        .filter(|directory| !directory.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

fn not_regular() -> io::Error {
    io::Error::other("it is not a regular file")
}

fn nonblocking() -> i32 {
    flags(OFlags::NONBLOCK)
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, sync::Barrier, thread};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").mode() & 0o777
    }

    fn names(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).expect("it is there");
        names
            .map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// Threads share their process id, as processes in two containers may.
    #[test]
    fn of_two_that_create_a_file_at_once_the_one_that_did_finds_its_own_text() {
        for _ in 0..200 {
            let directory = tempfile::tempdir().expect("a directory");
            let (path, start) = (directory.path().join("file"), Barrier::new(2));
            let create = |text: &'static str| {
                start.wait();
                create(&path, text).expect("it can be written").then_some(text)
            };
            let (one, other) = thread::scope(|scope| {
                let one = scope.spawn(|| create("one"));
                let other = create("other");
                (one.join().expect("no panic"), other)
            });
            assert!(one.is_some() != other.is_some(), "one wins: {one:?} {other:?}");
            assert_eq!(fs::read_to_string(&path).ok().as_deref(), one.or(other));
            assert_eq!(names(directory.path()), ["file"], "nothing is left beside it");
        }
    }

    #[test]
    fn what_lies_in_the_way_is_neither_written_through_nor_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, victim) = (directory.path().join("file"), directory.path().join("victim"));
        fs::write(&victim, "mine").expect("it can be written");
        symlink(&victim, &path).expect("a link");
        assert!(
            !create(&path, "secret").expect("it is found"),
            "a link is something that is there"
        );
        assert!(put(&path, "secret").is_err());
        assert!(open_to_append(&path).is_err());
        fs::remove_file(&path).expect("it is there");
        symlink(directory.path().join("nowhere"), &path).expect("a link");
        assert!(!create(&path, "secret").expect("it is found"));
        assert!(put(&path, "secret").is_err());
        assert!(open_to_append(&path).is_err());
        fs::remove_file(&path).expect("it is there");

        // The name that drafts had before, made by somebody who would like to read them.
        let old_draft = directory.path().join("file.new");
        fs::write(&old_draft, "").expect("it can be written");
        fs::set_permissions(&old_draft, Permissions::from_mode(0o666)).expect("its mode is set");
        fs::write(&path, "old").expect("it can be written");
        fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("its mode is set");
        put(&path, "secret").expect("it is written");
        assert_eq!(
            (fs::read_to_string(&path).expect("it can be read").as_str(), mode(&path)),
            ("secret", 0o600)
        );
        assert_eq!(fs::read_to_string(&old_draft).expect("it can be read"), "");
        assert_eq!(fs::read_to_string(&victim).expect("it can be read"), "mine");
    }

    #[test]
    fn a_file_that_others_can_write_to_is_not_appended_to() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let mut file = open_to_append(&path).expect("it is created");
        file.write_all(b"one\n").expect("it is written");
        assert_eq!(mode(&path), 0o600);
        open_to_append(&path)
            .expect("it is there")
            .write_all(b"two\n")
            .expect("it is written");
        assert_eq!(fs::read_to_string(&path).expect("it can be read"), "one\ntwo\n");
        fs::set_permissions(&path, Permissions::from_mode(0o662)).expect("its mode is set");
        assert!(open_to_append(&path).is_err());
    }

    #[test]
    fn only_a_regular_file_is_read() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(matches!(read(directory.path(), 10), Err(Unreadable::Io(_))));
        let fifo = directory.path().join("fifo");
        let made = std::process::Command::new("mkfifo")
            .args(["-m", "600"])
            .arg(&fifo)
            .status()
            .expect("mkfifo is there");
        assert!(made.success());
        assert!(
            matches!(read(&fifo, 10), Err(Unreadable::Io(_))),
            "at once, although nobody writes to it"
        );
        assert!(open_to_append(&fifo).is_err() && put(&fifo, "").is_err());
    }
}
