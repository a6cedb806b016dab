//! What two policies leave together: what the strictest allows, both allow, and the other way round.

use std::{collections::BTreeSet, num::NonZeroU32};

use ipnet::IpNet;

use super::{AllowedScopes, Lifetime, Rules};
use crate::{
    address::AllowedAddresses,
    scope::{ScopeCatalog, ScopeName, ScopeSet},
};

/// The rules of two policies as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strictest {
    /// Whether each token must have an end: one of the two says so.
    pub require_expiry: bool,
    /// How far its end may lie from its making: the shorter of the two.
    pub max_lifetime: Option<Lifetime>,
    /// How long it lives if nothing is said of its end: the shorter of the two, and never longer than the longest allowed.
    pub default_lifetime: Option<Lifetime>,
    /// What it may permit: these scopes and what they imply.
    pub scopes: Allowed<BTreeSet<ScopeName>>,
    /// Where it may be used from.
    pub networks: Allowed<Vec<IpNet>>,
    /// How many of one workspace may work at once: the smaller of the two.
    pub max_active_tokens: Option<NonZeroU32>,
}

/// What is allowed. Unlike in one policy it may be nothing: where two have nothing in common, no token can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed<T> {
    /// Everything.
    Any,
    /// This only.
    Only(T),
}

impl Strictest {
    /// The strictest of two policies.
    #[must_use]
    pub fn of(one: &Rules, other: &Rules, catalog: &ScopeCatalog) -> Self {
        let max_lifetime = smaller(one.max_lifetime, other.max_lifetime);
        let default_lifetime = smaller(one.default_lifetime, other.default_lifetime);
        let scopes = scopes(one).and(scopes(other), |one, other| common_scopes(&one, &other, catalog));
        let networks = networks(one).and(networks(other), |one, other| common_networks(&one, &other));
        Self {
            require_expiry: one.require_expiry || other.require_expiry,
            max_lifetime,
            default_lifetime: default_lifetime.map(|default| max_lifetime.map_or(default, |max| default.min(max))),
            scopes,
            networks,
            max_active_tokens: smaller(one.max_active_tokens, other.max_active_tokens),
        }
    }
}

impl<T> Allowed<T> {
    fn and(self, other: Self, common: impl FnOnce(T, T) -> T) -> Self {
        match (self, other) {
            (Self::Only(one), Self::Only(other)) => Self::Only(common(one, other)),
            (Self::Any, allowed) | (allowed, Self::Any) => allowed,
        }
    }
}

/// The smaller of two bounds; what is not set bounds nothing.
fn smaller<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).min()
}

fn scopes(rules: &Rules) -> Allowed<BTreeSet<ScopeName>> {
    match &rules.allowed_scopes {
        AllowedScopes::Any => Allowed::Any,
        AllowedScopes::Only(names) => Allowed::Only(names.as_set().clone()),
    }
}

fn networks(rules: &Rules) -> Allowed<Vec<IpNet>> {
    match &rules.allowed_addresses {
        AllowedAddresses::Any => Allowed::Any,
        AllowedAddresses::Only(networks) => Allowed::Only(networks.as_slice().to_vec()),
    }
}

/// The scopes `names` and all that they imply. A name that the catalogue lacks stands for itself.
pub(super) fn closed(names: &BTreeSet<ScopeName>, catalog: &ScopeCatalog) -> BTreeSet<ScopeName> {
    let known = names.iter().filter_map(|name| catalog.scope(name.as_str())).fold(ScopeSet::EMPTY, ScopeSet::union);
    names.iter().chain(catalog.names(catalog.closure(known))).cloned().collect()
}

/// Scopes that stand, with what they imply, for exactly what both lists do: the names that both have, and of the rest those that no
/// other of the rest implies. `repository:write` and `pullrequest` have `repository` in common, though neither list names it.
fn common_scopes(one: &BTreeSet<ScopeName>, other: &BTreeSet<ScopeName>, catalog: &ScopeCatalog) -> BTreeSet<ScopeName> {
    let named: BTreeSet<_> = one.intersection(other).cloned().collect();
    let both = &closed(one, catalog) & &closed(other, catalog);
    let rest = &both - &closed(&named, catalog);
    let implied = |name: &ScopeName| {
        let mut others = rest.iter().filter(|other| *other != name);
        others.any(|other| closed(&BTreeSet::from([other.clone()]), catalog).contains(name))
    };
    let needed: Vec<_> = rest.iter().filter(|name| !implied(name)).cloned().collect();
    named.into_iter().chain(needed).collect()
}

/// The networks that lie in one of both lists. Two networks nest or are apart: what they have in common is the smaller one.
fn common_networks(one: &[IpNet], other: &[IpNet]) -> Vec<IpNet> {
    let lies_in = |network: &IpNet, list: &[IpNet]| list.iter().any(|of_list| of_list.contains(network));
    let mut common: Vec<_> = one.iter().filter(|network| lies_in(network, other)).copied().collect();
    common.extend(other.iter().filter(|network| lies_in(network, one) && !one.contains(network)));
    common
}
