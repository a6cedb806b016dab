//! Which signals end the process, and which it ignores.
//!
//! No signal that somebody may send by habit ends a server without draining and its last checkpoint: SIGHUP asks many programs to read
//! their settings again, and SIGUSR1 and SIGUSR2 to write something.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What SIGHUP does, which is also sent when the terminal is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hangup {
    /// Nothing, for a service.
    Ignored,
    /// It drains, for what was started on a terminal to be tried out.
    Drains,
}

/// A token that is cancelled by the first SIGTERM, SIGINT or SIGQUIT. SIGUSR1 and SIGUSR2 are ignored and logged.
pub(super) fn on_signal(hangup: Hangup) -> io::Result<CancellationToken> {
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
                    tracing::info!("{name} is ignored: files are read again without it, and SIGTERM ends the server");
                }
            }
        });
    }
    Ok(stop)
}
