//! Usage: uses that are recorded in any order, on any server and repeatedly have the same result.

use std::{collections::BTreeSet, net::IpAddr};

use proptest::prelude::*;
use tokend_core::{
    scope::{GrantedScopes, ScopeCatalog, ScopeName, ScopeSet},
    time::Timestamp,
    token::usage::{RecentAddresses, SeenUses, TokenUse, Usage, unused_scopes},
};

use crate::samples::{at, names};

/// More addresses than are kept. The last two are the same one.
const ADDRESSES: [&str; 9] = [
    "192.0.2.1",
    "192.0.2.2",
    "192.0.2.3",
    "192.0.2.4",
    "2001:db8::1",
    "2001:db8::2",
    "2001:db8::3",
    "198.51.100.1",
    "::ffff:198.51.100.1",
];

fn catalog() -> ScopeCatalog {
    ScopeCatalog::bitbucket().expect("a catalogue")
}

fn scope_sets() -> impl Strategy<Value = ScopeSet> {
    let names: Vec<_> = catalog().scopes().iter().map(|scope| scope.name.to_string()).collect();
    prop::sample::subsequence(names, 0..3).prop_map(|names| {
        let catalog = catalog();
        names
            .iter()
            .filter_map(|name| catalog.scope(name))
            .fold(ScopeSet::EMPTY, ScopeSet::union)
    })
}

fn uses() -> impl Strategy<Value = TokenUse> {
    let address = prop::option::of(prop::sample::select(ADDRESSES.to_vec()));
    // So few times that some are equal.
    (0_i64..12, address, scope_sets()).prop_map(|(micros, address, asked)| TokenUse {
        at: at(micros),
        address: address.map(|text| text.parse().expect("an address")),
        asked,
    })
}

fn histories() -> impl Strategy<Value = Vec<TokenUse>> {
    prop::collection::vec(uses(), 1..16)
}

fn usage(history: &[TokenUse]) -> Usage {
    let (first, rest) = history.split_first().expect("at least one");
    let mut seen = SeenUses::first(first);
    rest.iter().for_each(|used| seen.record(used));
    seen.to_usage(&catalog())
}

fn merged(one: &Usage, other: &Usage) -> Usage {
    let mut merged = one.clone();
    merged.merge(other);
    merged
}

/// The model: the last time, the addresses, and the scopes of a history.
fn model(history: &[TokenUse]) -> (Timestamp, Vec<(Timestamp, IpAddr)>, BTreeSet<ScopeName>) {
    let mut seen: Vec<(_, IpAddr)> = history
        .iter()
        .filter_map(|used| Some((used.at, used.address?.to_canonical())))
        .collect();
    seen.sort_unstable();
    seen.reverse();
    let mut known = BTreeSet::new();
    seen.retain(|(_, address)| known.insert(*address));
    seen.truncate(5);
    let catalog = catalog();
    let last = history.iter().map(|used| used.at).max().expect("at least one");
    (
        last,
        seen,
        history
            .iter()
            .flat_map(|used| catalog.names(used.asked))
            .cloned()
            .collect(),
    )
}

fn addresses(usage: &Usage) -> Vec<IpAddr> {
    usage.addresses.iter().map(|(_, address)| address).collect()
}

