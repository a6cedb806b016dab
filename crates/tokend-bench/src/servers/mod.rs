//! The servers under test, each a separate process, so that its CPU time is counted apart from the driver's.

mod certificate;
mod installation;
mod process;

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

pub use self::{
    certificate::Certificate,
    installation::{Database, Installation, Questions},
    process::{Memory, ServerProcess},
};
use crate::{BoxError, floor::Kind};

/// Returns the path of the `tokend` that was built with this program.
///
/// # Errors
/// The program does not exist.
pub fn tokend_beside_this() -> Result<PathBuf, BoxError> {
    let path = env::current_exe()?.with_file_name("tokend");
    if path.is_file() {
        return Ok(path);
    }
    Err(format!(
        "there is no {}: build it with the same profile (`cargo build --workspace --bin tokend`), or pass --tokend",
        path.display()
    )
    .into())
}

/// Starts a floor whose responses have this size.
///
/// # Errors
/// It does not start.
pub fn start_floor(kind: Kind, response: usize, tls: Option<&Certificate>) -> Result<ServerProcess, BoxError> {
    let mut command = Command::new(env::current_exe()?);
    command.args([
        "floor",
        match kind {
            Kind::Tonic => "tonic",
            Kind::Loop => "loop",
        },
        "--response",
        &response.to_string(),
    ]);
    if let Some(tls) = tls {
        command
            .arg("--tls-cert")
            .arg(tls.certificate())
            .arg("--tls-key")
            .arg(tls.key());
    }
    ServerProcess::start_announced(command)
}

/// Returns a command that does not inherit tokend's settings.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("TOKEND_") {
            command.env_remove(name);
        }
    }
    command
}
