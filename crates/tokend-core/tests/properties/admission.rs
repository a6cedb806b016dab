//! Admission: what two policies let through is what each of them does, and whoever is refused learns of every broken rule.

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
    policy::{
        Admitted, Allowed, AllowedScopes, Asked, Cap, Lifetime, NotAdmitted, Policies, Rule, Rules, ScopeNames, Source, Strictest,
        Violation,
    },
    scope::{GrantedScopes, ScopeCatalog},
    time::Timestamp,
    token::Expiry,
};

use crate::samples::{at, names, only};

const NOW: i64 = 1_800_000_000_000_000;

fn catalog() -> ScopeCatalog {
    ScopeCatalog::bitbucket().expect("well-formed")
}

fn lifetime(micros: u64) -> Lifetime {
    Lifetime::from_micros(micros).expect("in range")
}

fn scopes(texts: &[&str]) -> AllowedScopes {
    AllowedScopes::Only(ScopeNames::new(names(texts).into_iter().collect()).expect("not empty"))
}

fn granted(texts: &[&str]) -> GrantedScopes {
    GrantedScopes::grant(&catalog(), texts).expect("of the catalogue")
}

fn admit(organization: &Rules, workspace: &Rules, asked: &Asked<'_>) -> Result<Admitted, NotAdmitted> {
    Policies { organization, workspace, catalog: &catalog() }.admit(asked, at(NOW))
}

/// Which rules of whose policy are broken.
fn broken(organization: &Rules, workspace: &Rules, asked: &Asked<'_>) -> Vec<(Rule, Source)> {
    match admit(organization, workspace, asked) {
        Ok(_) => Vec::new(),
        Err(NotAdmitted::NoExpiry) => panic!("an end was chosen"),
        Err(NotAdmitted::Violations(violations)) => {
            assert!(!violations.is_empty());
            violations.into_iter().map(|Violation { rule, of, remedy: _ }| (rule, of)).collect()
        }
    }
}

/// Of a token that permits to read and may be used from anywhere, with this end.
fn ending(expiry: Option<Expiry>, rules: &Rules) -> Result<Expiry, NotAdmitted> {
    let asked = Asked { expiry, scopes: &granted(&["repository"]), allowed_addresses: &AllowedAddresses::Any };
    admit(&Rules::default(), rules, &asked).map(|admitted| admitted.expiry)
}

