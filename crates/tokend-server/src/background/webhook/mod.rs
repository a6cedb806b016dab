//! Sends messages about tokens and caller keys to one receiver over HTTPS, and repeats each until the receiver accepts
//! it.
//!
//! ```text
//! outbox --claim--> WebhookJob --sign, POST--> Receiver
//!    ^                 |
//!    |                 |- 2xx: the message is removed from the outbox
//!    '---- pause ------'- anything else: the same message again, later
//! ```
//!
//! The outbox is a table, so that messages survive a server, and one of several servers sends each. A message is sent
//! at least once; the receiver recognizes a repetition by its id. All servers on a database must have the same webhook.

mod client;
mod counters;
mod dispatcher;
mod endpoint;
mod secrets;

use std::path::PathBuf;

use tokend_core::webhook::MalformedSecrets;
use tokend_store::Store;

pub(crate) use dispatcher::Delivery;
pub use endpoint::BadUrl;

/// The receiver, and the files for signing and TLS.
#[derive(Clone)]
pub struct WebhookSettings {
    /// The receiver's `https` URL.
    pub url: String,
    /// The file with the secrets that sign messages. It is re-read before each signature.
    pub secret_file: PathBuf,
    /// The CAs that the receiver's certificate may have, in PEM. The system's if absent.
    pub ca_file: Option<PathBuf>,
}

/// The webhook can't be used. Each is one sentence that says what to do; none quotes a secret.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The URL can't be used.
    #[error("the webhook's URL can't be used: {0}")]
    Url(#[from] BadUrl),
    /// The secrets' file can't be read.
    #[error(
        "can't read the webhook's secret file {path}: {source}; is the path of --webhook-secret-file right?",
        path = .path.display()
    )]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Other users may read the secrets.
    #[error(
        "the webhook's secret file {path} has mode {mode:04o}, so that others can sign with it; run `chmod 600` on it",
        path = .path.display()
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The secrets' file can't be parsed.
    #[error("the webhook's secret file {path} can't be used: {source}", path = .path.display())]
    Secrets {
        /// The file.
        path: PathBuf,
        /// What is wrong with the file.
        source: MalformedSecrets,
    },
    /// The CAs' file can't be used.
    #[error("the webhook's CA file {path} can't be used: {problem}", path = .path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with the file.
        problem: String,
    },
    /// The system has no CAs.
    #[error(
        "this system has no CA certificates to verify the webhook's receiver with: {0}; install them, or give \
         --webhook-ca-file"
    )]
    NoCas(String),
}

/// Logs a warning if messages wait in the outbox, although the settings have no webhook.
pub(crate) async fn warn_of_leftovers(store: &Store) {
    // Readiness reports that the database does not answer.
    let messages = store.outbox_backlog().await.map_or(0, |backlog| backlog.messages);
    if messages > 0 {
        tracing::warn!(
            messages,
            "messages wait for a webhook, but the settings have none; they are kept until a webhook is configured"
        );
    }
}

impl std::fmt::Debug for WebhookSettings {
    /// Leaves the URL out: its path may be the receiver's secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookSettings")
            .field("secret_file", &self.secret_file)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}
