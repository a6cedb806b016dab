//! The combination of two policies, compared with each of them.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU32,
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;
use tokend_core::{
    address::{AllowedAddresses, Networks},
    policy::{AdmissionError, AdmittedToken, AllowedScopes, RequestedToken, Rule, Rules, Source},
    scope::GrantedScopes,
    token::Expiry,
};

use super::{NOW, admit, broken, catalog, granted, lifetime, scopes};
use crate::samples::at;

/// The last byte of every address in these tests.
const BYTES: std::ops::RangeInclusive<u8> = 0..=255;

fn addresses() -> impl Iterator<Item = IpAddr> {
    let v6 = |byte| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, byte).into();
    BYTES.flat_map(move |byte| [Ipv4Addr::new(192, 0, 2, byte).into(), v6(byte.into())])
}

fn a_network() -> impl Strategy<Value = IpNet> {
    (any::<bool>(), any::<u8>(), 0..=8u8).prop_map(|(is_v4, byte, bits)| {
        let network = if is_v4 {
            Ipv4Net::new(Ipv4Addr::new(192, 0, 2, byte), 24 + bits).map(IpNet::V4)
        } else {
            Ipv6Net::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, byte.into()), 120 + bits).map(IpNet::V6)
        };
        network.expect("a prefix").trunc()
    })
}

fn allowed_addresses() -> impl Strategy<Value = AllowedAddresses> {
    prop_oneof![
        Just(AllowedAddresses::Any),
        prop::collection::vec(a_network(), 1..6)
            .prop_map(|list| AllowedAddresses::Only(Networks::new(list).expect("1 to 5"))),
    ]
}

/// Scopes that imply one another, one that implies nothing, and one that the catalog lacks.
const SCOPES: [&str; 7] = [
    "project",
    "repository",
    "repository:write",
    "pullrequest",
    "pullrequest:write",
    "repository:admin",
    "legacy",
];

fn allowed_scopes() -> impl Strategy<Value = AllowedScopes> {
    prop_oneof![
        Just(AllowedScopes::Any),
        prop::sample::subsequence(SCOPES.to_vec(), 1..=SCOPES.len()).prop_map(|names| scopes(&names)),
    ]
}

prop_compose! {
    fn a_policy()(
        require_expiry in any::<bool>(),
        max in prop::option::of(1..50u64),
        default in prop::option::of(1..50u64),
        allowed_scopes in allowed_scopes(),
        allowed_addresses in allowed_addresses(),
        most in prop::option::of(1..4u32),
    ) -> Rules {
        Rules {
            require_expiry,
            max_lifetime: max.map(lifetime),
            default_lifetime: default.map(|default| lifetime(default.min(max.unwrap_or(default)))),
            allowed_scopes,
            allowed_addresses,
            max_active_tokens: most.and_then(NonZeroU32::new),
        }
    }
}

fn expiry() -> impl Strategy<Value = Option<Expiry>> {
    let chosen = prop_oneof![
        Just(Expiry::Never),
        (1..60i64).prop_map(|micros| Expiry::At(at(NOW + micros)))
    ];
    prop::option::of(chosen)
}

