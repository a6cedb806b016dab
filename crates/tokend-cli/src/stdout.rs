//! The only way to stdout. Every command writes through this module, so that no command panics when a write fails, and none
//! reports success for a secret that nobody has.

use std::{
    fs::{self, File},
    io::{self, Write},
    ops::ControlFlow,
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::{FallocateFlags, OFlags},
};
use tokend_core::credential::Secret;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Bytes that a file must have room for before a secret is created: a credential and the end of its line take fewer.
const ROOM: u64 = 128;

/// Writes an answer. A reader that has gone (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_part(text).map(drop)
}

/// Writes a part of an answer. Breaks when the reader has gone: nobody would read the next part.
pub(crate) fn print_part(text: &str) -> Result<ControlFlow<()>, Failure> {
    match write(text) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(cannot_write(&error)),
    }
}

/// Writes a part of something that is of no use in parts: a reader that has gone is an error, too.
pub(crate) fn print_whole(text: &str) -> Result<(), Failure> {
    write(text).map_err(|error| cannot_write(&error))
}

/// Writes a secret on a line of its own. Any failure means that nobody has the secret.
pub(crate) fn print_secret(secret: &Secret) -> io::Result<()> {
    // Sized up front: a string that grew would leave copies of the secret behind.
    let mut line = Zeroizing::new(String::with_capacity(secret.expose().len() + 1));
    line.push_str(secret.expose());
    line.push('\n');
    write(&line)
}

/// Checks, before a secret is created, that stdout will take it, as far as the system can say that in advance.
///
/// # Errors
/// Stdout is closed, its reader has gone, or its disk is full.
pub(crate) fn check_for_secret() -> Result<(), Failure> {
    stdout().and_then(|stdout| check(&stdout)).map_err(|error| {
        Failure::Other(format!(
            "stdout can't take the secret ({error}), so nothing was created or changed; send stdout to a file or to a program that reads it"
        ))
    })
}

fn write(text: &str) -> io::Result<()> {
    stdout()?.write_all(text.as_bytes())
}

/// Stdout as a file. The standard library's handle would report success for a descriptor that can't be written to.
#[expect(clippy::disallowed_methods, reason = "this module is the way to stdout")]
fn stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

fn check(stdout: &File) -> io::Result<()> {
    let metadata = stdout.metadata()?;
    let access = rustix::fs::fcntl_getfl(stdout)? & OFlags::RWMODE;
    if access == OFlags::RDONLY {
        return Err(io::Error::other("it is open for reading only"));
    }
    // The runtime opens /dev/null, for reading and writing, in place of a descriptor that is closed. `> /dev/null` opens it for
    // writing only, and is somebody's choice.
    let is_null = || fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == metadata.rdev());
    if metadata.file_type().is_char_device() && access == OFlags::RDWR && is_null() {
        return Err(io::Error::other("it is closed"));
    }
    if metadata.is_file() {
        return check_room(stdout, metadata.len());
    }
    let mut polled = [PollFd::new(stdout, PollFlags::OUT)];
    rustix::event::poll(&mut polled, Some(&Timespec::default()))?;
    if polled[0].revents().contains(PollFlags::ERR) {
        return Err(io::Error::other("its reader has gone"));
    }
    Ok(())
}

/// Reserves room at the end of the file, which keeps its length. A file system that can't reserve room says nothing about it.
fn check_room(file: &File, end: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, end, ROOM) {
        Err(error @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)) => Err(error.into()),
        _ => Ok(()),
    }
}

fn cannot_write(error: &io::Error) -> Failure {
    Failure::Other(format!("can't write to stdout: {error}"))
}
