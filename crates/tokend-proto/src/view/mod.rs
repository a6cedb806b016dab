//! Conversions from the domain to messages.

mod allow;
mod audit;
mod caller;
mod policy;
mod token;
mod verdict;
mod watch;
mod workspace;

pub use audit::audit_event_message;
pub use caller::{caller_key_message, caller_message};
pub use policy::{affected_token_message, effective_policy_message, policy_message};
pub use token::{TokenView, leak_message, scopes_message, secret_text};
pub use verdict::{KnownToken, Verification};
pub use watch::{Outdated, Pong, WatchUpdate};
pub use workspace::{organization_message, workspace_message};

use tokend_core::feed::Revision;

use crate::v1;

impl From<Revision> for v1::Revision {
    fn from(Revision { epoch, number }: Revision) -> Self {
        Self { epoch, number }
    }
}
