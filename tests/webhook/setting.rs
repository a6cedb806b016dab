//! The webhook settings and files of an installation, and helpers that wait for deliveries.

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
    /// Writes the secret and the CA file for this receiver.
    pub(crate) fn new(installation: &Installation, receiver: &Receiver) -> Self {
        let (secret_file, ca_file) = (
            installation.directory().join("secrets"),
            installation.directory().join("ca.crt"),
        );
        let webhook = Self {
            url: receiver.url(),
            secret_file,
            ca_file,
        };
        webhook.set_secrets(SECRET);
        webhook.trust(receiver.certificate());
        webhook
    }

    pub(crate) fn set_secrets(&self, text: &str) {
        let draft = self.secret_file.with_extension("draft");
        fs::write(&draft, text).expect("the file is written");
        fs::set_permissions(&draft, Permissions::from_mode(0o600)).expect("the mode is set");
        fs::rename(&draft, &self.secret_file).expect("the file is renamed");
    }

    pub(crate) fn trust(&self, certificate: &str) {
        fs::write(&self.ca_file, certificate).expect("the file is written");
    }

    pub(crate) fn secret_file(&self) -> &PathBuf {
        &self.secret_file
    }

    pub(crate) fn arguments(&self) -> [String; 6] {
        let path = |path: &PathBuf| path.to_str().expect("the path is UTF-8").to_owned();
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

/// Waits until `count` delivery attempts had this outcome.
pub(crate) async fn tries(server: &Server, outcome: &str, count: u64) {
    let line = format!("tokend_webhook_deliveries_total{{outcome=\"{outcome}\"}} ");
    let has_count = async || {
        let metrics = http::get(server.ops_address(), "/metrics").1;
        let counted = metrics
            .lines()
            .find_map(|metric| metric.strip_prefix(&line))?
            .parse::<u64>()
            .ok()?;
        (counted >= count).then_some(())
    };
    eventually(&format!("{count} attempts are counted as {outcome}"), has_count).await;
}

/// Advances the clock in small steps, so that no claim expires during a delivery, until `condition` holds.
pub(crate) async fn advance_clock_until<T>(
    installation: &Installation,
    what: &str,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
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
