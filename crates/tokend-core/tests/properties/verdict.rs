//! The verdict: which requests are allowed, and which of several reasons to deny is returned.

use std::net::IpAddr;

use proptest::prelude::*;
use tokend_core::{
    address::AllowedAddresses,
    credential::{Authentic, Kind, Recognized},
    keyring::KeyRing,
    resource::Resource,
    scope::{GrantedScopes, ScopeCatalog, ScopeSet},
    time::Timestamp,
    token::{Expiry, Token, TokenContext},
    verdict::{Denial, Question, Verdict, decide},
    workspace::WorkspaceState,
};

use crate::samples::{at, mint, names, only, resource, revocation, ring, token, token_context, workspace_id};

const NOW: i64 = 1_760_000_000_000_000;

/// A key ring, a token that it recognizes, and the catalog.
struct Scene {
    ring: KeyRing,
    presented: Authentic,
    token: Token,
    catalog: ScopeCatalog,
}

impl Scene {
    /// A token bound to `projects/web` with `repository:write`, from everywhere, that never expires.
    fn new() -> Self {
        let ring = ring();
        let minted = mint(&ring, Kind::WorkspaceToken, 1);
        let presented = ring.authenticate(minted.secret.expose()).expect("just minted");
        let mut token = token();
        (token.name.id, token.digest) = (minted.id, minted.digest);
        (token.allowed_addresses, token.own_expiry, token.revocation) = (AllowedAddresses::Any, Expiry::Never, None);
        Self {
            ring,
            presented,
            token,
            catalog: ScopeCatalog::bitbucket().expect("well-formed"),
        }
    }

    fn recognized(&self, change: impl FnOnce(&mut Token)) -> Recognized<Token> {
        let mut token = self.token.clone();
        change(&mut token);
        self.ring.recognize(&self.presented, token).expect("its own row")
    }

    fn set(&self, scopes: &[&str]) -> ScopeSet {
        scopes.iter().fold(ScopeSet::EMPTY, |set, scope| {
            set.union(self.catalog.scope(scope).expect("of the catalogue"))
        })
    }

    fn decide(&self, token: &Recognized<Token>, question: &Question<'_>) -> Verdict {
        decide(token, &in_force(), &self.catalog, question)
    }
}

fn in_force() -> TokenContext {
    token_context(WorkspaceState::Active)
}

/// A question without required scopes and with an unknown address.
fn about(resource: &Resource) -> Question<'_> {
    Question {
        resource,
        required_scopes: ScopeSet::EMPTY,
        client_address: None,
        now: at(NOW),
    }
}

fn site() -> Resource {
    resource("workspaces/acme/projects/web/repositories/site")
}

fn address(text: &str) -> Option<IpAddr> {
    Some(text.parse().expect("an address"))
}

/// Every combination of faults: the first one in the contract's order is returned.
#[test]
fn the_first_of_several_reasons_is_returned() {
    let scene = Scene::new();
    let (inside, outside) = (site(), resource("workspaces/acme/projects/web2"));
    let missing = scene.set(&["webhook", "runner"]);
    let (mut asked, mut allowed) = (0, 0);
    for faults in 0..1u32 << 8 {
        let has = |fault: usize| faults & 1 << fault != 0;
        let (foreign, revoked, expired, suspended, deleted, uncovered, unscoped, unaddressed) =
            (has(0), has(1), has(2), has(3), has(4), has(5), has(6), has(7));
        if suspended && deleted {
            continue;
        }
        let token = scene.recognized(|token| {
            token.revocation = revoked.then(revocation);
            token.own_expiry = if expired {
                Expiry::At(at(NOW))
            } else {
                Expiry::At(at(NOW + 1))
            };
            token.allowed_addresses = only(&["192.0.2.0/24"]);
        });
        let mut token_context = in_force();
        if foreign {
            token_context.workspace = workspace_id("beta");
        }
        if suspended {
            token_context.state = WorkspaceState::Suspended { at: at(NOW) };
        }
        if deleted {
            token_context.state = WorkspaceState::Deleted { at: at(NOW) };
        }
        let question = Question {
            resource: if uncovered { &outside } else { &inside },
            required_scopes: if unscoped {
                missing.union(scene.set(&["repository"]))
            } else {
                scene.set(&["repository", "repository:write"])
            },
            client_address: if unaddressed {
                address("198.51.100.1")
            } else {
                address("192.0.2.9")
            },
            now: at(NOW),
        };
        let in_order = [
            (foreign, Denial::Unrecognized),
            (revoked, Denial::Revoked),
            (expired, Denial::Expired),
            (suspended, Denial::WorkspaceSuspended),
            (deleted, Denial::WorkspaceDeleted),
            (uncovered, Denial::ResourceNotCovered),
            (unscoped, Denial::InsufficientScope { missing }),
            (unaddressed, Denial::AddressNotAllowed),
        ];
        let first = in_order.into_iter().find(|(present, _)| *present);
        let expected = first.map_or(Verdict::Allow, |(_, denial)| Verdict::Deny(denial));
        assert_eq!(
            decide(&token, &token_context, &scene.catalog, &question),
            expected,
            "faults {faults:08b}"
        );
        asked += 1;
        allowed += u32::from(expected == Verdict::Allow);
    }
    assert_eq!((asked, allowed), (192, 1));
}