fn rules_broken(result: Result<Expiry, NotAdmitted>) -> Vec<Rule> {
    match result {
        Err(NotAdmitted::Violations(violations)) => violations.into_iter().map(|violation| violation.rule).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_end_lies_within_the_longest_lifetime() {
    let rules = Rules { max_lifetime: Some(lifetime(100)), ..Rules::default() };
    let until = |micros| Expiry::At(at(NOW + micros));
    for micros in [1, 99, 100] {
        assert_eq!(ending(Some(until(micros)), &rules), Ok(until(micros)));
    }
    for too_long in [until(101), Expiry::At(Timestamp::MAX), Expiry::Never] {
        assert_eq!(rules_broken(ending(Some(too_long), &rules)), [Rule::MaxLifetime], "{too_long:?}");
    }
    // Without a longest one only the lack of an end is refused, where it is.
    let rules = Rules { require_expiry: true, ..Rules::default() };
    assert_eq!(ending(Some(Expiry::At(Timestamp::MAX)), &rules), Ok(Expiry::At(Timestamp::MAX)));
    assert_eq!(rules_broken(ending(Some(Expiry::Never), &rules)), [Rule::RequireExpiry]);
    let both = Rules { require_expiry: true, max_lifetime: Some(lifetime(100)), ..Rules::default() };
    assert_eq!(rules_broken(ending(Some(Expiry::Never), &both)), [Rule::RequireExpiry, Rule::MaxLifetime]);
}

#[test]
fn nothing_ends_or_goes_on_by_omission() {
    assert_eq!(ending(None, &Rules::default()), Err(NotAdmitted::NoExpiry));
    let longest = Rules { require_expiry: true, max_lifetime: Some(lifetime(100)), ..Rules::default() };
    assert_eq!(ending(None, &longest), Err(NotAdmitted::NoExpiry), "the longest is no default");
    let default = Rules { default_lifetime: Some(lifetime(30)), ..longest };
    assert_eq!(ending(None, &default), Ok(Expiry::At(at(NOW + 30))));
    // What was chosen stands.
    assert_eq!(ending(Some(Expiry::At(at(NOW + 99))), &default), Ok(Expiry::At(at(NOW + 99))));
}

/// The default of one may be longer than what the other allows.
#[test]
fn a_default_never_exceeds_the_longest_of_both() {
    let default = Rules { default_lifetime: Some(lifetime(30)), ..Rules::default() };
    let longest = Rules { max_lifetime: Some(lifetime(20)), ..Rules::default() };
    let asked = Asked { expiry: None, scopes: &granted(&["repository"]), allowed_addresses: &AllowedAddresses::Any };
    for (organization, workspace) in [(&default, &longest), (&longest, &default)] {
        assert_eq!(admit(organization, workspace, &asked).map(|admitted| admitted.expiry), Ok(Expiry::At(at(NOW + 20))));
    }
}

/// A token must not be able to do what a policy does not allow; what an allowed scope implies is allowed.
#[test]
fn what_a_scope_implies_counts() {
    let admits = |allowed: &[&str], asked: &GrantedScopes| {
        let rules = Rules { allowed_scopes: scopes(allowed), ..Rules::default() };
        let asked = Asked { expiry: Some(Expiry::Never), scopes: asked, allowed_addresses: &AllowedAddresses::Any };
        broken(&Rules::default(), &rules, &asked).is_empty()
    };
    assert!(admits(&["repository:write"], &granted(&["repository:write"])));
    assert!(admits(&["repository:write"], &granted(&["repository"])), "less than what is allowed");
    assert!(admits(&["pullrequest:write"], &granted(&["repository:write", "pullrequest"])), "through others");
    assert!(!admits(&["repository"], &granted(&["repository:write"])));
    assert!(!admits(&["pullrequest:write"], &granted(&["repository:admin"])), "not implied");
    assert!(!admits(&["repository", "pipeline"], &granted(&["pipeline", "webhook"])), "one is not enough");
    // As an old catalogue had it: what the token permits is what it was granted then.
    let old = GrantedScopes::from_stored(1, names(&["project"]), names(&["project", "repository:admin"])).expect("well-formed");
    assert!(!admits(&["project"], &old), "the scope of today implies less");
    assert!(admits(&["project", "repository:admin"], &old));
    let gone = GrantedScopes::from_stored(1, names(&["legacy"]), names(&["legacy"])).expect("well-formed");
    assert!(!admits(&["project"], &gone));
    assert!(admits(&["legacy"], &gone), "a name that the catalogue lacks stands for itself");
}

#[test]
fn two_lists_have_in_common_what_both_allow() {
    let common = |one: &[&str], other: &[&str]| {
        let [one, other] = [one, other].map(|names| Rules { allowed_scopes: scopes(names), ..Rules::default() });
        match Strictest::of(&one, &other, &catalog()).scopes {
            Allowed::Only(names) => names.iter().map(ToString::to_string).collect::<Vec<_>>(),
            Allowed::Any => panic!("both have a list"),
        }
    };
    assert_eq!(common(&["repository", "pipeline"], &["webhook", "pipeline"]), ["pipeline"]);
    assert_eq!(
        common(&["repository", "repository:write"], &["repository", "repository:write"]),
        ["repository", "repository:write"]
    );
    assert_eq!(common(&["repository:write"], &["repository"]), ["repository"], "one implies the other");
    assert_eq!(common(&["repository:write"], &["pullrequest"]), ["repository"], "which neither list names");
    assert_eq!(common(&["pullrequest:write", "runner"], &["repository:write", "pullrequest"]), ["pullrequest", "repository:write"]);
    assert_eq!(common(&["repository:write", "legacy"], &["webhook", "legacy"]), ["legacy"], "which no catalogue has");
    assert_eq!(common(&["account"], &["webhook"]), Vec::<String>::new());
}

#[test]
fn networks_of_its_own_lie_within_the_policys() {
    let admits = |allowed: &[&str], own: &[&str]| {
        let rules = Rules { allowed_addresses: only(allowed), ..Rules::default() };
        let own = only(own);
        let asked = Asked { expiry: Some(Expiry::Never), scopes: &granted(&["repository"]), allowed_addresses: &own };
        let result = admit(&Rules::default(), &rules, &asked);
        assert!(result.as_ref().map_or(true, |admitted| admitted.allowed_addresses == own), "as it was asked for");
        result.is_ok()
    };
    assert!(admits(&["10.0.0.0/8"], &["10.0.0.0/8", "10.1.2.3/32"]));
    assert!(!admits(&["10.0.0.0/8"], &["10.1.0.0/16", "11.0.0.0/16"]), "one is not enough");
    assert!(!admits(&["10.0.0.0/8"], &["0.0.0.0/0"]));
    assert!(admits(&["10.0.0.0/9", "10.128.0.0/9"], &["10.0.0.0/8"]), "two halves make a whole");
    assert!(!admits(&["10.0.0.0/9", "10.192.0.0/10"], &["10.0.0.0/8"]));
    assert!(!admits(&["::/0"], &["10.0.0.0/8"]) && !admits(&["0.0.0.0/0"], &["2001:db8::/32"]), "the versions are apart");
    assert!(admits(&["::ffff:10.0.0.0/104"], &["10.0.0.0/8"]), "mapped addresses are the IPv4 ones");
}

#[test]
fn without_networks_of_its_own_it_gets_the_policies() {
    let rules = |addresses| Rules { allowed_addresses: addresses, ..Rules::default() };
    let asked = Asked { expiry: Some(Expiry::Never), scopes: &granted(&["repository"]), allowed_addresses: &AllowedAddresses::Any };
    let given = |one: &Rules, other: &Rules| admit(one, other, &asked).map(|admitted| admitted.allowed_addresses);
    let (office, offices) = (only(&["10.1.0.0/16"]), only(&["10.0.0.0/8", "2001:db8::/32"]));
    assert_eq!(given(&Rules::default(), &Rules::default()), Ok(AllowedAddresses::Any));
    assert_eq!(given(&rules(offices.clone()), &Rules::default()), Ok(offices.clone()));
    assert_eq!(given(&rules(offices.clone()), &rules(offices.clone())), Ok(offices.clone()));
    assert_eq!(given(&rules(offices), &rules(office.clone())), Ok(office.clone()));
    // Where they have nothing in common, nothing can be made, from anywhere least of all.
    let elsewhere = rules(only(&["192.0.2.0/24"]));
    for own in [&AllowedAddresses::Any, &office] {
        let asked = Asked { allowed_addresses: own, ..asked };
        let neither_alone = if *own == AllowedAddresses::Any { Source::Both } else { Source::Workspace };
        assert_eq!(broken(&rules(office.clone()), &elsewhere, &asked), [(Rule::AllowedCidrs, neither_alone)]);
    }
}

/// Two lists of 64 can have 126 networks in common, and a token has 64 at most: it must choose.
#[test]
fn more_networks_than_a_token_can_have_are_refused() {
    let many = |wide: &str, narrow: u8| {
        let narrow = (0..63).map(|n| IpNet::new(Ipv4Addr::new(narrow, n, 0, 0).into(), 16).expect("a network"));
        let list = narrow.chain([wide.parse().expect("a network")]).collect();
        Rules { allowed_addresses: AllowedAddresses::Only(Networks::new(list).expect("64")), ..Rules::default() }
    };
    let (one, other) = (many("10.0.0.0/8", 11), many("11.0.0.0/8", 10));
    let own = only(&["10.5.0.0/16", "11.62.0.0/16"]);
    let asked = Asked { expiry: Some(Expiry::Never), scopes: &granted(&["repository"]), allowed_addresses: &AllowedAddresses::Any };
    assert_eq!(broken(&one, &other, &asked), [(Rule::AllowedCidrs, Source::Both)]);
    assert_eq!(broken(&one, &other, &Asked { allowed_addresses: &own, ..asked }), []);
}

#[test]
fn the_smaller_cap_counts() {
    let rules = |most| Rules { max_active_tokens: NonZeroU32::new(most), ..Rules::default() };
    let cap = |organization: u32, workspace: u32| {
        let (organization, workspace) = (rules(organization), rules(workspace));
        let cap = Policies { organization: &organization, workspace: &workspace, catalog: &catalog() }.cap();
        cap.map(|Cap { most, of }| (most.get(), of))
    };
    assert_eq!(cap(0, 0), None);
    assert_eq!(cap(5, 0), Some((5, Source::Organization)));
    assert_eq!(cap(5, 3), Some((3, Source::Workspace)));
    assert_eq!(cap(3, 3), Some((3, Source::Both)));
}

/// All of it travels in a header, together with the rest.
#[test]
fn what_is_told_is_bounded() {
    let long: Vec<_> = (0..256).map(|n| format!("{}{n}", "a".repeat(60))).collect();
    let addresses = |third: u16| {
        let network =
            |n| IpNet::new(Ipv6Addr::new(0x2001, 0xdb8, third, 0xaaaa, 0xbbbb, 0xcccc, 0xdddd, n).into(), 128).expect("one");
        AllowedAddresses::Only(Networks::new((0..64).map(network).collect()).expect("64"))
    };
    let strict = Rules {
        require_expiry: true,
        max_lifetime: Some(Lifetime::MAX),
        allowed_scopes: scopes(&long.iter().map(String::as_str).collect::<Vec<_>>()),
        allowed_addresses: addresses(1),
        ..Rules::default()
    };
    let all: Vec<_> = (0..256).map(|n| format!("{}{n}", "b".repeat(60)).parse().expect("a name")).collect();
    let scopes = GrantedScopes::from_stored(1, all.clone(), all).expect("well-formed");
    let asked = Asked { expiry: Some(Expiry::Never), scopes: &scopes, allowed_addresses: &addresses(2) };
    let Err(NotAdmitted::Violations(violations)) = admit(&strict, &strict, &asked) else { panic!("all of it is broken") };
    assert_eq!(violations.iter().map(|violation| violation.rule).collect::<Vec<_>>(), Rule::ALL);
    assert!(violations.iter().map(|violation| violation.remedy.len()).sum::<usize>() < 2_048, "{violations:#?}");
    assert!(violations[2].remedy.contains("and 251 more"), "{}", violations[2].remedy);
}

/// The last byte of every address that the properties speak of.
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
        prop::collection::vec(a_network(), 1..6).prop_map(|list| AllowedAddresses::Only(Networks::new(list).expect("1 to 5"))),
    ]
}

