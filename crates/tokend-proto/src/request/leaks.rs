//! The request of `TokenAdmin.RevokeLeakedTokens`.

use tokend_core::{
    credential::{Secret, credentials_in},
    leak::{LeakReport, LeakSource, LeakUrl},
};

use crate::{
    field::{Checked, FieldViolations, Fields},
    v1::{self, revoke_leaked_tokens_request as message},
};

/// The most strings in one call.
pub const MAX_LEAKS: usize = 1_000;
/// The most credentials in all strings of one call.
pub const MAX_SECRETS: usize = 1_000;

/// A validated `RevokeLeakedTokensRequest`. No content of a string is invalid.
#[derive(Debug)]
pub struct RevokeLeakedTokens {
    /// The strings that were found, in order.
    pub leaks: Vec<Leak>,
    /// Whether to respond before the tokens stop working everywhere.
    pub no_wait: bool,
}

/// A string that may contain secrets of this installation.
#[derive(Debug)]
pub struct Leak {
    /// The well-formed credentials in the string, in order and without repetition.
    pub secrets: Vec<Secret>,
    /// Where the string was found, and by whom.
    pub report: LeakReport,
}

impl RevokeLeakedTokens {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with every invalid field.
    pub fn from_message(message: v1::RevokeLeakedTokensRequest) -> Result<Self, FieldViolations> {
        let v1::RevokeLeakedTokensRequest { leaks, no_wait } = message;
        let mut fields = Fields::default();
        if !(1..=MAX_LEAKS).contains(&leaks.len()) {
            let invalid = fields.refuse(
                "leaks",
                format_args!("must have 1 to {MAX_LEAKS} leaks; it has {}", leaks.len()),
            );
            return fields.finish(|| Err(invalid));
        }
        let leaks: Vec<_> = leaks
            .into_iter()
            .enumerate()
            .map(|(index, message)| fields.merge(&format!("leaks[{index}]"), Leak::from_message(message)))
            .collect();
        let leaks: Checked<Vec<Leak>> = leaks.into_iter().collect();
        let too_many = leaks.iter().flatten().scan(0, |total, leak| {
            *total += leak.secrets.len();
            Some(*total > MAX_SECRETS)
        });
        if let Some(first) = { too_many }.position(|is_too_many| is_too_many) {
            let description =
                format!("has more credentials than the {MAX_SECRETS} that a call takes; send the rest in another call");
            fields.refuse(&format!("leaks[{first}].secret"), description);
        }
        fields.finish(|| Ok(Self { leaks: leaks?, no_wait }))
    }
}

impl Leak {
    fn from_message(message: message::Leak) -> Result<Self, FieldViolations> {
        let message::Leak { secret, url, source } = message;
        let secrets = distinct(credentials_in(Secret::new(secret).expose()));
        let mut fields = Fields::default();
        let url = fields.check("url", LeakUrl::new(url));
        let source = fields.check("source", LeakSource::new(source));
        fields.finish(|| {
            Ok(Self {
                secrets,
                report: LeakReport::new(&url?, &source?),
            })
        })
    }
}

/// Removes repetitions. Stops after one more secret than a call takes.
fn distinct(secrets: Vec<Secret>) -> Vec<Secret> {
    let mut distinct: Vec<Secret> = Vec::new();
    for secret in secrets {
        if distinct.len() > MAX_SECRETS {
            break;
        }
        if !distinct.iter().any(|known| known.expose() == secret.expose()) {
            distinct.push(secret);
        }
    }
    distinct
}
