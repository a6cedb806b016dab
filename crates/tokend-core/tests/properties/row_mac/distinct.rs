//! Any two rows that differ in a covered field have different MACs.

use std::fmt;

use proptest::prelude::*;
use tokend_core::{
    address::AllowedAddresses,
    caller::{Caller, CallerKey, Role, WorkspaceAccess},
    credential::{CredentialId, SecretDigest},
    name::{CallerKeyName, TokenName},
    policy::PolicyState,
    row_mac::Sealed,
    scope::GrantedScopes,
    time::Timestamp,
    token::{Expiry, Revocation, Token},
    workspace::{Workspace, WorkspaceState},
};

use super::{deadlines, grant, other_id, san};
use crate::samples::{at, id, kid, only, resource, revocation, ring, token, workspace, workspace_id, workspace_ids};

fn times() -> impl Strategy<Value = Timestamp> {
    (-1..3i64).prop_map(at)
}

fn pick<T: Clone + fmt::Debug + 'static>(values: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(values.to_vec())
}

fn digests() -> impl Strategy<Value = SecretDigest> {
    (pick(b"01"), pick(&[0, 1])).prop_map(|(digit, byte)| SecretDigest::from_stored(kid(digit), [byte; 32]))
}

fn ids() -> impl Strategy<Value = CredentialId> {
    pick(&[id(), other_id()])
}

/// Scope names that would run into one another if they were written without lengths.
fn grants() -> impl Strategy<Value = GrantedScopes> {
    let scopes = || prop::collection::vec(pick(&["a", "aa", "a:a", "b", "ab"]), 1..4);
    (0..2u32, scopes(), scopes()).prop_map(|(version, granted, more)| {
        let effective: Vec<_> = granted.iter().chain(&more).copied().collect();
        grant(version, &granted, &effective)
    })
}

fn networks() -> impl Strategy<Value = AllowedAddresses> {
    let some = prop::sample::subsequence(vec!["192.0.2.0/24", "192.0.2.0/25", "::/0", "0.0.0.0/0"], 0..=4);
    some.prop_map(|networks| {
        if networks.is_empty() {
            AllowedAddresses::Any
        } else {
            only(&networks)
        }
    })
}

/// Tokens from small domains, so that two of them often differ in little or nothing. Fields that are not covered stay
/// the same.
fn tokens() -> impl Strategy<Value = Token> {
    let resources = ["workspaces/ab", "workspaces/ab/c", "workspaces/ab/c/d"].map(resource);
    let revocation = (times(), pick(&["ab", "abc"])).prop_map(|(at, by)| Revocation {
        at,
        by: by.parse().expect("well-formed"),
        ..revocation()
    });
    (
        (pick(&["ab", "abc"]), ids(), digests(), pick(&resources), grants()),
        (
            networks(),
            times(),
            pick(&["ab", "abc"]),
            prop::option::of(times()),
            prop::option::of(revocation),
        ),
        (
            prop::option::of(times()),
            prop::option::of(ids()),
            prop::option::of(ids()),
        ),
    )
        .prop_map(
            |(
                (workspace, id, digest, resource, scopes),
                (allowed_addresses, create_time, creator, expire_time, revocation),
                (requested, rotated_from, rotated_to),
            )| {
                let name = TokenName {
                    workspace: workspace_id(workspace),
                    id,
                };
                let creator = creator.parse().expect("well-formed");
                let own_expiry = expire_time.map_or(Expiry::Never, Expiry::At);
                Token {
                    name,
                    digest,
                    resource,
                    scopes,
                    allowed_addresses,
                    create_time,
                    creator,
                    own_expiry,
                    requested_expiry: requested.map_or(Expiry::Never, Expiry::At),
                    revocation,
                    rotated_from,
                    rotated_to,
                    ..token()
                }
            },
        )
}

fn workspaces() -> impl Strategy<Value = Workspace> {
    let states = prop_oneof![
        Just(WorkspaceState::Active),
        times().prop_map(|at| WorkspaceState::Suspended { at }),
        times().prop_map(|at| WorkspaceState::Deleted { at })
    ];
    (
        pick(&["ab", "abc"]),
        prop::option::of(pick(&["ab", "abc"])),
        states,
        times(),
        policies(),
    )
        .prop_map(|(id, organization, state, create_time, policy)| Workspace {
            id: workspace_id(id),
            organization: organization.map(|id| id.parse().expect("well-formed")),
            state,
            create_time,
            policy,
            ..workspace()
        })
}

fn policies() -> impl Strategy<Value = PolicyState> {
    let steps = pick(&["", "1:2", "1:3", "2:3", "1:2 2:3", "1:2 3:4"]).prop_map(deadlines);
    (pick(&["", "{}"]), prop::option::of(times()), steps).prop_map(|(text, update_time, deadlines)| PolicyState {
        text: text.to_owned(),
        update_time,
        deadlines,
    })
}