/// Scopes that imply one another, one that implies nothing, and one that the catalogue lacks.
const SCOPES: [&str; 7] =
    ["project", "repository", "repository:write", "pullrequest", "pullrequest:write", "repository:admin", "legacy"];

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
    let chosen = prop_oneof![Just(Expiry::Never), (1..60i64).prop_map(|micros| Expiry::At(at(NOW + micros)))];
    prop::option::of(chosen)
}

/// What a policy says of a token, the plain way.
fn breaks(rules: &Rules, rule: Rule, asked: &Asked<'_>) -> bool {
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
                let one = |name: &str| GrantedScopes::grant(&catalog, &[name]).map(|granted| granted.effective().to_vec());
                let allowed: BTreeSet<_> = names.as_set().iter().flat_map(|name| one(name.as_str()).unwrap_or_default()).collect();
                asked.scopes.effective().iter().any(|name| !allowed.contains(name))
            }
        },
        Rule::AllowedCidrs => {
            addresses().any(|address| asked.allowed_addresses.allow(Some(address)) && !rules.allowed_addresses.allow(Some(address)))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    /// The strictest allows what both do, and nothing else; it tells of every rule that is broken, once, and of whose policy it is.
    #[test]
    fn the_strictest_of_two_is_both(
        (organization, workspace) in (a_policy(), a_policy()),
        expiry in expiry(),
        asked in prop::sample::subsequence(SCOPES[..6].to_vec(), 1..4),
        own in prop::collection::vec(a_network(), 1..4),
    ) {
        let own = AllowedAddresses::Only(Networks::new(own).expect("1 to 3"));
        let chosen = Some(expiry.unwrap_or(Expiry::Never));
        let asked = Asked { expiry: chosen, scopes: &granted(&asked), allowed_addresses: &own };
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
        // Whichever of them is whose.
        prop_assert_eq!(
            broken(&organization, &workspace, &asked).is_empty(),
            broken(&workspace, &organization, &asked).is_empty()
        );
    }

    /// What is filled in where nothing was chosen, each of the two allows; and of the networks that both allow none is left out.
    #[test]
    fn what_policies_fill_in_they_allow(
        (organization, workspace) in (a_policy(), a_policy()),
        chosen in expiry(),
    ) {
        let scopes = granted(&["repository"]);
        let asked = Asked { expiry: chosen, scopes: &scopes, allowed_addresses: &AllowedAddresses::Any };
        let has_default = organization.default_lifetime.is_some() || workspace.default_lifetime.is_some();
        match admit(&organization, &workspace, &asked) {
            Err(NotAdmitted::NoExpiry) => prop_assert!(chosen.is_none() && !has_default),
            Err(NotAdmitted::Violations(violations)) => {
                let rules: Vec<_> = violations.iter().map(|violation| violation.rule).collect();
                if chosen.is_none() {
                    prop_assert!(!rules.contains(&Rule::RequireExpiry) && !rules.contains(&Rule::MaxLifetime), "{:?}", rules);
                }
                let both = |address| organization.allowed_addresses.allow(Some(address)) && workspace.allowed_addresses.allow(Some(address));
                prop_assert_eq!(rules.contains(&Rule::AllowedCidrs), !addresses().any(both));
            }
            Ok(Admitted { expiry, allowed_addresses }) => {
                prop_assert!(chosen.is_none_or(|chosen| chosen == expiry), "what was chosen stands");
                prop_assert!(chosen.is_some() || has_default);
                let made = Asked { expiry: Some(expiry), scopes: &scopes, allowed_addresses: &allowed_addresses };
                for rules in [&organization, &workspace] {
                    prop_assert!(Rule::ALL.into_iter().all(|rule| !breaks(rules, rule, &made)), "{:?} by {:?}", made, rules);
                }
                for address in addresses() {
                    let both = [&organization, &workspace].map(|rules| rules.allowed_addresses.allow(Some(address)));
                    prop_assert_eq!(allowed_addresses.allow(Some(address)), both == [true, true], "{}", address);
                }
                let is_anywhere = [&organization, &workspace].map(|rules| rules.allowed_addresses == AllowedAddresses::Any);
                prop_assert_eq!(allowed_addresses == AllowedAddresses::Any, is_anywhere == [true, true]);
            }
        }
    }
}
