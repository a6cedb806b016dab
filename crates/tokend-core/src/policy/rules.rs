use std::{collections::BTreeSet, num::NonZeroU32};

use super::Lifetime;
use crate::{
    address::AllowedAddresses,
    scope::{ScopeName, ScopeSet},
};

/// What a policy requires of tokens that are created or rotated. A rule that is not set requires nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether every token must expire.
    pub require_expiry: bool,
    /// The longest time from creation to expiry. If set, every token must expire.
    pub max_lifetime: Option<Lifetime>,
    /// The lifetime of a token whose expiry was not chosen.
    pub default_lifetime: Option<Lifetime>,
    /// The scopes that a token may have.
    pub allowed_scopes: AllowedScopes,
    /// The networks that a token may be used from.
    pub allowed_addresses: AllowedAddresses,
    /// The most active tokens that a workspace may have. A token that is being replaced does not count.
    pub max_active_tokens: Option<NonZeroU32>,
}

/// The scopes that tokens may have. An empty list never means "all": that is a variant of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedScopes {
    /// All scopes.
    Any,
    /// Only these scopes. Never empty.
    Only(ScopeNames),
}

/// At least one scope and at most as many as a catalog can have, without duplicates. Names instead of bits, since a
/// later catalog may lack one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeNames(BTreeSet<ScopeName>);

/// What a policy does to tokens that are older than it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ExistingTokens {
    /// They keep their expiry.
    #[default]
    Keep,
    /// They expire no later than `max_lifetime` after the policy was set.
    Apply,
}

/// A policy with rules that do not contradict each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    rules: Rules,
    existing_tokens: ExistingTokens,
}

/// Two rules that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyConflict {
    /// The default lifetime exceeds the maximum, so every token without a chosen expiry would be rejected.
    #[error("default_lifetime is longer than max_lifetime")]
    DefaultAboveMax,
    /// The policy is to apply to existing tokens but has no `max_lifetime`.
    #[error("existing_tokens can't be APPLY without max_lifetime")]
    ApplyWithoutMax,
}

impl Rules {
    /// The largest value of `max_active_tokens`. Active tokens are counted each time one is created.
    pub const MAX_ACTIVE_TOKENS: u32 = 1_000_000;
}

/// Rules that require nothing.
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
    /// The most scopes in a list.
    pub const MAX: usize = ScopeSet::CAPACITY;

    /// Creates a list; `None` unless it has 1 to [`ScopeNames::MAX`] names.
    #[must_use]
    pub fn new(names: BTreeSet<ScopeName>) -> Option<Self> {
        (1..=Self::MAX).contains(&names.len()).then_some(Self(names))
    }

    /// Returns the names.
    #[must_use]
    pub const fn as_set(&self) -> &BTreeSet<ScopeName> {
        &self.0
    }
}

impl Policy {
    /// Creates a policy.
    ///
    /// # Errors
    /// [`PolicyConflict`].
    pub fn new(rules: Rules, existing_tokens: ExistingTokens) -> Result<Self, PolicyConflict> {
        let Rules {
            max_lifetime,
            default_lifetime,
            ..
        } = rules;
        match (max_lifetime, default_lifetime, existing_tokens) {
            (Some(max), Some(default), _) if default > max => Err(PolicyConflict::DefaultAboveMax),
            (None, _, ExistingTokens::Apply) => Err(PolicyConflict::ApplyWithoutMax),
            _ => Ok(Self { rules, existing_tokens }),
        }
    }

    /// Returns what the policy requires of tokens that are created or rotated.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Returns what the policy does to tokens that are older than it.
    #[must_use]
    pub const fn existing_tokens(&self) -> ExistingTokens {
        self.existing_tokens
    }

    /// Returns the lifetime that the policy applies to tokens that are older than it, if it does.
    #[must_use]
    pub fn applied_lifetime(&self) -> Option<Lifetime> {
        self.rules
            .max_lifetime
            .filter(|_| self.existing_tokens == ExistingTokens::Apply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetimes(max: Option<u64>, default: Option<u64>) -> Rules {
        let lifetime = |micros: u64| Lifetime::from_micros(micros).expect("in range");
        Rules {
            max_lifetime: max.map(lifetime),
            default_lifetime: default.map(lifetime),
            ..Rules::default()
        }
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
        let applied =
            |max, existing| Policy::new(lifetimes(max, None), existing).map(|policy| policy.applied_lifetime());
        assert_eq!(
            applied(None, ExistingTokens::Apply),
            Err(PolicyConflict::ApplyWithoutMax)
        );
        assert_eq!(
            applied(Some(2), ExistingTokens::Apply),
            Ok(Some(Lifetime::from_micros(2).expect("in range")))
        );
        assert_eq!(applied(Some(2), ExistingTokens::Keep), Ok(None));
        assert_eq!(applied(None, ExistingTokens::Keep), Ok(None));
    }

    #[test]
    fn a_list_of_scopes_is_never_empty() {
        let many = |count: usize| {
            (0..count)
                .map(|n| format!("s{n}").parse().expect("a scope's name"))
                .collect()
        };
        assert!(ScopeNames::new(many(0)).is_none());
        assert_eq!(ScopeNames::new(many(256)).map(|names| names.as_set().len()), Some(256));
        assert!(ScopeNames::new(many(257)).is_none());
    }
}