/// The model: whether a token breaks a rule of one policy.
fn breaks(rules: &Rules, rule: Rule, asked: &RequestedToken<'_>) -> bool {
    let end = asked.expiry.expect("chosen").time();
    match rule {
        Rule::RequireExpiry => rules.require_expiry && end.is_none(),
        Rule::MaxLifetime => rules.max_lifetime.is_some_and(|max| match end {
            None => true,
            Some(end) => end.saturating_since(at(NOW)) > Duration::from_micros(max.micros()),
        }),
        Rule::AllowedScopes => match &rules.allowed_scopes {
            AllowedScopes::Any => false,
            AllowedScopes::Only(names) => {
                let catalog = catalog();
                let one =
                    |name: &str| GrantedScopes::grant(&catalog, &[name]).map(|granted| granted.effective().to_vec());
                let allowed: BTreeSet<_> = names
                    .as_set()
                    .iter()
                    .flat_map(|name| one(name.as_str()).unwrap_or_default())
                    .collect();
                asked.scopes.effective().iter().any(|name| !allowed.contains(name))
            }
        },
        Rule::AllowedCidrs => addresses().any(|address| {
            asked.allowed_addresses.allow(Some(address)) && !rules.allowed_addresses.allow(Some(address))
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    /// The combination allows exactly what both policies allow. An error lists every broken rule once, with its policy.
    #[test]
    fn the_combination_allows_what_both_policies_allow(
        (organization, workspace) in (a_policy(), a_policy()),
        expiry in expiry(),
        asked in prop::sample::subsequence(SCOPES[..6].to_vec(), 1..4),
        own in prop::collection::vec(a_network(), 1..4),
    ) {
        let own = AllowedAddresses::Only(Networks::new(own).expect("1 to 3"));
        let chosen = Some(expiry.unwrap_or(Expiry::Never));
        let asked = RequestedToken { expiry: chosen, scopes: &granted(&asked), allowed_addresses: &own };
        let expected: Vec<_> = Rule::ALL
            .into_iter()
            .filter_map(|rule| match [&organization, &workspace].map(|rules| breaks(rules, rule, &asked)) {
                [false, false] => None,
                [true, false] => Some((rule, Source::Organization)),
                [false, true] => Some((rule, Source::Workspace)),
                [true, true] => Some((rule, Source::Both)),
            })
            .collect();
        prop_assert_eq!(broken(&organization, &workspace, &asked), expected);
        // In either order.
        prop_assert_eq!(
            broken(&organization, &workspace, &asked).is_empty(),
            broken(&workspace, &organization, &asked).is_empty()
        );
    }

    /// Both policies allow what is filled in, and no network that both allow is left out.
    #[test]
    fn policies_allow_the_values_that_they_fill_in(
        (organization, workspace) in (a_policy(), a_policy()),
        chosen in expiry(),
    ) {
        let scopes = granted(&["repository"]);
        let asked = RequestedToken { expiry: chosen, scopes: &scopes, allowed_addresses: &AllowedAddresses::Any };
        let has_default = organization.default_lifetime.is_some() || workspace.default_lifetime.is_some();
        match admit(&organization, &workspace, &asked) {
            Err(AdmissionError::NoExpiry) => prop_assert!(chosen.is_none() && !has_default),
            Err(AdmissionError::Violations(violations)) => {
                let rules: Vec<_> = violations.iter().map(|violation| violation.rule).collect();
                if chosen.is_none() {
                    prop_assert!(
                        !rules.contains(&Rule::RequireExpiry) && !rules.contains(&Rule::MaxLifetime),
                        "{:?}",
                        rules
                    );
                }
                let both = |address| {
                    organization.allowed_addresses.allow(Some(address))
                        && workspace.allowed_addresses.allow(Some(address))
                };
                prop_assert_eq!(rules.contains(&Rule::AllowedCidrs), !addresses().any(both));
            }
            Ok(AdmittedToken { expiry, allowed_addresses }) => {
                prop_assert!(chosen.is_none_or(|chosen| chosen == expiry), "a chosen expiry is kept");
                prop_assert!(chosen.is_some() || has_default);
                let filled = RequestedToken {
                    expiry: Some(expiry),
                    scopes: &scopes,
                    allowed_addresses: &allowed_addresses,
                };
                for rules in [&organization, &workspace] {
                    prop_assert!(
                        Rule::ALL
                            .into_iter()
                            .all(|rule| !breaks(rules, rule, &filled)),
                        "{:?} by {:?}",
                        filled,
                        rules
                    );
                }
                for address in addresses() {
                    let both = [&organization, &workspace].map(|rules| rules.allowed_addresses.allow(Some(address)));
                    prop_assert_eq!(allowed_addresses.allow(Some(address)), both == [true, true], "{}", address);
                }
                let is_anywhere =
                    [&organization, &workspace].map(|rules| rules.allowed_addresses == AllowedAddresses::Any);
                prop_assert_eq!(allowed_addresses == AllowedAddresses::Any, is_anywhere == [true, true]);
            }
        }
    }
}
