use std::{path::PathBuf, sync::Arc};

use tokend_core::webhook::SigningSecrets;

use super::WebhookError;
use crate::private_file::{self, Unreadable};

/// The maximum size of the file in bytes: two secrets take less than 200.
const MAX_BYTES: u64 = 4 * 1024;

/// The secrets that sign messages: those in the file, or the last ones that could be read.
pub(super) struct Secrets {
    path: PathBuf,
    last: Arc<SigningSecrets>,
    /// What is wrong with the file. It is logged once.
    problem: Option<String>,
}

impl Secrets {
    pub(super) fn open(path: PathBuf) -> Result<Self, WebhookError> {
        let last = Arc::new(read(path.clone())?);
        Ok(Self {
            path,
            last,
            problem: None,
        })
    }

    /// Re-reads the file, so that secrets can be changed without a restart.
    pub(super) async fn now(&mut self) -> Arc<SigningSecrets> {
        let path = self.path.clone();
        // A file system may be slow.
        let Ok(found) = tokio::task::spawn_blocking(move || read(path)).await else {
            return Arc::clone(&self.last);
        };
        let problem = match found {
            Ok(secrets) => {
                self.last = Arc::new(secrets);
                None
            }
            Err(problem) => Some(problem.to_string()),
        };
        if let Some(problem) = problem.as_ref().filter(|_| problem != self.problem) {
            tracing::error!(problem, "messages to the webhook are signed with the last good secrets");
        }
        self.problem = problem;
        Arc::clone(&self.last)
    }
}

fn read(path: PathBuf) -> Result<SigningSecrets, WebhookError> {
    match private_file::read(&path, MAX_BYTES) {
        Ok(text) => SigningSecrets::from_text(&text).map_err(|source| WebhookError::Secrets { path, source }),
        Err(Unreadable::Io(source)) => Err(WebhookError::SecretFile { path, source }),
        Err(Unreadable::Permissions(mode)) => Err(WebhookError::Permissions { path, mode }),
    }
}