/// Expired means `now >= expire_time`: exactly at that microsecond, and not one before.
#[test]
fn a_token_expires_at_the_exact_microsecond() {
    let scene = Scene::new();
    let site = site();
    let token = scene.recognized(|token| token.own_expiry = Expiry::At(at(NOW)));
    let verdict = |now| scene.decide(&token, &Question { now, ..about(&site) });
    assert_eq!(verdict(at(NOW - 1)), Verdict::Allow);
    assert_eq!(verdict(at(NOW)), Verdict::Deny(Denial::Expired));
    assert_eq!(verdict(at(NOW + 1)), Verdict::Deny(Denial::Expired));
    let endless = scene.recognized(|token| token.own_expiry = Expiry::Never);
    assert_eq!(
        scene.decide(
            &endless,
            &Question {
                now: Timestamp::MAX,
                ..about(&site)
            }
        ),
        Verdict::Allow
    );
}

/// A revocation in the future counts: a clock that goes back revives nothing.
#[test]
fn a_revocation_in_the_future_counts() {
    let scene = Scene::new();
    let token = scene.recognized(|token| token.revocation = Some(revocation()));
    assert_eq!(
        scene.decide(
            &token,
            &Question {
                now: Timestamp::MIN,
                ..about(&site())
            }
        ),
        Verdict::Deny(Denial::Revoked)
    );
}

#[test]
fn an_allow_list_denies_an_unknown_address() {
    let scene = Scene::new();
    let site = site();
    let listed = scene.recognized(|token| token.allowed_addresses = only(&["0.0.0.0/0", "::/0"]));
    let from = |token, client_address| {
        scene.decide(
            token,
            &Question {
                client_address,
                ..about(&site)
            },
        )
    };
    assert_eq!(from(&listed, None), Verdict::Deny(Denial::AddressNotAllowed));
    assert_eq!(from(&listed, address("203.0.113.7")), Verdict::Allow);
    assert_eq!(from(&listed, address("2001:db8::7")), Verdict::Allow);
    let anywhere = scene.recognized(|_| {});
    assert_eq!(from(&anywhere, None), Verdict::Allow);
}

#[test]
fn a_request_that_needs_no_scope_is_allowed() {
    let scene = Scene::new();
    assert_eq!(scene.decide(&scene.recognized(|_| {}), &about(&site())), Verdict::Allow);
}

#[test]
fn a_token_reaches_its_resource_and_everything_below_it() {
    let scene = Scene::new();
    let token = scene.recognized(|_| {});
    let denied = Verdict::Deny(Denial::ResourceNotCovered);
    for (asked, verdict) in [
        ("workspaces/acme/projects/web", Verdict::Allow),
        ("workspaces/acme/projects/web/repositories/site", Verdict::Allow),
        ("workspaces/acme", denied),
        ("workspaces/acme/projects", denied),
        ("workspaces/acme/projects/we", denied),
        ("workspaces/acme/projects/web2", denied),
        ("workspaces/acme/projects/WEB", denied),
        ("workspaces/acme2/projects/web", denied),
    ] {
        assert_eq!(scene.decide(&token, &about(&resource(asked))), verdict, "{asked}");
    }
}

