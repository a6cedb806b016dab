//! Learns of keys that are added, activated and retired while the server runs.
//!
//! The database tells what each key may do, the file has its root. The table is asked every [`INTERVAL`]; the file is read again as
//! long as the database knows a key that was not in it, so that it may be replaced before or after. Until it has the active key the
//! server is not ready.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokend_core::credential::Kid;
use tokend_store::Store;

use crate::keyring_file;

/// Time between looks at the table of keys. For so long after a change a server may still mint with the key that was active before,
/// which goes on verifying, or recognize what a retired key made, none of which is alive. What it seals is always sealed with the
/// active key.
const INTERVAL: Duration = Duration::from_secs(1);

/// Follows the keys until it is dropped.
pub(crate) async fn follow(store: Store, file: Option<PathBuf>) {
    // Not in line with requests: a server that is full learns of keys, too.
    let store = store.reserved();
    let mut told = Told::default();
    loop {
        tokio::time::sleep(INTERVAL).await;
        // That the database does not answer is for readiness to tell.
        if store.refresh_keys().await.is_err() {
            continue;
        }
        let is_complete = || store.keys().lacked().is_empty() && store.wrong_keys().is_none();
        let mut fault = None;
        if let (false, Some(path)) = (is_complete(), file.clone()) {
            match tokio::task::spawn_blocking(move || keyring_file::read(&path)).await {
                Ok(Ok(roots)) => store.use_roots(Arc::new(roots)),
                Ok(Err(error)) => fault = Some(error.to_string()),
                Err(error) => fault = Some(error.to_string()),
            }
        }
        told.tell(&store, fault);
    }
}

/// What was logged last, so that every change is logged, and once.
#[derive(Default, PartialEq)]
struct Told {
    active: Option<Kid>,
    lacked: Vec<Kid>,
    problem: Option<String>,
}

impl Told {
    fn tell(&mut self, store: &Store, fault: Option<String>) {
        let keys = store.keys();
        let problem = fault.or_else(|| store.wrong_keys().map(|problem| problem.to_string()));
        let now = Self { active: Some(keys.active_kid()), lacked: keys.lacked().to_vec(), problem };
        if let (Some(before), Some(after)) = (self.active, now.active)
            && before != after
        {
            tracing::info!(key = %after, before = %before, "another key signs");
        }
        if now.lacked != self.lacked {
            match &now.lacked[..] {
                [] => tracing::info!("the key ring has every key again"),
                lacked => tracing::warn!(?lacked, "the database knows keys that the key ring's file does not have yet"),
            }
        }
        if let Some(problem) = now.problem.as_ref().filter(|_| now.problem != self.problem) {
            tracing::error!(problem, "the key ring does not fit the database");
        }
        *self = now;
    }
}
