use std::{collections::BTreeSet, num::NonZeroU32};

use super::Lifetime;
use crate::{
    address::AllowedAddresses,
    scope::{ScopeName, ScopeSet},
};

/// What tokens that are made or rotated have to be like. A rule that is not set demands nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether each must have an end.
    pub require_expiry: bool,
    /// How far its end may lie from its making. Forbids tokens that never end, too.
    pub max_lifetime: Option<Lifetime>,
    /// How long it lives if nothing is said of its end.
    pub default_lifetime: Option<Lifetime>,
    /// What it may permit.
    pub allowed_scopes: AllowedScopes,
    /// Where it may be used from.
    pub allowed_addresses: AllowedAddresses,
    /// How many of one workspace may work at once. One that is being replaced does not count.
    pub max_active_tokens: Option<NonZeroU32>,
}

/// Which scopes tokens may have. An empty list never means "everything": that is said in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedScopes {
    /// Any.
    Any,
    /// These only. Never empty.
    Only(ScopeNames),
}

/// At least one scope, each once, and not more than a catalogue can have. Names, since a later catalogue may lack one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeNames(BTreeSet<ScopeName>);

/// What becomes of tokens that are older than the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ExistingTokens {
    /// They keep the ends that they have.
    #[default]
    Keep,
    /// They live no longer than `max_lifetime` from when the policy was set.
    Apply,
}

/// A policy as somebody sets it. Its parts fit together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    rules: Rules,
    existing_tokens: ExistingTokens,
}

/// Rules that do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyConflict {
    /// Every token that nobody chose an end for would be refused.
    #[error("the default lifetime is longer than the longest one")]
    DefaultAboveMax,
    /// There is no lifetime to apply.
    #[error("existing tokens can't be bound without a longest lifetime")]
    ApplyWithoutMax,
}

impl Rules {
    /// Most tokens that can be set as the most: the count of them is taken with each token that is made.
    pub const MAX_ACTIVE_TOKENS: u32 = 1_000_000;
}

/// Demands nothing.
impl Default for Rules {
    fn default() -> Self {
        Self {
            require_expiry: false,
            max_lifetime: None,
            default_lifetime: None,
            allowed_scopes: AllowedScopes::Any,
            allowed_addresses: AllowedAddresses::Any,
            max_active_tokens: None,
        }
    }
}

impl ScopeNames {
    /// Most scopes.
    pub const MAX: usize = ScopeSet::CAPACITY;

    /// Takes names; `None` unless there are 1 to [`ScopeNames::MAX`].
    #[must_use]
    pub fn new(names: BTreeSet<ScopeName>) -> Option<Self> {
        (1..=Self::MAX).contains(&names.len()).then_some(Self(names))
    }

    /// The names.
    #[must_use]
    pub const fn as_set(&self) -> &BTreeSet<ScopeName> {
        &self.0
    }
}

impl Policy {
    /// Puts a policy together.
    ///
    /// # Errors
    /// [`PolicyConflict`].
    pub fn new(rules: Rules, existing_tokens: ExistingTokens) -> Result<Self, PolicyConflict> {
        let Rules { max_lifetime, default_lifetime, .. } = rules;
        match (max_lifetime, default_lifetime, existing_tokens) {
            (Some(max), Some(default), _) if default > max => Err(PolicyConflict::DefaultAboveMax),
            (None, _, ExistingTokens::Apply) => Err(PolicyConflict::ApplyWithoutMax),
            _ => Ok(Self { rules, existing_tokens }),
        }
    }

    /// What it demands of tokens that are made or rotated.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What becomes of tokens that are older than it.
    #[must_use]
    pub const fn existing_tokens(&self) -> ExistingTokens {
        self.existing_tokens
    }

    /// How long tokens that are older than it may go on living, if it says so.
    #[must_use]
    pub fn applied_lifetime(&self) -> Option<Lifetime> {
        self.rules.max_lifetime.filter(|_| self.existing_tokens == ExistingTokens::Apply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetimes(max: Option<u64>, default: Option<u64>) -> Rules {
        let lifetime = |micros: u64| Lifetime::from_micros(micros).expect("in range");
        Rules { max_lifetime: max.map(lifetime), default_lifetime: default.map(lifetime), ..Rules::default() }
    }

    #[test]
    fn a_default_lies_within_the_longest() {
        let set = |max, default| Policy::new(lifetimes(max, default), ExistingTokens::Keep).map(drop);
        assert_eq!(set(Some(2), Some(2)), Ok(()));
        assert_eq!(set(Some(2), Some(3)), Err(PolicyConflict::DefaultAboveMax));
        assert_eq!(set(None, Some(3)), Ok(()));
        assert_eq!(set(Some(2), None), Ok(()));
    }

    #[test]
    fn only_a_longest_lifetime_is_applied() {
        let applied = |max, existing| Policy::new(lifetimes(max, None), existing).map(|policy| policy.applied_lifetime());
        assert_eq!(applied(None, ExistingTokens::Apply), Err(PolicyConflict::ApplyWithoutMax));
        assert_eq!(applied(Some(2), ExistingTokens::Apply), Ok(Some(Lifetime::from_micros(2).expect("in range"))));
        assert_eq!(applied(Some(2), ExistingTokens::Keep), Ok(None));
        assert_eq!(applied(None, ExistingTokens::Keep), Ok(None));
    }

    #[test]
    fn a_list_of_scopes_is_never_empty() {
        let many = |count: usize| (0..count).map(|n| format!("s{n}").parse().expect("a scope's name")).collect();
        assert!(ScopeNames::new(many(0)).is_none());
        assert_eq!(ScopeNames::new(many(256)).map(|names| names.as_set().len()), Some(256));
        assert!(ScopeNames::new(many(257)).is_none());
    }
}
