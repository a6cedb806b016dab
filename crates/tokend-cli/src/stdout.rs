//! Output to stdout. Every command writes through this module, so that none panics when a write fails, and none reports
//! success for a secret that was not written.

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

use crate::command_error::CommandError;

/// Bytes that a file must have room for before a secret is created. A credential and its line break take fewer.
const ROOM: u64 = 128;

/// Writes text. A reader that has gone (`| head`) is not an error.
pub(crate) fn print(text: &str) -> Result<(), CommandError> {
    print_part(text).map(drop)
}

/// Writes one part of a longer output. Returns `Break` if the reader has gone.
pub(crate) fn print_part(text: &str) -> Result<ControlFlow<()>, CommandError> {
    match write(text) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(cannot_write(&error)),
    }
}

/// Writes text that is useless unless complete: here, a reader that has gone is an error.
pub(crate) fn print_whole(text: &str) -> Result<(), CommandError> {
    write(text).map_err(|error| cannot_write(&error))
}

/// Writes a secret on a line of its own. Any error means that the secret is lost.
pub(crate) fn print_secret(secret: &Secret) -> io::Result<()> {
    // Allocated at full size: a string that grows leaves copies of the secret in memory.
    let mut line = Zeroizing::new(String::with_capacity(secret.expose().len() + 1));
    line.push_str(secret.expose());
    line.push('\n');
    write(&line)
}

/// Checks that stdout can be written to, before a secret is created. This is best effort.
///
/// # Errors
/// Stdout is closed, its reader has gone, or its disk is full.
pub(crate) fn check_for_secret() -> Result<(), CommandError> {
    stdout().and_then(|stdout| check(&stdout)).map_err(|error| {
        CommandError::Other(format!(
            "can't write a secret to stdout: {error}; nothing was created or changed. Redirect stdout to a file or a \
             program"
        ))
    })
}

fn write(text: &str) -> io::Result<()> {
    stdout()?.write_all(text.as_bytes())
}

/// Returns stdout as a file. The standard library's handle reports success even if the descriptor can't be written to.
#[expect(clippy::disallowed_methods, reason = "this module wraps stdout")]
fn stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

fn check(stdout: &File) -> io::Result<()> {
    let metadata = stdout.metadata()?;
    let access = rustix::fs::fcntl_getfl(stdout)? & OFlags::RWMODE;
    if access == OFlags::RDONLY {
        return Err(io::Error::other("it is open for reading only"));
    }
    // If stdout is closed, the Rust runtime opens /dev/null for reading and writing in its place. `> /dev/null`, which
    // the user chose, opens it for writing only.
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

/// Reserves room at the end of the file without changing its length. File systems that can't reserve room are assumed
/// to have it.
fn check_room(file: &File, end: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, end, ROOM) {
        Err(error @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)) => Err(error.into()),
        _ => Ok(()),
    }
}

fn cannot_write(error: &io::Error) -> CommandError {
    CommandError::Other(format!("can't write to stdout: {error}"))
}