fn callers() -> impl Strategy<Value = Caller> {
    let access = prop::option::of(prop::sample::subsequence(vec!["ab", "abc", "bc"], 1..=3))
        .prop_map(|ids| ids.map_or(WorkspaceAccess::All, |ids| workspace_ids(&ids)));
    let sans = prop::collection::vec(pick(&["a", "aa", "aaa"].map(san)), 0..3);
    (pick(&["ab", "abc"]), pick(&Role::ALL), access, sans, times()).prop_map(
        |(id, role, workspaces, certificate_sans, create_time)| Caller {
            id: id.parse().expect("well-formed"),
            role,
            workspaces,
            certificate_sans,
            create_time,
        },
    )
}

fn caller_keys() -> impl Strategy<Value = CallerKey> {
    (
        pick(&["ab", "abc"]),
        ids(),
        digests(),
        times(),
        times(),
        prop::option::of(times()),
    )
        .prop_map(
            |(caller, id, digest, create_time, expire_time, revoke_time)| CallerKey {
                name: CallerKeyName {
                    caller: caller.parse().expect("well-formed"),
                    id,
                },
                digest,
                create_time,
                expire_time,
                revoke_time,
            },
        )
}

/// `a` with one field of `b`, so that a missing field in the MAC is not hidden by the others.
fn token_crossed((a, b, field): (Token, Token, usize)) -> (Token, Token) {
    let mut crossed = a.clone();
    match field {
        0 => crossed.name.workspace = b.name.workspace,
        1 => crossed.name.id = b.name.id,
        2 => crossed.digest = b.digest,
        3 => crossed.resource = b.resource,
        4 => crossed.scopes = b.scopes,
        5 => crossed.allowed_addresses = b.allowed_addresses,
        6 => crossed.create_time = b.create_time,
        7 => crossed.creator = b.creator,
        8 => crossed.own_expiry = b.own_expiry,
        9 => crossed.revocation = b.revocation,
        10 => crossed.requested_expiry = b.requested_expiry,
        11 => crossed.rotated_from = b.rotated_from,
        12 => crossed.rotated_to = b.rotated_to,
        _ => crossed = b,
    }
    (a, crossed)
}

fn workspace_crossed((a, b, field): (Workspace, Workspace, usize)) -> (Workspace, Workspace) {
    let mut crossed = a.clone();
    match field {
        0 => crossed.id = b.id,
        1 => crossed.organization = b.organization,
        2 => crossed.state = b.state,
        3 => crossed.create_time = b.create_time,
        4 => crossed.policy.text = b.policy.text,
        5 => crossed.policy.update_time = b.policy.update_time,
        6 => crossed.policy.deadlines = b.policy.deadlines,
        _ => crossed = b,
    }
    (a, crossed)
}

fn caller_crossed((a, b, field): (Caller, Caller, usize)) -> (Caller, Caller) {
    let mut crossed = a.clone();
    match field {
        0 => crossed.id = b.id,
        1 => crossed.role = b.role,
        2 => crossed.workspaces = b.workspaces,
        3 => crossed.certificate_sans = b.certificate_sans,
        4 => crossed.create_time = b.create_time,
        _ => crossed = b,
    }
    (a, crossed)
}

fn caller_key_crossed((a, b, field): (CallerKey, CallerKey, usize)) -> (CallerKey, CallerKey) {
    let mut crossed = a.clone();
    match field {
        0 => crossed.name.caller = b.name.caller,
        1 => crossed.name.id = b.name.id,
        2 => crossed.digest = b.digest,
        3 => crossed.create_time = b.create_time,
        4 => crossed.expire_time = b.expire_time,
        5 => crossed.revoke_time = b.revoke_time,
        _ => crossed = b,
    }
    (a, crossed)
}

/// Checks that two rows have the same MAC if and only if they are equal.
fn assert_distinct<T: Sealed + PartialEq>(a: &T, b: &T) -> Result<(), TestCaseError> {
    let ring = ring();
    prop_assert_eq!(a == b, ring.seal(a) == ring.seal(b));
    prop_assert_eq!(a == b, ring.is_intact(a, &ring.seal(b)));
    prop_assert!(ring.is_intact(a, &ring.seal(a)));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn different_tokens_have_different_macs((a, b) in (tokens(), tokens(), 0..14usize).prop_map(token_crossed)) {
        assert_distinct(&a, &b)?;
    }

    #[test]
    fn different_workspaces_have_different_macs(
        (a, b) in (workspaces(), workspaces(), 0..8usize).prop_map(workspace_crossed),
    ) {
        assert_distinct(&a, &b)?;
    }

    #[test]
    fn different_callers_have_different_macs((a, b) in (callers(), callers(), 0..6usize).prop_map(caller_crossed)) {
        assert_distinct(&a, &b)?;
    }

    #[test]
    fn different_caller_keys_have_different_macs(
        (a, b) in (caller_keys(), caller_keys(), 0..7usize).prop_map(caller_key_crossed),
    ) {
        assert_distinct(&a, &b)?;
    }
}
