//! The webhook settings.

use std::path::PathBuf;

use serde::Deserialize;
use tokend_server::background::webhook::WebhookSettings;

use crate::command_error::CommandError;

/// The flags for the webhook.
#[derive(Debug, Default, clap::Args)]
pub(super) struct WebhookArgs {
    /// Send events about tokens and caller keys to this URL (https://...), as signed messages by the Standard Webhooks
    /// specification. All servers on a database must have the same URL
    #[arg(long, value_name = "URL", env = "TOKEND_WEBHOOK_URL", hide_env_values = true)]
    webhook_url: Option<String>,

    /// A file with the secret that signs messages: one `whsec_...` per line, two while it is being replaced. It is
    /// re-read when it changes
    #[arg(long, value_name = "FILE", env = "TOKEND_WEBHOOK_SECRET_FILE")]
    webhook_secret_file: Option<PathBuf>,

    /// Trust these CAs for the receiver's certificate, in PEM [default: the system's]
    #[arg(long, value_name = "FILE", env = "TOKEND_WEBHOOK_CA_FILE")]
    webhook_ca_file: Option<PathBuf>,
}

/// The `[webhook]` table of the settings file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    url: Option<String>,
    secret_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

impl WebhookArgs {
    /// Returns the webhook settings, if a webhook is configured.
    ///
    /// # Errors
    /// A setting that needs another one is set without it.
    pub(super) fn resolve(self, file: Table) -> Result<Option<WebhookSettings>, CommandError> {
        let Self {
            webhook_url,
            webhook_secret_file,
            webhook_ca_file,
        } = self;
        let Table {
            url,
            secret_file,
            ca_file,
        } = file;
        let ca_file = webhook_ca_file.or(ca_file);
        match (webhook_url.or(url), webhook_secret_file.or(secret_file)) {
            (Some(url), Some(secret_file)) => Ok(Some(WebhookSettings {
                url,
                secret_file,
                ca_file,
            })),
            (Some(_), None) => Err(incomplete(
                "--webhook-url needs --webhook-secret-file: the receiver recognizes messages by their signature",
            )),
            (None, Some(_)) => Err(incomplete(
                "--webhook-secret-file needs --webhook-url, the receiver of the messages",
            )),
            (None, None) if ca_file.is_some() => Err(incomplete(
                "--webhook-ca-file needs --webhook-url and --webhook-secret-file: it applies to the certificate of \
                 the receiver",
            )),
            (None, None) => Ok(None),
        }
    }
}

fn incomplete(message: &str) -> CommandError {
    CommandError::Other(message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::config::parse;

    const EXAMPLE: &str = include_str!("../../../../deploy/tokend.toml");

    fn resolved(flags: [Option<&str>; 3], file: &str) -> Result<Option<WebhookSettings>, CommandError> {
        let [url, secret, ca] = flags;
        let args = WebhookArgs {
            webhook_url: url.map(str::to_owned),
            webhook_secret_file: secret.map(PathBuf::from),
            webhook_ca_file: ca.map(PathBuf::from),
        };
        args.resolve(parse(file).expect("well-formed").webhook)
    }

    #[test]
    fn flags_override_the_file() {
        let file = "[webhook]\nurl = 'https://b'\nsecret_file = 'c'\nca_file = 'd'";
        let WebhookSettings {
            url,
            secret_file,
            ca_file,
        } = resolved([Some("https://a"), None, None], file)
            .expect("it is whole")
            .expect("a webhook");
        assert_eq!(
            (url.as_str(), secret_file, ca_file),
            ("https://a", "c".into(), Some("d".into()))
        );
        assert!(resolved([None; 3], "").expect("nothing is whole").is_none());
    }

    #[test]
    fn incomplete_settings_are_errors() {
        for half in [
            [Some("a"), None, None],
            [None, Some("a"), None],
            [None, None, Some("a")],
            [Some("a"), None, Some("b")],
        ] {
            assert!(resolved(half, "").is_err(), "{half:?}");
        }
    }

    #[test]
    fn unknown_keys_are_errors() {
        let error = parse("[webhook]\nsecret = 'hush'").expect_err("no key of that name");
        assert!(
            error.starts_with("line 2: unknown field `secret`") && !error.contains("hush"),
            "{error}"
        );
    }

    #[test]
    fn the_example_file_has_none_and_shows_every_key() {
        assert!(resolved([None; 3], EXAMPLE).expect("well-formed").is_none());
        let (_, shown) = EXAMPLE.split_once("[webhook]\n").expect("the table");
        let shown: Vec<_> = shown
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.contains(" = "))
            .collect();
        let text = format!("[webhook]\n{}", shown.join("\n"));
        let WebhookSettings {
            url,
            secret_file: _,
            ca_file,
        } = resolved([None; 3], &text).expect("it is whole").expect("a webhook");
        assert!(url.starts_with("https://") && ca_file.is_some());
    }
}
