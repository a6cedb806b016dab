//! Examples of each rule, and of the values that policies fill in.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    num::NonZeroU32,
};

use ipnet::IpNet;
use tokend_core::{
    address::{AllowedAddresses, Networks},
    policy::{AdmissionError, Allowed, Cap, Lifetime, Policies, RequestedToken, Rule, Rules, Source, Strictest},
    scope::GrantedScopes,
    time::Timestamp,
    token::Expiry,
};

use super::{NOW, admit, broken, catalog, granted, lifetime, scopes};
use crate::samples::{at, names, only};

/// Admits a token with this expiry that may read from everywhere.
fn ending(expiry: Option<Expiry>, rules: &Rules) -> Result<Expiry, AdmissionError> {
    let asked = RequestedToken {
        expiry,
        scopes: &granted(&["repository"]),
        allowed_addresses: &AllowedAddresses::Any,
    };
    admit(&Rules::default(), rules, &asked).map(|admitted| admitted.expiry)
}

fn rules_broken(result: Result<Expiry, AdmissionError>) -> Vec<Rule> {
    match result {
        Err(AdmissionError::Violations(violations)) => violations.into_iter().map(|violation| violation.rule).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_expiry_is_within_the_maximum_lifetime() {
    let rules = Rules {
        max_lifetime: Some(lifetime(100)),
        ..Rules::default()
    };
    let until = |micros| Expiry::At(at(NOW + micros));
    for micros in [1, 99, 100] {
        assert_eq!(ending(Some(until(micros)), &rules), Ok(until(micros)));
    }
    for too_long in [until(101), Expiry::At(Timestamp::MAX), Expiry::Never] {
        assert_eq!(
            rules_broken(ending(Some(too_long), &rules)),
            [Rule::MaxLifetime],
            "{too_long:?}"
        );
    }
    // Without a `max_lifetime`, a token that never expires is rejected only by `require_expiry`.
    let rules = Rules {
        require_expiry: true,
        ..Rules::default()
    };
    assert_eq!(
        ending(Some(Expiry::At(Timestamp::MAX)), &rules),
        Ok(Expiry::At(Timestamp::MAX))
    );
    assert_eq!(rules_broken(ending(Some(Expiry::Never), &rules)), [Rule::RequireExpiry]);
    let both = Rules {
        require_expiry: true,
        max_lifetime: Some(lifetime(100)),
        ..Rules::default()
    };
    assert_eq!(
        rules_broken(ending(Some(Expiry::Never), &both)),
        [Rule::RequireExpiry, Rule::MaxLifetime]
    );
}

#[test]
fn an_omitted_expiry_needs_a_default() {
    assert_eq!(ending(None, &Rules::default()), Err(AdmissionError::NoExpiry));
    let longest = Rules {
        require_expiry: true,
        max_lifetime: Some(lifetime(100)),
        ..Rules::default()
    };
    assert_eq!(
        ending(None, &longest),
        Err(AdmissionError::NoExpiry),
        "the maximum lifetime is not a default"
    );
    let default = Rules {
        default_lifetime: Some(lifetime(30)),
        ..longest
    };
    assert_eq!(ending(None, &default), Ok(Expiry::At(at(NOW + 30))));
    // The chosen expiry is kept.
    assert_eq!(
        ending(Some(Expiry::At(at(NOW + 99))), &default),
        Ok(Expiry::At(at(NOW + 99)))
    );
}

/// The default of one policy may be longer than what the other allows.
#[test]
fn a_default_never_exceeds_either_maximum_lifetime() {
    let default = Rules {
        default_lifetime: Some(lifetime(30)),
        ..Rules::default()
    };
    let longest = Rules {
        max_lifetime: Some(lifetime(20)),
        ..Rules::default()
    };
    let asked = RequestedToken {
        expiry: None,
        scopes: &granted(&["repository"]),
        allowed_addresses: &AllowedAddresses::Any,
    };
    for (organization, workspace) in [(&default, &longest), (&longest, &default)] {
        assert_eq!(
            admit(organization, workspace, &asked).map(|admitted| admitted.expiry),
            Ok(Expiry::At(at(NOW + 20)))
        );
    }
}

/// A token can't do what a policy does not allow; what an allowed scope implies is allowed.
#[test]
fn implied_scopes_count() {
    let admits = |allowed: &[&str], asked: &GrantedScopes| {
        let rules = Rules {
            allowed_scopes: scopes(allowed),
            ..Rules::default()
        };
        let asked = RequestedToken {
            expiry: Some(Expiry::Never),
            scopes: asked,
            allowed_addresses: &AllowedAddresses::Any,
        };
        broken(&Rules::default(), &rules, &asked).is_empty()
    };
    assert!(admits(&["repository:write"], &granted(&["repository:write"])));
    assert!(
        admits(&["repository:write"], &granted(&["repository"])),
        "a scope that an allowed one implies"
    );
    assert!(
        admits(&["pullrequest:write"], &granted(&["repository:write", "pullrequest"])),
        "a scope that is implied indirectly"
    );
    assert!(!admits(&["repository"], &granted(&["repository:write"])));
    assert!(
        !admits(&["pullrequest:write"], &granted(&["repository:admin"])),
        "a scope that is not implied"
    );
    assert!(
        !admits(&["repository", "pipeline"], &granted(&["pipeline", "webhook"])),
        "one is not enough"
    );
    // With an old catalog: the token's permissions are those that it was granted then.
    let old = GrantedScopes::from_stored(1, names(&["project"]), names(&["project", "repository:admin"]))
        .expect("well-formed");
    assert!(
        !admits(&["project"], &old),
        "the current catalogue implies fewer scopes"
    );
    assert!(admits(&["project", "repository:admin"], &old));
    let gone = GrantedScopes::from_stored(1, names(&["legacy"]), names(&["legacy"])).expect("well-formed");
    assert!(!admits(&["project"], &gone));
    assert!(
        admits(&["legacy"], &gone),
        "a name that the catalogue lacks allows only itself"
    );
}

#[test]
fn two_lists_combine_to_their_common_scopes() {
    let common = |one: &[&str], other: &[&str]| {
        let [one, other] = [one, other].map(|names| Rules {
            allowed_scopes: scopes(names),
            ..Rules::default()
        });
        match Strictest::of(&one, &other, &catalog()).scopes {
            Allowed::Only(names) => names.iter().map(ToString::to_string).collect::<Vec<_>>(),
            Allowed::Any => panic!("both have a list"),
        }
    };
    assert_eq!(
        common(&["repository", "pipeline"], &["webhook", "pipeline"]),
        ["pipeline"]
    );
    assert_eq!(
        common(&["repository", "repository:write"], &["repository", "repository:write"]),
        ["repository", "repository:write"]
    );
    assert_eq!(
        common(&["repository:write"], &["repository"]),
        ["repository"],
        "one implies the other"
    );
    assert_eq!(
        common(&["repository:write"], &["pullrequest"]),
        ["repository"],
        "a scope that neither list names"
    );
    assert_eq!(
        common(&["pullrequest:write", "runner"], &["repository:write", "pullrequest"]),
        ["pullrequest", "repository:write"]
    );
    assert_eq!(
        common(&["repository:write", "legacy"], &["webhook", "legacy"]),
        ["legacy"],
        "a scope that the catalogue lacks"
    );
    assert_eq!(common(&["account"], &["webhook"]), Vec::<String>::new());
}

#[test]
fn requested_networks_are_within_the_policys() {
    let admits = |allowed: &[&str], own: &[&str]| {
        let rules = Rules {
            allowed_addresses: only(allowed),
            ..Rules::default()
        };
        let own = only(own);
        let asked = RequestedToken {
            expiry: Some(Expiry::Never),
            scopes: &granted(&["repository"]),
            allowed_addresses: &own,
        };
        let result = admit(&Rules::default(), &rules, &asked);
        assert!(
            result
                .as_ref()
                .map_or(true, |admitted| admitted.allowed_addresses == own),
            "the requested networks are kept"
        );
        result.is_ok()
    };
    assert!(admits(&["10.0.0.0/8"], &["10.0.0.0/8", "10.1.2.3/32"]));
    assert!(
        !admits(&["10.0.0.0/8"], &["10.1.0.0/16", "11.0.0.0/16"]),
        "one is not enough"
    );
    assert!(!admits(&["10.0.0.0/8"], &["0.0.0.0/0"]));
    assert!(
        admits(&["10.0.0.0/9", "10.128.0.0/9"], &["10.0.0.0/8"]),
        "two halves together cover the network"
    );
    assert!(!admits(&["10.0.0.0/9", "10.192.0.0/10"], &["10.0.0.0/8"]));
    assert!(
        !admits(&["::/0"], &["10.0.0.0/8"]) && !admits(&["0.0.0.0/0"], &["2001:db8::/32"]),
        "IPv4 and IPv6 are separate"
    );
    assert!(
        admits(&["::ffff:10.0.0.0/104"], &["10.0.0.0/8"]),
        "mapped addresses are the IPv4 ones"
    );
}

#[test]
fn a_token_without_networks_gets_the_policies_networks() {
    let rules = |addresses| Rules {
        allowed_addresses: addresses,
        ..Rules::default()
    };
    let asked = RequestedToken {
        expiry: Some(Expiry::Never),
        scopes: &granted(&["repository"]),
        allowed_addresses: &AllowedAddresses::Any,
    };
    let given = |one: &Rules, other: &Rules| admit(one, other, &asked).map(|admitted| admitted.allowed_addresses);
    let (office, offices) = (only(&["10.1.0.0/16"]), only(&["10.0.0.0/8", "2001:db8::/32"]));
    assert_eq!(given(&Rules::default(), &Rules::default()), Ok(AllowedAddresses::Any));
    assert_eq!(given(&rules(offices.clone()), &Rules::default()), Ok(offices.clone()));
    assert_eq!(
        given(&rules(offices.clone()), &rules(offices.clone())),
        Ok(offices.clone())
    );
    assert_eq!(given(&rules(offices), &rules(office.clone())), Ok(office.clone()));
    // If the policies have nothing in common, no token can be created, and none that may be used from everywhere.
    let elsewhere = rules(only(&["192.0.2.0/24"]));
    for own in [&AllowedAddresses::Any, &office] {
        let asked = RequestedToken {
            allowed_addresses: own,
            ..asked
        };
        let neither_alone = if *own == AllowedAddresses::Any {
            Source::Both
        } else {
            Source::Workspace
        };
        assert_eq!(
            broken(&rules(office.clone()), &elsewhere, &asked),
            [(Rule::AllowedCidrs, neither_alone)]
        );
    }
}

/// Two lists of 64 networks can have 126 in common, but a token has at most 64: some must be chosen.
#[test]
fn more_networks_than_a_token_can_have_are_refused() {
    let many = |wide: &str, narrow: u8| {
        let narrow = (0..63).map(|n| IpNet::new(Ipv4Addr::new(narrow, n, 0, 0).into(), 16).expect("a network"));
        let list = narrow.chain([wide.parse().expect("a network")]).collect();
        Rules {
            allowed_addresses: AllowedAddresses::Only(Networks::new(list).expect("64")),
            ..Rules::default()
        }
    };
    let (one, other) = (many("10.0.0.0/8", 11), many("11.0.0.0/8", 10));
    let own = only(&["10.5.0.0/16", "11.62.0.0/16"]);
    let asked = RequestedToken {
        expiry: Some(Expiry::Never),
        scopes: &granted(&["repository"]),
        allowed_addresses: &AllowedAddresses::Any,
    };
    assert_eq!(broken(&one, &other, &asked), [(Rule::AllowedCidrs, Source::Both)]);
    assert_eq!(
        broken(
            &one,
            &other,
            &RequestedToken {
                allowed_addresses: &own,
                ..asked
            }
        ),
        []
    );
}

#[test]
fn the_smaller_maximum_applies() {
    let rules = |most| Rules {
        max_active_tokens: NonZeroU32::new(most),
        ..Rules::default()
    };
    let cap = |organization: u32, workspace: u32| {
        let (organization, workspace) = (rules(organization), rules(workspace));
        let cap = Policies {
            organization: &organization,
            workspace: &workspace,
            catalog: &catalog(),
        }
        .cap();
        cap.map(|Cap { max, source }| (max.get(), source))
    };
    assert_eq!(cap(0, 0), None);
    assert_eq!(cap(5, 0), Some((5, Source::Organization)));
    assert_eq!(cap(5, 3), Some((3, Source::Workspace)));
    assert_eq!(cap(3, 3), Some((3, Source::Both)));
}

/// The whole error travels in a header, with other content.
#[test]
fn an_error_has_a_limited_size() {
    let long: Vec<_> = (0..256).map(|n| format!("{}{n}", "a".repeat(60))).collect();
    let addresses = |third: u16| {
        let network = |n| {
            IpNet::new(
                Ipv6Addr::new(0x2001, 0xdb8, third, 0xaaaa, 0xbbbb, 0xcccc, 0xdddd, n).into(),
                128,
            )
            .expect("one")
        };
        AllowedAddresses::Only(Networks::new((0..64).map(network).collect()).expect("64"))
    };
    let strict = Rules {
        require_expiry: true,
        max_lifetime: Some(Lifetime::MAX),
        allowed_scopes: scopes(&long.iter().map(String::as_str).collect::<Vec<_>>()),
        allowed_addresses: addresses(1),
        ..Rules::default()
    };
    let all: Vec<_> = (0..256)
        .map(|n| format!("{}{n}", "b".repeat(60)).parse().expect("a name"))
        .collect();
    let scopes = GrantedScopes::from_stored(1, all.clone(), all).expect("well-formed");
    let asked = RequestedToken {
        expiry: Some(Expiry::Never),
        scopes: &scopes,
        allowed_addresses: &addresses(2),
    };
    let Err(AdmissionError::Violations(violations)) = admit(&strict, &strict, &asked) else {
        panic!("all of it is broken")
    };
    assert_eq!(
        violations.iter().map(|violation| violation.rule).collect::<Vec<_>>(),
        Rule::ALL
    );
    assert!(
        violations.iter().map(|violation| violation.remedy.len()).sum::<usize>() < 2_048,
        "{violations:#?}"
    );
    assert!(
        violations[2].remedy.contains("and 251 more"),
        "{}",
        violations[2].remedy
    );
}
