//! What use is made of a token: when it was used last, from where, and what was asked of it.
//!
//! No verdict and no permission rests on it. Several servers see uses at the same time and write them down late, in any order, some
//! twice: [`Usage::merge`] is commutative, associative and idempotent, so that they all come to the same.

use std::{collections::BTreeSet, net::IpAddr};

use crate::{
    scope::{GrantedScopes, ScopeCatalog, ScopeName, ScopeSet},
    time::Timestamp,
};

/// One use: a question about a token that was answered ALLOW.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenUse {
    /// When: the database time of the verdict.
    pub at: Timestamp,
    /// From where, if known.
    pub address: Option<IpAddr>,
    /// What it needed, without what that implies.
    pub asked: ScopeSet,
}

/// What one server saw of a token's use for a while. Noting a use allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenUses {
    last: Timestamp,
    addresses: RecentAddresses,
    asked: ScopeSet,
}

/// What is known of a token's use, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// When it was used last.
    pub last_used_time: Timestamp,
    /// From where it was used last.
    pub addresses: RecentAddresses,
    /// Every scope that was ever asked of it and that it had, without what that implies. By name: catalogues change.
    pub asked_scopes: BTreeSet<ScopeName>,
}

/// The client addresses that were seen last, five at most, each once, and when: the latest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecentAddresses([Option<(Timestamp, IpAddr)>; Self::MAX]);

impl SeenUses {
    /// The first use.
    #[must_use]
    pub fn first(used: &TokenUse) -> Self {
        let mut seen = Self { last: used.at, addresses: RecentAddresses::default(), asked: ScopeSet::EMPTY };
        seen.note(used);
        seen
    }

    /// One more use, be it an earlier one.
    pub fn note(&mut self, used: &TokenUse) {
        let TokenUse { at, address, asked } = *used;
        self.last = self.last.max(at);
        self.asked = self.asked.union(asked);
        if let Some(address) = address {
            self.addresses.note(at, address);
        }
    }

    /// The same, as it is kept. `catalog` is the one that the questions were read with.
    #[must_use]
    pub fn to_usage(&self, catalog: &ScopeCatalog) -> Usage {
        let Self { last, addresses, asked } = *self;
        Usage { last_used_time: last, addresses, asked_scopes: catalog.names(asked).cloned().collect() }
    }
}

impl Usage {
    /// Adds what was known elsewhere: the later time, the latest addresses of both, the scopes of both.
    pub fn merge(&mut self, other: &Self) {
        let Self { last_used_time, addresses, asked_scopes } = other;
        self.last_used_time = self.last_used_time.max(*last_used_time);
        addresses.iter().for_each(|(at, address)| self.addresses.note(at, address));
        self.asked_scopes.extend(asked_scopes.iter().cloned());
    }
}

impl RecentAddresses {
    /// Most addresses.
    pub const MAX: usize = 5;

    /// Adds an address that was seen at this time. IPv4-mapped addresses (RFC 4291 section 2.5.5.2) are the IPv4 ones.
    pub fn note(&mut self, at: Timestamp, address: IpAddr) {
        let address = address.to_canonical();
        let is_known = |seen: &Option<(Timestamp, IpAddr)>| seen.is_some_and(|(_, known)| known == address);
        // A new one takes the last place: a free one, or that of the oldest if it is newer.
        let place = self.0.iter().position(is_known).unwrap_or(Self::MAX - 1);
        self.0[place] = self.0[place].max(Some((at, address)));
        self.0.sort_unstable_by(|one, other| other.cmp(one));
    }

    /// The addresses and when each was seen last, the latest first; of the same time in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (Timestamp, IpAddr)> {
        self.0.iter().copied().flatten()
    }
}

impl FromIterator<(Timestamp, IpAddr)> for RecentAddresses {
    fn from_iter<I: IntoIterator<Item = (Timestamp, IpAddr)>>(seen: I) -> Self {
        let mut addresses = Self::default();
        seen.into_iter().for_each(|(at, address)| addresses.note(at, address));
        addresses
    }
}

/// The granted scopes of a token that were never needed: neither asked for nor implied, by `catalog`, by one that was. All of them if it was
/// never used. `repository:write` of which only `repository` was ever asked is unused: `repository` would do.
pub fn unused_scopes<'a>(
    granted: &'a GrantedScopes,
    usage: Option<&Usage>,
    catalog: &ScopeCatalog,
) -> impl Iterator<Item = &'a ScopeName> {
    let asked = usage.map(|usage| usage.asked_scopes.clone()).unwrap_or_default();
    let known = asked.iter().filter_map(|name| catalog.scope(name.as_str()));
    let needed = catalog.closure(known.fold(ScopeSet::EMPTY, ScopeSet::union));
    let is_needed = move |name: &ScopeName| match catalog.scope(name.as_str()) {
        Some(scope) => scope.is_subset(needed),
        // One that the catalogue had once.
        None => asked.contains(name),
    };
    granted.granted().iter().filter(move |name| !is_needed(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_unix_micros(micros).expect("in range")
    }

    fn addresses(seen: &[(i64, &str)]) -> RecentAddresses {
        seen.iter().map(|(micros, text)| (at(*micros), text.parse().expect("an address"))).collect()
    }

    fn told(addresses: &RecentAddresses) -> Vec<String> {
        addresses.iter().map(|(at, address)| format!("{address}@{}", at.unix_micros())).collect()
    }

    #[test]
    fn the_sixth_address_drops_the_one_seen_longest_ago() {
        let mut recent = addresses(&[(1, "192.0.2.1"), (2, "192.0.2.2"), (3, "2001:db8::3"), (4, "192.0.2.4"), (5, "192.0.2.5")]);
        recent.note(at(6), "192.0.2.1".parse().expect("an address"));
        recent.note(at(7), "192.0.2.6".parse().expect("an address"));
        assert_eq!(told(&recent), ["192.0.2.6@7", "192.0.2.1@6", "192.0.2.5@5", "192.0.2.4@4", "2001:db8::3@3"]);
        // Whatever comes late and is older than all of them.
        recent.note(at(2), "192.0.2.7".parse().expect("an address"));
        recent.note(at(2), "192.0.2.1".parse().expect("an address"));
        assert_eq!(told(&recent), ["192.0.2.6@7", "192.0.2.1@6", "192.0.2.5@5", "192.0.2.4@4", "2001:db8::3@3"]);
    }

    #[test]
    fn mapped_addresses_are_the_ipv4_ones() {
        assert_eq!(told(&addresses(&[(1, "::ffff:192.0.2.1"), (2, "192.0.2.1")])), ["192.0.2.1@2"]);
    }
}