proptest! {
    #[test]
    fn usage_matches_the_history(history in histories()) {
        let Usage { last_used_time, addresses, asked_scopes } = usage(&history);
        prop_assert_eq!((last_used_time, addresses.iter().collect(), asked_scopes), model(&history));
    }

    /// Uses are spread over servers and batches, which are stored in any order.
    #[test]
    fn batches_in_any_order_have_the_same_result(
        history in histories(),
        spread in prop::collection::vec(0_usize..4, 16),
        turn in 0_usize..4,
    ) {
        let whole = usage(&history);
        let batches = (0..4).map(|batch| (batch + turn) % 4).map(|batch| -> Vec<TokenUse> {
            history.iter().zip(&spread).filter(|(_, of)| **of == batch).map(|(used, _)| *used).collect()
        });
        let parts: Vec<_> = batches.filter(|batch| !batch.is_empty()).map(|batch| usage(&batch)).collect();
        let (first, rest) = parts.split_first().expect("at least one");
        let gathered = rest.iter().fold(first.clone(), |gathered, part| merged(&gathered, part));
        prop_assert_eq!(&gathered, &whole);
        // A batch that is stored twice.
        prop_assert_eq!(&parts.iter().fold(gathered, |gathered, part| merged(&gathered, part)), &whole);
    }

    #[test]
    fn merging_is_commutative_associative_and_idempotent(one in histories(), two in histories(), three in histories()) {
        let [one, two, three] = [one, two, three].map(|history| usage(&history));
        prop_assert_eq!(merged(&one, &two), merged(&two, &one));
        prop_assert_eq!(merged(&merged(&one, &two), &three), merged(&one, &merged(&two, &three)));
        prop_assert_eq!(merged(&one, &one), one);
    }

    #[test]
    fn the_latest_addresses_are_kept_once_each(history in histories()) {
        let usage = usage(&history);
        let listed = addresses(&usage);
        prop_assert!(listed.len() <= 5);
        prop_assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len());
        let times: Vec<_> = usage.addresses.iter().map(|(at, _)| at).collect();
        prop_assert!(times.is_sorted_by(|earlier, later| earlier >= later));
        // An address that is left out was not used after those that are kept.
        for used in &history {
            let Some(address) = used.address.map(|address| address.to_canonical()) else { continue };
            prop_assert!(listed.contains(&address) || times.last().is_some_and(|oldest| used.at <= *oldest));
        }
    }

    /// A token reduced to the scopes that were needed would have been allowed every use.
    #[test]
    fn the_used_scopes_were_sufficient(history in histories(), granted in scope_sets()) {
        let catalog = catalog();
        let granted: Vec<_> = catalog.names(granted).map(ToString::to_string).collect();
        prop_assume!(!granted.is_empty());
        let granted = GrantedScopes::grant(&catalog, &granted).expect("scopes");
        // Only granted scopes were ever required successfully.
        let had = granted.compile(&catalog);
        let history: Vec<_> = history.into_iter().filter(|used| used.asked.is_subset(had)).collect();
        prop_assume!(!history.is_empty());
        let usage = usage(&history);
        let unused: BTreeSet<_> = unused_scopes(&granted, Some(&usage), &catalog).cloned().collect();
        for used in &history {
            let needed = catalog.closure(used.asked);
            prop_assert!(
                catalog.names(needed).all(|name| !unused.contains(name)),
                "a required scope is reported as unused"
            );
        }
        let left: Vec<ScopeName> = granted.granted().iter().filter(|name| !unused.contains(*name)).cloned().collect();
        let all_asked = history.iter().fold(ScopeSet::EMPTY, |all, used| all.union(used.asked));
        for name in left {
            let scope = catalog.scope(name.as_str()).expect("of the catalogue");
            prop_assert!(scope.is_subset(catalog.closure(all_asked)), "{} was never needed", name);
        }
    }
}

fn unused(granted: &[&str], asked: &[&str]) -> Vec<String> {
    let granted = GrantedScopes::grant(&catalog(), granted).expect("scopes");
    let usage = Usage {
        last_used_time: at(0),
        addresses: RecentAddresses::default(),
        asked_scopes: names(asked).into_iter().collect(),
    };
    unused_scopes(&granted, Some(&usage), &catalog())
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_use_counts_for_every_scope_that_implies_it() {
    assert_eq!(
        unused(&["repository", "repository:write"], &["repository:write"]),
        [""; 0]
    );
    assert_eq!(
        unused(&["repository", "pullrequest:write"], &["pullrequest"]),
        ["pullrequest:write"]
    );
}

#[test]
fn a_use_does_not_count_for_implied_scopes() {
    assert_eq!(unused(&["repository:write"], &["repository"]), ["repository:write"]);
}

#[test]
fn all_scopes_of_a_token_that_was_never_used_are_unused() {
    let granted = GrantedScopes::grant(&catalog(), &["repository", "webhook"]).expect("scopes");
    let unused: Vec<_> = unused_scopes(&granted, None, &catalog()).cloned().collect();
    assert_eq!(unused, names(&["repository", "webhook"]));
    // A use may need no scope at all.
    assert_eq!(self::unused(&["repository", "webhook"], &[]), ["repository", "webhook"]);
}

#[test]
fn scopes_missing_from_the_catalogue_are_reported_by_name() {
    let granted = names(&["old:one", "old:two", "repository"]);
    let granted = GrantedScopes::from_stored(1, granted.clone(), granted).expect("scopes");
    let usage = Usage {
        last_used_time: at(0),
        addresses: RecentAddresses::default(),
        asked_scopes: names(&["old:one", "very:old"]).into_iter().collect(),
    };
    let unused: Vec<_> = unused_scopes(&granted, Some(&usage), &catalog()).cloned().collect();
    assert_eq!(unused, names(&["old:two", "repository"]));
}
