//! Token policies: what an organization or a workspace demands of its tokens.
//!
//! Each may set one, and both bind. [`Rules`] bind what is made or rotated from then on, and never make a token unrevocable. Only
//! [`ExistingTokens::Apply`] reaches back to tokens that there are.

mod lifetime;
mod rules;

pub use lifetime::{Lifetime, LifetimeOutOfRange};
pub use rules::{AllowedScopes, ExistingTokens, Policy, PolicyConflict, Rules, ScopeNames};
