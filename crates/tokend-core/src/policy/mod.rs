//! Token policies: what an organization or a workspace requires of its tokens.
//!
//! Each of them may set a policy, and both apply. [`Rules`] apply to tokens that are created or rotated from then on,
//! and never prevent a revocation. Only [`ExistingTokens::Apply`] affects existing tokens, by [`Deadlines`].

mod admission;
mod changes;
mod deadlines;
mod lifetime;
mod name;
mod rules;
mod state;
mod strictest;
mod text;

pub use admission::{AdmissionError, AdmittedToken, Cap, Policies, RequestedToken, Rule, Source, Violation};
pub use deadlines::{Deadline, Deadlines, MalformedDeadlines, Shortened};
pub use lifetime::{Lifetime, LifetimeOutOfRange};
pub use name::PolicyName;
pub use rules::{AllowedScopes, ExistingTokens, Policy, PolicyConflict, Rules, ScopeNames};
pub use state::PolicyState;
pub use strictest::{Allowed, Strictest};
pub use text::MalformedPolicy;
