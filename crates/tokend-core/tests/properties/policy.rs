//! Policies in their stored form: they are read back as written, and have one spelling.

use std::{collections::BTreeSet, num::NonZeroU32};

use proptest::prelude::*;
use tokend_core::{
    address::AllowedAddresses,
    policy::{AllowedScopes, ExistingTokens, Lifetime, Policy, PolicyState, Rules, ScopeNames},
};

use crate::samples::{at, only};

/// A policy with every rule set.
fn full() -> Policy {
    let rules = Rules {
        require_expiry: true,
        max_lifetime: Some(Lifetime::from_micros(3_600_000_000).expect("in range")),
        default_lifetime: Some(Lifetime::from_micros(1).expect("in range")),
        allowed_scopes: AllowedScopes::Only(scopes(&["repository", "webhook"])),
        allowed_addresses: only(&["192.0.2.0/24", "2001:db8::/32"]),
        max_active_tokens: NonZeroU32::new(20),
    };
    Policy::new(rules, ExistingTokens::Apply).expect("the policy is valid")
}

fn scopes(names: &[&str]) -> ScopeNames {
    ScopeNames::new(names.iter().map(|name| name.parse().expect("well-formed")).collect()).expect("not empty")
}

/// Pins the form: a change that fails here makes every stored policy unreadable.
#[test]
fn known_form() {
    assert_eq!(
        full().to_string(),
        "{\"require_expiry\":true,\"max_lifetime\":3600000000,\"default_lifetime\":1,\
         \"allowed_scopes\":[\"repository\",\"webhook\"],\
         \"allowed_cidrs\":[\"192.0.2.0/24\",\"2001:db8::/32\"],\"max_active_tokens\":20,\"applied\":true}"
    );
    assert_eq!(Policy::default().to_string(), "{}");
}

#[test]
fn invalid_policies_are_rejected() {
    for bad in [
        "",
        "null",
        "{\"future_rule\":1}",
        "{\"max_lifetime\":0}",
        "{\"max_lifetime\":3153600000000001}",
        "{\"max_lifetime\":1,\"default_lifetime\":2}",
        "{\"applied\":true}",
        "{\"allowed_scopes\":[]}",
        "{\"allowed_scopes\":[\"*\"]}",
        "{\"allowed_cidrs\":[]}",
        "{\"allowed_cidrs\":[\"192.0.2.1/24\"]}",
        "{\"max_active_tokens\":0}",
    ] {
        assert!(bad.parse::<Policy>().is_err(), "{bad}");
    }
}

#[test]
fn different_policies_have_different_etags() {
    let never_set = PolicyState::default();
    assert_eq!(never_set.policy(), Ok(Policy::default()));
    let emptied = never_set.set(&Policy::default(), &Policy::default(), at(1));
    let filled = emptied.set(&Policy::default(), &full(), at(2));
    let again = filled.set(&full(), &full(), at(3));
    assert_eq!(filled.policy(), Ok(full()));
    let etags: BTreeSet<_> = [&never_set, &emptied, &filled, &again]
        .into_iter()
        .map(PolicyState::etag)
        .collect();
    assert_eq!(etags.len(), 3);
    assert_eq!(again, filled, "setting a policy again changes nothing");
    assert_eq!(never_set.etag(), PolicyState::default().etag());
}

fn policies() -> impl Strategy<Value = Policy> {
    let lifetime = || {
        prop::option::of(
            (1..=Lifetime::MAX.micros()).prop_map(|micros| Lifetime::from_micros(micros).expect("in range")),
        )
    };
    let scopes =
        prop::option::of(prop::sample::subsequence(vec!["a", "a:b", "c"], 1..=3)).prop_map(|names| match names {
            None => AllowedScopes::Any,
            Some(names) => AllowedScopes::Only(scopes(&names)),
        });
    let networks = prop::option::of(prop::sample::subsequence(
        vec!["0.0.0.0/0", "::/0", "192.0.2.0/24"],
        1..=3,
    ));
    let addresses = networks.prop_map(|networks| networks.map_or(AllowedAddresses::Any, |networks| only(&networks)));
    let most =
        prop::option::of((1..=Rules::MAX_ACTIVE_TOKENS).prop_map(|most| NonZeroU32::new(most).expect("not zero")));
    (
        any::<bool>(),
        lifetime(),
        lifetime(),
        scopes,
        addresses,
        most,
        any::<bool>(),
    )
        .prop_filter_map(
            "it fits together",
            |(
                require_expiry,
                max_lifetime,
                default_lifetime,
                allowed_scopes,
                allowed_addresses,
                max_active_tokens,
                applied,
            )| {
                let rules = Rules {
                    require_expiry,
                    max_lifetime,
                    default_lifetime,
                    allowed_scopes,
                    allowed_addresses,
                    max_active_tokens,
                };
                Policy::new(
                    rules,
                    if applied {
                        ExistingTokens::Apply
                    } else {
                        ExistingTokens::Keep
                    },
                )
                .ok()
            },
        )
}

proptest! {
    #[test]
    fn stored_policies_are_read_back(policy in policies()) {
        prop_assert_eq!(policy.to_string().parse(), Ok(policy));
    }
}
