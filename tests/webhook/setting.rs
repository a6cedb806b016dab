//! An installation with a webhook: the files that it names, and what it does with messages.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::Duration,
};

use tokend_tests::{Installation, Server, eventually, http};

use crate::receiver::Receiver;

pub(crate) const SECRET: &str = "whsec_aHVzaC1odXNoLWh1c2gtaHVzaC1odXNoLW9uZQ==";
pub(crate) const OTHER_SECRET: &str = "whsec_aHVzaC1odXNoLWh1c2gtaHVzaC1odXNoLXR3bw==";

/// The webhook's settings, for one receiver.
pub(crate) struct Webhook {
    url: String,
    secret_file: PathBuf,
    ca_file: PathBuf,
}

impl Webhook {
    /// Files that let the installation and the receiver know each other.
    pub(crate) fn new(installation: &Installation, receiver: &Receiver) -> Self {
        let (secret_file, ca_file) = (installation.directory().join("secrets"), installation.directory().join("ca.crt"));
        let webhook = Self { url: receiver.url(), secret_file, ca_file };
        webhook.set_secrets(SECRET);
        webhook.trust(receiver.certificate());
        webhook
    }

    pub(crate) fn set_secrets(&self, text: &str) {
        let draft = self.secret_file.with_extension("draft");
        fs::write(&draft, text).expect("it can be written");
        fs::set_permissions(&draft, Permissions::from_mode(0o600)).expect("its mode can be set");
        fs::rename(&draft, &self.secret_file).expect("it can be renamed");
    }

    pub(crate) fn trust(&self, certificate: &str) {
        fs::write(&self.ca_file, certificate).expect("it can be written");
    }

    pub(crate) fn secret_file(&self) -> &PathBuf {
        &self.secret_file
    }

    pub(crate) fn arguments(&self) -> [String; 6] {
        let path = |path: &PathBuf| path.to_str().expect("text").to_owned();
        [
            "--webhook-url".to_owned(),
            self.url.clone(),
            "--webhook-secret-file".to_owned(),
            path(&self.secret_file),
            "--webhook-ca-file".to_owned(),
            path(&self.ca_file),
        ]
    }
}

/// Waits until so many tries had this outcome.
pub(crate) async fn tries(server: &Server, outcome: &str, count: u64) {
    let line = format!("tokend_webhook_deliveries_total{{outcome=\"{outcome}\"}} ");
    let told = async || {
        let metrics = http::get(server.ops_address(), "/metrics").1;
        let told = metrics.lines().find_map(|metric| metric.strip_prefix(&line))?.parse::<u64>().ok()?;
        (told >= count).then_some(())
    };
    eventually(&format!("{count} tries are counted as {outcome}"), told).await;
}

/// Moves the clock on, a little at a time so that no claim runs out under way, until `condition` holds.
pub(crate) async fn as_time_goes_by<T>(installation: &Installation, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    const STEP: Duration = Duration::from_secs(5);
    let mut ahead = Duration::ZERO;
    eventually(what, async || {
        ahead += STEP;
        installation.clock().set_ahead(ahead);
        tokio::time::sleep(Duration::from_millis(100)).await;
        condition()
    })
    .await
}
