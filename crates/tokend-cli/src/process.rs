//! The process: core dumps, panics, open files and signals.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Open files that the process needs besides its connections: databases, the ops port, the log.
const OTHER_FILES: u64 = 256;

/// Keeps secrets out of crash reports: turns off core dumps, and the payload of panic messages. Call it before the
/// process handles any secret.
///
/// # Errors
/// A message for the operator if the system refuses. Then the process must not handle secrets.
pub(crate) fn protect_secrets() -> Result<(), String> {
    tokend_server::observability::panics::report_without_payload();
    forbid_core_dumps().map_err(|error| format!("can't turn off core dumps, which would contain secrets: {error}"))
}

/// Forbids core dumps, which are copies of the memory, including secrets.
///
/// The resource limit alone is not enough: Linux ignores it if dumps are piped to a collector. A process that is not
/// dumpable is never dumped, and other processes of the same user can neither trace it nor read its memory.
fn forbid_core_dumps() -> rustix::io::Result<()> {
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Raises the limit of open files as far as allowed, and logs a warning if `max_connections` needs more. Most systems
/// start a process with a limit of 1,024, for programs that use `select`.
pub(crate) fn allow_connections(max_connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
    let (Some(allowed), needed) = (
        if raised.is_ok() { maximum } else { current },
        max_connections as u64 + OTHER_FILES,
    ) else {
        return;
    };
    if allowed < needed {
        tracing::warn!(
            allowed,
            needed,
            "the limit of open files is too low for max_connections; raise it (ulimit -n)"
        );
    }
}

/// What SIGHUP does. It is also sent when the terminal is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hangup {
    /// It is ignored, as a service needs it.
    Ignored,
    /// It drains the server, as a server needs it that was started on a terminal to try it out.
    Drains,
}

/// Returns a token that the first SIGTERM, SIGINT or SIGQUIT cancels. SIGUSR1 and SIGUSR2 are ignored and logged.
///
/// Signals that are often sent by habit must not kill the server before it drains and writes its last checkpoint: many
/// programs re-read their settings on SIGHUP, and write reports on SIGUSR1 and SIGUSR2.
pub(crate) fn stop_on_signal(hangup: Hangup) -> io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    for (kind, name, drains) in [
        (SignalKind::terminate(), "SIGTERM", true),
        (SignalKind::interrupt(), "SIGINT", true),
        (SignalKind::quit(), "SIGQUIT", true),
        (SignalKind::hangup(), "SIGHUP", hangup == Hangup::Drains),
        (SignalKind::user_defined1(), "SIGUSR1", false),
        (SignalKind::user_defined2(), "SIGUSR2", false),
    ] {
        let (mut signals, stop) = (signal(kind)?, stop.clone());
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if drains {
                    if !stop.is_cancelled() {
                        tracing::info!("{name}: draining");
                    }
                    stop.cancel();
                } else {
                    tracing::info!(
                        "{name} is ignored: changed files are re-read without it, and SIGTERM stops the server"
                    );
                }
            }
        });
    }
    Ok(stop)
}
