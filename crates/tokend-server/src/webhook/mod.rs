//! Tells one receiver outside what becomes of tokens, over HTTPS, until it answers that it has understood.
//!
//! ```text
//! outbox --claim--> Courier --sign, POST--> Receiver
//!    ^                 |
//!    |                 |- 2xx: the message is removed from the outbox
//!    '---- pause ------'- anything else: the same message again, later
//! ```
//!
//! The outbox is the database's, so that a message outlives servers, and of several servers one sends it. It is sent at least once:
//! the receiver tells by its id that it has got it before. Every server on a database is to have the same webhook.

mod client;
mod courier;
mod endpoint;
mod secrets;
mod tally;

use std::path::PathBuf;

use tokend_core::webhook::MalformedSecrets;
use tokend_store::Store;

pub(crate) use courier::{Courier, Way};
pub use endpoint::BadUrl;

/// The receiver, and how it knows us.
#[derive(Clone)]
pub struct Settings {
    /// Where it is: an `https` URL.
    pub url: String,
    /// The file of the secrets that messages are signed with, read again when there is something to sign.
    pub secret_file: PathBuf,
    /// The CAs that its certificate may be of, in PEM; the system's if absent.
    pub ca_file: Option<PathBuf>,
}

/// Why there can't be such a webhook. Each is one sentence that says what to do; none quotes a secret.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// Its URL.
    #[error("the webhook's URL can't be used: {0}")]
    Url(#[from] BadUrl),
    /// The secrets' file can't be read.
    #[error("can't read the webhook's secret file {path}: {source}; is the path of --webhook-secret-file right?", path = .path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others may read the secrets.
    #[error("the webhook's secret file {path} has mode {mode:04o}, so that others can sign with it; run `chmod 600` on it", path = .path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// What the secrets' file holds.
    #[error("the webhook's secret file {path} can't be used: {source}", path = .path.display())]
    Secrets {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: MalformedSecrets,
    },
    /// The CAs' file.
    #[error("the webhook's CA file {path} can't be used: {problem}", path = .path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There are no CAs.
    #[error("this system has no CA certificates to know the webhook's receiver by: {0}; install them, or give --webhook-ca-file")]
    NoCas(String),
}

/// Says so if a webhook that is in the settings no more has left messages behind.
pub(crate) async fn tell_of_leftovers(store: &Store) {
    // That the database does not answer is for readiness to tell.
    let messages = store.outbox_backlog().await.map_or(0, |backlog| backlog.messages);
    if messages > 0 {
        tracing::warn!(
            messages,
            "messages wait for a webhook, and none is in the settings: they are kept, and sent when there is one again"
        );
    }
}

impl std::fmt::Debug for Settings {
    /// Leaves the URL out: its path may be the receiver's secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("secret_file", &self.secret_file).field("ca_file", &self.ca_file).finish_non_exhaustive()
    }
}
