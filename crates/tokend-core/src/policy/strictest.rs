//! The combination of two policies: a token complies with it if and only if it complies with both.

use std::{collections::BTreeSet, num::NonZeroU32};

use ipnet::IpNet;

use super::{AllowedScopes, Lifetime, Rules};
use crate::{
    address::AllowedAddresses,
    scope::{ScopeCatalog, ScopeName, ScopeSet},
};

/// The rules of two policies combined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strictest {
    /// Whether every token must expire: true if either policy says so.
    pub require_expiry: bool,
    /// The longest time from creation to expiry: the shorter of the two.
    pub max_lifetime: Option<Lifetime>,
    /// The lifetime of a token whose expiry was not chosen: the shorter of the two, and at most `max_lifetime`.
    pub default_lifetime: Option<Lifetime>,
    /// The allowed scopes, which include everything that they imply.
    pub scopes: Allowed<BTreeSet<ScopeName>>,
    /// The allowed networks.
    pub networks: Allowed<Vec<IpNet>>,
    /// The most active tokens of a workspace: the smaller of the two.
    pub max_active_tokens: Option<NonZeroU32>,
}

/// What two policies allow together. Unlike in a single policy this may be nothing: then no token can be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed<T> {
    /// Everything.
    Any,
    /// Only this.
    Only(T),
}

impl Strictest {
    /// Combines two policies.
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

/// Returns the smaller of two limits. A limit that is not set is ignored.
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

/// Returns the scopes in `names` with everything that they imply. A name that the catalog lacks implies nothing.
pub(super) fn with_implied(names: &BTreeSet<ScopeName>, catalog: &ScopeCatalog) -> BTreeSet<ScopeName> {
    let known = names
        .iter()
        .filter_map(|name| catalog.scope(name.as_str()))
        .fold(ScopeSet::EMPTY, ScopeSet::union);
    names
        .iter()
        .chain(catalog.names(catalog.closure(known)))
        .cloned()
        .collect()
}

/// Returns the smallest list whose closure is what the closures of both lists have in common: the names that both lists
/// have, and of the other common scopes those that no other implies. `repository:write` and `pullrequest` have
/// `repository` in common, though neither list names it.
fn common_scopes(
    one: &BTreeSet<ScopeName>,
    other: &BTreeSet<ScopeName>,
    catalog: &ScopeCatalog,
) -> BTreeSet<ScopeName> {
    let named: BTreeSet<_> = one.intersection(other).cloned().collect();
    let both = &with_implied(one, catalog) & &with_implied(other, catalog);
    let rest = &both - &with_implied(&named, catalog);
    let implied = |name: &ScopeName| {
        let mut others = rest.iter().filter(|other| *other != name);
        others.any(|other| with_implied(&BTreeSet::from([other.clone()]), catalog).contains(name))
    };
    let needed: Vec<_> = rest.iter().filter(|name| !implied(name)).cloned().collect();
    named.into_iter().chain(needed).collect()
}

/// Returns the networks that both lists cover. Two networks are either nested or disjoint, so what they have in common
/// is the smaller one.
fn common_networks(one: &[IpNet], other: &[IpNet]) -> Vec<IpNet> {
    let lies_in = |network: &IpNet, list: &[IpNet]| list.iter().any(|of_list| of_list.contains(network));
    let mut common: Vec<_> = one.iter().filter(|network| lies_in(network, other)).copied().collect();
    common.extend(
        other
            .iter()
            .filter(|network| lies_in(network, one) && !one.contains(network)),
    );
    common
}
