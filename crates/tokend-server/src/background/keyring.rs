//! Learns of keys that are added, activated and retired while the server runs.
//!
//! The database says what each key may do, and the file holds its root. The job reads the table of keys every
//! [`INTERVAL`]. It reads the file again while the database has a key that was not in it, so that the file may be
//! replaced before or after. Until the file has the active key the server is not ready.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokend_core::credential::Kid;
use tokend_store::Store;
use tokio_util::sync::CancellationToken;

use super::supervisor::{BackgroundJob, JobError, Phase};
use crate::operator::keyring_file;

/// The time between looks at the table of keys. For this long after a change a server may still mint with the key that
/// was active before, which goes on verifying, or recognize what a retired key minted, none of which is alive. Rows are
/// always sealed with the active key.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the store's key ring up to date.
pub(crate) struct KeyRingJob {
    store: Store,
    file: Option<PathBuf>,
    logged: LoggedKeyState,
}

impl KeyRingJob {
    pub(crate) fn new(store: &Store, file: Option<PathBuf>) -> Self {
        Self {
            // Requests don't hold it up: a server that is full learns of keys, too.
            store: store.reserved(),
            file,
            logged: LoggedKeyState::default(),
        }
    }

    async fn refresh(&mut self) {
        // Readiness reports that the database does not answer.
        if self.store.refresh_keys().await.is_err() {
            return;
        }
        let is_complete = self.store.keys().missing_keys().is_empty() && self.store.wrong_keys().is_none();
        let mut problem = None;
        if let (false, Some(path)) = (is_complete, self.file.clone()) {
            match tokio::task::spawn_blocking(move || keyring_file::read(&path)).await {
                Ok(Ok(roots)) => self.store.use_roots(Arc::new(roots)),
                Ok(Err(error)) => problem = Some(error.to_string()),
                Err(error) => problem = Some(error.to_string()),
            }
        }
        self.logged.update(&self.store, problem);
    }
}

impl BackgroundJob for KeyRingJob {
    fn name(&self) -> &'static str {
        "keyring"
    }

    fn phase(&self) -> Phase {
        Phase::AfterDraining
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), JobError> {
        let work = async {
            loop {
                tokio::time::sleep(INTERVAL).await;
                self.refresh().await;
            }
        };
        stop.run_until_cancelled(work).await;
        Ok(())
    }
}

/// The state that was logged last, so that every change is logged once.
#[derive(Default, PartialEq)]
struct LoggedKeyState {
    active: Option<Kid>,
    lacked: Vec<Kid>,
    problem: Option<String>,
}

impl LoggedKeyState {
    fn update(&mut self, store: &Store, problem: Option<String>) {
        let keys = store.keys();
        let problem = problem.or_else(|| store.wrong_keys().map(|problem| problem.to_string()));
        let now = Self {
            active: Some(keys.active_kid()),
            lacked: keys.missing_keys().to_vec(),
            problem,
        };
        if let (Some(before), Some(after)) = (self.active, now.active)
            && before != after
        {
            tracing::info!(key = %after, before = %before, "another key signs");
        }
        if now.lacked != self.lacked {
            match &now.lacked[..] {
                [] => tracing::info!("the key ring has every key again"),
                lacked => tracing::warn!(
                    ?lacked,
                    "the database knows keys that the key ring's file does not have yet"
                ),
            }
        }
        if let Some(problem) = now.problem.as_ref().filter(|_| now.problem != self.problem) {
            tracing::error!(problem, "the key ring does not fit the database");
        }
        *self = now;
    }
}
