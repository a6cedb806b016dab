//! The domain as messages.

mod audit;
mod caller;
mod leak;
mod organization;
mod policy;
mod scopes;
mod token;
mod verdict;
mod workspace;

pub use audit::audit_event_message;
pub use caller::{caller_key_message, caller_message};
pub use leak::leak_message;
pub use organization::organization_message;
pub use policy::{affected_token_message, effective_policy_message, policy_message};
pub use scopes::scopes_message;
pub use token::{TokenView, secret_text};
pub use verdict::{KnownToken, Verification};
pub use workspace::workspace_message;

use tokend_core::revision::Revision;

use crate::v1;

impl From<Revision> for v1::Revision {
    fn from(Revision { epoch, number }: Revision) -> Self {
        Self { epoch, number }
    }
}
