//! Usage: when a token was last used, from where, and which scopes were required.
//!
//! No verdict and no permission depends on usage. Several servers see uses at the same time and store them late, in any
//! order, and some twice. [`Usage::merge`] is commutative, associative and idempotent, so that the result is the same
//! nevertheless.

use std::{collections::BTreeSet, net::IpAddr};

use crate::{
    scope::{GrantedScopes, ScopeCatalog, ScopeName, ScopeSet},
    time::Timestamp,
};

/// One use of a token: a Verify that was answered with ALLOW.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenUse {
    /// The database time of the verdict.
    pub at: Timestamp,
    /// The client's address, if known.
    pub address: Option<IpAddr>,
    /// The scopes that the request required, without those that they imply.
    pub asked: ScopeSet,
}

/// The uses of one token that one server has seen and not stored yet. Recording a use allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenUses {
    last: Timestamp,
    addresses: RecentAddresses,
    asked: ScopeSet,
}

/// The stored usage of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// When the token was last used.
    pub last_used_time: Timestamp,
    /// The addresses that it was last used from.
    pub addresses: RecentAddresses,
    /// Every scope that a successful Verify required, without those that they imply. Stored by name, since catalogs
    /// change.
    pub asked_scopes: BTreeSet<ScopeName>,
}

/// The last five distinct client addresses, each with the time of its last use, latest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecentAddresses([Option<(Timestamp, IpAddr)>; Self::MAX]);

impl SeenUses {
    /// Starts with a first use.
    #[must_use]
    pub fn first(used: &TokenUse) -> Self {
        let mut seen = Self {
            last: used.at,
            addresses: RecentAddresses::default(),
            asked: ScopeSet::EMPTY,
        };
        seen.record(used);
        seen
    }

    /// Records one more use. Uses may come in any order.
    pub fn record(&mut self, used: &TokenUse) {
        let TokenUse { at, address, asked } = *used;
        self.last = self.last.max(at);
        self.asked = self.asked.union(asked);
        if let Some(address) = address {
            self.addresses.record(at, address);
        }
    }

    /// Returns the uses in stored form. `catalog` must be the one that the requests were resolved with.
    #[must_use]
    pub fn to_usage(&self, catalog: &ScopeCatalog) -> Usage {
        let Self { last, addresses, asked } = *self;
        Usage {
            last_used_time: last,
            addresses,
            asked_scopes: catalog.names(asked).cloned().collect(),
        }
    }
}

impl Usage {
    /// Merges the usage that was recorded elsewhere: the later time, the latest addresses, and all scopes of both.
    pub fn merge(&mut self, other: &Self) {
        let Self {
            last_used_time,
            addresses,
            asked_scopes,
        } = other;
        self.last_used_time = self.last_used_time.max(*last_used_time);
        addresses
            .iter()
            .for_each(|(at, address)| self.addresses.record(at, address));
        self.asked_scopes.extend(asked_scopes.iter().cloned());
    }
}

impl RecentAddresses {
    /// The number of addresses that are kept.
    pub const MAX: usize = 5;

    /// Records that an address was used at this time. IPv4-mapped addresses (RFC 4291 section 2.5.5.2) count as IPv4
    /// addresses.
    pub fn record(&mut self, at: Timestamp, address: IpAddr) {
        let address = address.to_canonical();
        let is_known = |seen: &Option<(Timestamp, IpAddr)>| seen.is_some_and(|(_, known)| known == address);
        // A new address takes the last place if that is free or holds an older time.
        let place = self.0.iter().position(is_known).unwrap_or(Self::MAX - 1);
        self.0[place] = self.0[place].max(Some((at, address)));
        self.0.sort_unstable_by(|one, other| other.cmp(one));
    }

    /// Returns the addresses and the time of each one's last use, latest first. Equal times are ordered by address.
    pub fn iter(&self) -> impl Iterator<Item = (Timestamp, IpAddr)> {
        self.0.iter().copied().flatten()
    }
}

impl FromIterator<(Timestamp, IpAddr)> for RecentAddresses {
    fn from_iter<I: IntoIterator<Item = (Timestamp, IpAddr)>>(seen: I) -> Self {
        let mut addresses = Self::default();
        seen.into_iter().for_each(|(at, address)| addresses.record(at, address));
        addresses
    }
}

/// Returns the granted scopes that were never needed: no required scope names or, by `catalog`, implies them. All
/// granted scopes if the token was never used. `repository:write` counts as unused if only `repository` was ever
/// required, since `repository` would have been enough.
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
        // A scope that an earlier catalog had.
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
        seen.iter()
            .map(|(micros, text)| (at(*micros), text.parse().expect("an address")))
            .collect()
    }

    fn shown(addresses: &RecentAddresses) -> Vec<String> {
        addresses
            .iter()
            .map(|(at, address)| format!("{address}@{}", at.unix_micros()))
            .collect()
    }

    #[test]
    fn the_sixth_address_drops_the_one_seen_longest_ago() {
        let mut recent = addresses(&[
            (1, "192.0.2.1"),
            (2, "192.0.2.2"),
            (3, "2001:db8::3"),
            (4, "192.0.2.4"),
            (5, "192.0.2.5"),
        ]);
        recent.record(at(6), "192.0.2.1".parse().expect("an address"));
        recent.record(at(7), "192.0.2.6".parse().expect("an address"));
        assert_eq!(
            shown(&recent),
            [
                "192.0.2.6@7",
                "192.0.2.1@6",
                "192.0.2.5@5",
                "192.0.2.4@4",
                "2001:db8::3@3"
            ]
        );
        // A use that arrives late and is older than all recorded ones.
        recent.record(at(2), "192.0.2.7".parse().expect("an address"));
        recent.record(at(2), "192.0.2.1".parse().expect("an address"));
        assert_eq!(
            shown(&recent),
            [
                "192.0.2.6@7",
                "192.0.2.1@6",
                "192.0.2.5@5",
                "192.0.2.4@4",
                "2001:db8::3@3"
            ]
        );
    }

    #[test]
    fn mapped_addresses_are_the_ipv4_ones() {
        assert_eq!(
            shown(&addresses(&[(1, "::ffff:192.0.2.1"), (2, "192.0.2.1")])),
            ["192.0.2.1@2"]
        );
    }
}
