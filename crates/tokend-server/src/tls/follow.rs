//! Keeps TLS as the files say, while the server runs.
//!
//! The files are read anew every [`INTERVAL`], rather than watched: a look by name finds whatever stands there now, after an atomic
//! renaming, the symlink swap of a Kubernetes secret or a plain copy, on every file system. What is new counts once two looks in a
//! row saw the same: a file that is half written, or a certificate whose key is about to follow, is given the time to become whole.
//! What can't be used changes nothing: the last good files go on serving, and the log and a metric say so.

use std::time::Duration;

use metrics::{Counter, Gauge};
use tokend_core::clock::Clock;
use tokio::{sync::watch, time::sleep};

use super::{
    contents::{Contents, TlsError, TlsFiles},
    generation::{Acceptor, Generation},
};

/// Time between two looks at the files. A change holds for new connections after two of them, at the latest.
const INTERVAL: Duration = Duration::from_secs(1);

/// What was seen: the files, or why they could not be read.
type Look = Result<Contents, String>;

/// Reads the files, and reads them again.
pub(crate) struct Follower {
    files: TlsFiles,
    clock: Clock,
    current: watch::Sender<Generation>,
    client_ca: Option<Vec<u8>>,
    /// What the last look saw.
    seen: Look,
    /// What was last made use of, or found to be of no use.
    judged: Look,
}

/// What the metrics tell of the files.
pub(crate) struct Gauges {
    /// When the certificate that is served ends, in seconds since 1970.
    pub(crate) expire_time: Gauge,
    /// Changes of the files that were taken over.
    pub(crate) taken: Counter,
    /// Changes of the files that could not be used.
    pub(crate) refused: Counter,
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
        Ok(Self { files, clock, current: watch::Sender::new(generation), client_ca, judged: seen.clone(), seen })
    }

    /// Takes connections as the files say, then and later.
    pub(crate) fn acceptor(&self) -> Acceptor {
        Acceptor(self.current.subscribe())
    }

    /// Looks at the files until it is dropped.
    pub(crate) async fn follow(mut self, gauges: Gauges) {
        loop {
            gauges.expire_time.set(self.current.borrow().expire_time.unix_micros() as f64 / 1e6);
            sleep(INTERVAL).await;
            let files = self.files.clone();
            // A file system may take its time, and no connection shall wait for it.
            let Ok(look) = tokio::task::spawn_blocking(move || files.look()).await else { continue };
            match self.consider(look.map_err(|error| error.to_string())) {
                None => {}
                Some(Ok(())) => gauges.taken.increment(1),
                Some(Err(())) => gauges.refused.increment(1),
            }
        }
    }

    /// Judges a look: nothing, a change that was taken over, or one that was refused.
    fn consider(&mut self, look: Look) -> Option<Result<(), ()>> {
        let is_settled = look == self.seen;
        self.seen = look;
        if !is_settled || self.seen == self.judged {
            return None;
        }
        self.judged = self.seen.clone();
        let built = self
            .judged
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|contents| Generation::build(&self.files, contents, &self.clock).map_err(|error| error.to_string()));
        Some(match built {
            Ok(generation) => {
                self.take_over(generation);
                Ok(())
            }
            Err(problem) => {
                tracing::error!(problem, "the TLS files have changed and can't be used: the last good ones go on serving");
                Err(())
            }
        })
    }

    fn take_over(&mut self, mut generation: Generation) {
        let Ok(contents) = &self.judged else { return };
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
            "the TLS files have changed: new connections get what they hold now"
        );
        self.current.send_replace(generation);
        if !is_same_ca {
            // After the new one is in place: whoever is sent away meets it.
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
            "the certificate is a CA's own (basicConstraints CA:TRUE): many clients, tokend's among them, refuse it as a server's; issue one with CA:FALSE"
        );
    }
}

/// Whole days for which the certificate is still valid.
fn days_left(generation: &Generation, clock: &Clock) -> u64 {
    const SECONDS_PER_DAY: u64 = 86_400;
    generation.expire_time.saturating_since(clock.wall_time()).as_secs() / SECONDS_PER_DAY
}
