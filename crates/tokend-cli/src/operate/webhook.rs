//! The webhook, as the flags, the environment and the `[webhook]` table of the settings file say it.

use std::path::PathBuf;

use serde::Deserialize;
use tokend_server::webhook::Settings;

use crate::failure::Failure;

/// Where the webhook's receiver is, and what it knows us by.
#[derive(Debug, Default, clap::Args)]
pub(super) struct WebhookArgs {
    /// Tell this receiver (https://...) what becomes of tokens, as signed messages after the Standard Webhooks specification. Every
    /// server on a database must have the same
    #[arg(long, value_name = "URL", env = "TOKEND_WEBHOOK_URL", hide_env_values = true)]
    webhook_url: Option<String>,

    /// The file of the secrets that messages are signed with: one `whsec_...` a line, two while it changes. It is read anew
    #[arg(long, value_name = "FILE", env = "TOKEND_WEBHOOK_SECRET_FILE")]
    webhook_secret_file: Option<PathBuf>,

    /// The CAs that the receiver's certificate may be of, in PEM [default: the system's]
    #[arg(long, value_name = "FILE", env = "TOKEND_WEBHOOK_CA_FILE")]
    webhook_ca_file: Option<PathBuf>,
}

/// The table of the settings file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    url: Option<String>,
    secret_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

impl WebhookArgs {
    /// The webhook, if there is to be one.
    ///
    /// # Errors
    /// One half without the other.
    pub(super) fn resolve(self, file: Table) -> Result<Option<Settings>, Failure> {
        let Self { webhook_url, webhook_secret_file, webhook_ca_file } = self;
        let Table { url, secret_file, ca_file } = file;
        let ca_file = webhook_ca_file.or(ca_file);
        match (webhook_url.or(url), webhook_secret_file.or(secret_file)) {
            (Some(url), Some(secret_file)) => Ok(Some(Settings { url, secret_file, ca_file })),
            (Some(_), None) => {
                Err(half("--webhook-url needs --webhook-secret-file: the receiver knows messages by their signature alone"))
            }
            (None, Some(_)) => Err(half("--webhook-secret-file needs --webhook-url: there is nobody to sign messages for")),
            (None, None) if ca_file.is_some() => Err(half(
                "--webhook-ca-file needs --webhook-url and --webhook-secret-file: there is no receiver whose certificate it could prove",
            )),
            (None, None) => Ok(None),
        }
    }
}

fn half(sentence: &str) -> Failure {
    Failure::Other(sentence.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::config::parse;

    const EXAMPLE: &str = include_str!("../../../../deploy/tokend.toml");

    fn resolved(flags: [Option<&str>; 3], file: &str) -> Result<Option<Settings>, Failure> {
        let [url, secret, ca] = flags;
        let args = WebhookArgs {
            webhook_url: url.map(str::to_owned),
            webhook_secret_file: secret.map(PathBuf::from),
            webhook_ca_file: ca.map(PathBuf::from),
        };
        args.resolve(parse(file).expect("well-formed").webhook)
    }

    #[test]
    fn flags_go_before_the_file() {
        let file = "[webhook]\nurl = 'https://b'\nsecret_file = 'c'\nca_file = 'd'";
        let Settings { url, secret_file, ca_file } =
            resolved([Some("https://a"), None, None], file).expect("it is whole").expect("a webhook");
        assert_eq!((url.as_str(), secret_file, ca_file), ("https://a", "c".into(), Some("d".into())));
        assert!(resolved([None; 3], "").expect("nothing is whole").is_none());
    }

    #[test]
    fn a_half_is_no_webhook() {
        for half in [[Some("a"), None, None], [None, Some("a"), None], [None, None, Some("a")], [Some("a"), None, Some("b")]] {
            assert!(resolved(half, "").is_err(), "{half:?}");
        }
    }

    #[test]
    fn unknown_keys_are_errors() {
        let error = parse("[webhook]\nsecret = 'hush'").expect_err("no key of that name");
        assert!(error.starts_with("line 2: unknown field `secret`") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn the_example_file_has_none_and_shows_every_key() {
        assert!(resolved([None; 3], EXAMPLE).expect("well-formed").is_none());
        let (_, shown) = EXAMPLE.split_once("[webhook]\n").expect("the table");
        let shown: Vec<_> = shown.lines().filter_map(|line| line.strip_prefix("# ")).filter(|line| line.contains(" = ")).collect();
        let text = format!("[webhook]\n{}", shown.join("\n"));
        let Settings { url, secret_file: _, ca_file } = resolved([None; 3], &text).expect("it is whole").expect("a webhook");
        assert!(url.starts_with("https://") && ca_file.is_some());
    }
}
