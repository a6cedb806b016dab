//! Token policies: what an organization or a workspace demands of its tokens.
//!
//! Each may set one, and both bind. [`Rules`] bind what is made or rotated from then on, and never make a token unrevocable. Only
//! [`ExistingTokens::Apply`] reaches back to tokens that there are.

mod admission;
mod lifetime;
mod rules;
mod strictest;

pub use admission::{Admitted, Asked, Cap, NotAdmitted, Policies, Rule, Source, Violation};
pub use lifetime::{Lifetime, LifetimeOutOfRange};
pub use rules::{AllowedScopes, ExistingTokens, Policy, PolicyConflict, Rules, ScopeNames};
pub use strictest::{Allowed, Strictest};
