//! `TokenAdmin.RevokeLeakedTokens`.

use tokend_core::{
    credential::Secret,
    leak::{LeakReport, LeakSource, LeakUrl},
};

use crate::{
    field::{FieldViolations, Fields},
    v1::{self, revoke_leaked_tokens_request as message},
};

/// Most strings in one call.
pub const MAX_LEAKS: usize = 1_000;

/// A `RevokeLeakedTokensRequest` whose fields fit. Whatever the strings are, they are no error of a field's.
#[derive(Debug)]
pub struct RevokeLeakedTokens {
    /// What was found, in order.
    pub leaks: Vec<Leak>,
    /// Whether to answer before the tokens are dead everywhere.
    pub no_wait: bool,
}

/// A string that may be a secret of ours.
#[derive(Debug)]
pub struct Leak {
    /// The string as found; white space around it is ignored.
    pub secret: Secret,
    /// Where, and by whom.
    pub report: LeakReport,
}

impl RevokeLeakedTokens {
    /// Checks a message.
    ///
    /// # Errors
    /// Every field that does not fit.
    pub fn from_message(message: v1::RevokeLeakedTokensRequest) -> Result<Self, FieldViolations> {
        let v1::RevokeLeakedTokensRequest { leaks, no_wait } = message;
        let mut fields = Fields::default();
        if !(1..=MAX_LEAKS).contains(&leaks.len()) {
            fields.refuse("leaks", format_args!("must hold 1 to {MAX_LEAKS} leaks, it holds {}", leaks.len()));
            return fields.finish(None);
        }
        let leaks: Vec<_> = leaks
            .into_iter()
            .enumerate()
            .map(|(index, message)| fields.merge(&format!("leaks[{index}]"), Leak::from_message(message)))
            .collect();
        fields.finish(leaks.into_iter().collect::<Option<_>>().map(|leaks| Self { leaks, no_wait }))
    }
}

impl Leak {
    fn from_message(message: message::Leak) -> Result<Self, FieldViolations> {
        let message::Leak { secret, url, source } = message;
        let secret = Secret::new(secret);
        let mut fields = Fields::default();
        let url = fields.check("url", LeakUrl::new(url));
        let source = fields.check("source", LeakSource::new(source));
        fields.finish(url.zip(source).map(|(url, source)| Self { secret, report: LeakReport::new(&url, &source) }))
    }
}