/// No token reaches another workspace, not even one that was bound to a resource there.
#[test]
fn no_token_reaches_another_workspace() {
    let scene = Scene::new();
    let elsewhere = resource("workspaces/beta/projects/web");
    let strayed = scene.recognized(|token| token.resource = resource("workspaces/beta"));
    assert_eq!(
        scene.decide(&strayed, &about(&elsewhere)),
        Verdict::Deny(Denial::ResourceNotCovered)
    );

    // Nor is anything returned with another workspace's context, whatever its state.
    let beta = |state| TokenContext {
        workspace: workspace_id("beta"),
        ..token_context(state)
    };
    for token in [
        strayed,
        scene.recognized(|_| {}),
        scene.recognized(|token| token.revocation = Some(revocation())),
    ] {
        for state in [
            WorkspaceState::Active,
            WorkspaceState::Suspended { at: at(NOW) },
            WorkspaceState::Deleted { at: at(NOW) },
        ] {
            for resource in [&elsewhere, &site()] {
                let verdict = decide(&token, &beta(state), &scene.catalog, &about(resource));
                assert_eq!(verdict, Verdict::Deny(Denial::Unrecognized));
            }
        }
    }
}

const SCOPES: [&str; 8] = [
    "repository",
    "repository:write",
    "repository:admin",
    "pullrequest",
    "pullrequest:write",
    "project",
    "pipeline:write",
    "runner",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// The missing scopes are exactly those that are required and neither granted nor implied.
    #[test]
    fn missing_scopes_are_exact(
        granted in prop::sample::subsequence(SCOPES.to_vec(), 1..=4),
        required in prop::sample::subsequence(SCOPES.to_vec(), 0..=8),
    ) {
        let scene = Scene::new();
        let scopes = GrantedScopes::grant(&scene.catalog, &granted).expect("known and once each");
        let effective = scopes.effective().to_vec();
        let lacking: Vec<_> = required
            .iter()
            .filter(|scope| effective.iter().all(|had| had.as_str() != **scope))
            .copied()
            .collect();
        let token = scene.recognized(|token| token.scopes = scopes);
        let site = site();
        let verdict = scene.decide(&token, &Question { required_scopes: scene.set(&required), ..about(&site) });
        let missing = scene.set(&lacking);
        let expected = if lacking.is_empty() {
            Verdict::Allow
        } else {
            Verdict::Deny(Denial::InsufficientScope { missing })
        };
        prop_assert_eq!(verdict, expected);
    }

    #[test]
    fn a_token_works_exactly_until_its_expiry(expiry in -1000..1000i64, now in -1000..1000i64) {
        let scene = Scene::new();
        let token = scene.recognized(|token| token.own_expiry = Expiry::At(at(expiry)));
        let verdict = scene.decide(&token, &Question { now: at(now), ..about(&site()) });
        prop_assert_eq!(verdict, if now >= expiry { Verdict::Deny(Denial::Expired) } else { Verdict::Allow });
    }
}

/// An old token grants neither scopes that today's catalog lacks nor scopes that only today's catalog implies.
#[test]
fn scopes_are_those_of_the_time_of_creation() {
    let mut scene = Scene::new();
    let token = scene.recognized(|token| {
        token.scopes =
            GrantedScopes::from_stored(1, names(&["gone", "read"]), names(&["gone", "read"])).expect("well-formed");
    });
    scene.catalog = ScopeCatalog::from_toml(
        "version = 2\n[[scopes]]\nname = \"write\"\ndescription = \"\"\n\
         [[scopes]]\nname = \"read\"\ndescription = \"\"\nimplies = [\"write\"]\n",
    )
    .expect("well-formed");
    let site = site();
    let asking = |scopes| {
        scene.decide(
            &token,
            &Question {
                required_scopes: scene.set(scopes),
                ..about(&site)
            },
        )
    };
    assert_eq!(asking(&["read"]), Verdict::Allow);
    let missing = scene.set(&["write"]);
    assert_eq!(
        asking(&["read", "write"]),
        Verdict::Deny(Denial::InsufficientScope { missing })
    );
}
