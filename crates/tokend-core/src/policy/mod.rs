//! Token policies: what an organization or a workspace demands of its tokens.
//!
//! Each may set one, and both bind. [`Rules`] bind what is made or rotated from then on, and never make a token unrevocable. Only
//! [`ExistingTokens::Apply`] reaches back to tokens that there are, by [`Deadlines`].

mod admission;
mod changes;
mod deadlines;
mod lifetime;
mod name;
mod rules;
mod state;
mod strictest;
mod text;

pub use admission::{Admitted, Asked, Cap, NotAdmitted, Policies, Rule, Source, Violation};
pub use deadlines::{Deadline, Deadlines, MalformedDeadlines, Shortened};
pub use lifetime::{Lifetime, LifetimeOutOfRange};
pub use name::PolicyName;
pub use rules::{AllowedScopes, ExistingTokens, Policy, PolicyConflict, Rules, ScopeNames};
pub use state::PolicyState;
pub use strictest::{Allowed, Strictest};
pub use text::MalformedPolicy;
