//! Takes over changed TLS files while the server runs.
//!
//! The files are re-read every [`INTERVAL`] instead of watched. Reading by name works on every file system and finds
//! the current file after an atomic rename, the symlink swap of a Kubernetes secret, or a plain copy. A change counts
//! once two reads in a row saw the same contents, so that a half-written file, or a certificate whose key is not
//! replaced yet, has time to become complete. Files that can't be used change nothing: the last good ones stay in use,
//! and the log and a metric report it.

use std::{convert::Infallible, time::Duration};

use metrics::{Counter, Gauge};
use tokend_core::time::Clock;
use tokio::{sync::watch, task::JoinError, time::sleep};

use super::{
    contents::{Contents, TlsError, TlsFiles},
    generation::{Acceptor, Generation},
};
use crate::observability::metrics::Telemetry;

const CERTIFICATE_END: &str = "tokend_tls_certificate_expire_time_seconds";
const TLS_CHANGES: &str = "tokend_tls_file_changes_total";

/// The time between two reads. New connections use a change after two of them.
const INTERVAL: Duration = Duration::from_secs(1);

/// The result of a read: the contents, or the problem.
type Look = Result<Contents, String>;

/// Re-reads the files.
pub(crate) struct Follower {
    files: TlsFiles,
    clock: Clock,
    current: watch::Sender<Generation>,
    client_ca: Option<Vec<u8>>,
    /// The last read.
    seen: Look,
    /// The last read that was tried, whether it could be used or not.
    tried: Look,
}

/// The metrics of the files.
pub(crate) struct Gauges {
    /// When the certificate in use expires, in seconds since 1970.
    pub(crate) expire_time: Gauge,
    /// Changes of the files that were taken over.
    pub(crate) taken: Counter,
    /// Changes of the files that could not be used.
    pub(crate) refused: Counter,
}

impl Gauges {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        telemetry.describe(TLS_CHANGES, "Changes of the TLS files, by whether they could be used.");
        Self {
            expire_time: telemetry.gauge(
                CERTIFICATE_END,
                "When the certificate that is served ends, in seconds since 1970.",
            ),
            taken: telemetry.counter(TLS_CHANGES, Some(("outcome", "taken"))),
            refused: telemetry.counter(TLS_CHANGES, Some(("outcome", "refused"))),
        }
    }
}

impl Follower {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// [`TlsError`], one sentence for the operator. A certificate that has expired is no error: the log says so.
    pub(crate) fn start(files: TlsFiles, clock: Clock) -> Result<Self, TlsError> {
        let contents = files.look()?;
        let generation = Generation::build(&files, &contents, &clock)?;
        warn_about(&files, &generation, &clock);
        let client_ca = contents.client_ca.clone();
        let seen = Ok(contents);
        Ok(Self {
            files,
            clock,
            current: watch::Sender::new(generation),
            client_ca,
            tried: seen.clone(),
            seen,
        })
    }

    /// Returns the acceptor for new connections, which always uses the current files.
    pub(crate) fn acceptor(&self) -> Acceptor {
        Acceptor(self.current.subscribe())
    }

    /// Reads the files again and again, and takes over changes.
    ///
    /// # Errors
    /// Reading panicked.
    pub(crate) async fn follow(&mut self, gauges: &Gauges) -> Result<Infallible, JoinError> {
        loop {
            gauges
                .expire_time
                .set(self.current.borrow().expire_time.unix_micros() as f64 / 1e6);
            sleep(INTERVAL).await;
            let files = self.files.clone();
            // A file system may be slow, and no connection may wait for it.
            let look = tokio::task::spawn_blocking(move || files.look()).await?;
            match self.consider(look.map_err(|error| error.to_string())) {
                None => {}
                Some(Ok(())) => gauges.taken.increment(1),
                Some(Err(())) => gauges.refused.increment(1),
            }
        }
    }

    /// Considers a read. Returns whether a change was taken over; `None` if there is no change, or not yet.
    fn consider(&mut self, look: Look) -> Option<Result<(), ()>> {
        let is_settled = look == self.seen;
        self.seen = look;
        if !is_settled || self.seen == self.tried {
            return None;
        }
        self.tried = self.seen.clone();
        let built = self.tried.as_ref().map_err(Clone::clone).and_then(|contents| {
            Generation::build(&self.files, contents, &self.clock).map_err(|error| error.to_string())
        });
        Some(match built {
            Ok(generation) => {
                self.take_over(generation);
                Ok(())
            }
            Err(problem) => {
                tracing::error!(
                    problem,
                    "the TLS files have changed and can't be used: the last good ones stay in use"
                );
                Err(())
            }
        })
    }

    fn take_over(&mut self, mut generation: Generation) {
        let Ok(contents) = &self.tried else { return };
        let before = self.current.borrow().client_ca_replaced.clone();
        let is_same_ca = contents.client_ca == self.client_ca;
        if is_same_ca {
            generation.client_ca_replaced = before.clone();
        }
        self.client_ca.clone_from(&contents.client_ca);
        warn_about(&self.files, &generation, &self.clock);
        let days_left = days_left(&generation, &self.clock);
        tracing::info!(
            days_left,
            client_ca_replaced = !is_same_ca,
            "the TLS files have changed: new connections use them"
        );
        self.current.send_replace(generation);
        if !is_same_ca {
            // Only now: clients that reconnect must find the new generation.
            before.cancel();
        }
    }
}

fn warn_about(files: &TlsFiles, generation: &Generation, clock: &Clock) {
    if clock.wall_time() >= generation.expire_time {
        let certificate = files.certificate.display();
        tracing::warn!(%certificate, "the certificate has expired: clients will refuse it");
    }
    if generation.is_ca {
        let certificate = files.certificate.display();
        tracing::warn!(
            %certificate,
            "the certificate is a CA's own (basicConstraints CA:TRUE): many clients, tokend's among them, refuse it as \
             a server's; issue one with CA:FALSE"
        );
    }
}

/// Returns the number of whole days for which the certificate is still valid.
fn days_left(generation: &Generation, clock: &Clock) -> u64 {
    const SECONDS_PER_DAY: u64 = 86_400;
    generation.expire_time.saturating_since(clock.wall_time()).as_secs() / SECONDS_PER_DAY
}
