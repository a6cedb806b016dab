//! Row MACs: whoever can write the database can change nothing that a verdict or an authorization reads.

use std::{collections::HashSet, fmt};

use proptest::prelude::*;
use tokend_core::{
    address::AllowedAddresses,
    caller::{Caller, CallerKey, Role, WorkspaceAccess},
    certificate_san::CertificateSan,
    credential::{CredentialId, SecretDigest},
    labels::Labels,
    name::{CallerKeyName, TokenName},
    organization::Organization,
    policy::{Deadlines, PolicyState},
    row_mac::{MacInput, RowMac, Sealed},
    scope::GrantedScopes,
    text::{Description, DisplayName, Reason},
    time::Timestamp,
    token::{Expiry, Revocation, Token},
    workspace::{Workspace, WorkspaceState},
};

use crate::samples::{
    OTHER_ROOT, ROOT, at, caller, caller_key, id, kid, names, only, organization, policy_state, resource, revocation, ring,
    ring_of, token, workspace, workspace_id, workspace_ids,
};

/// What changes, and how.
type Change<T> = (&'static str, fn(&mut T));

/// Each change of `row` alone must break its MAC, and no two of them may share one.
fn assert_covered<T: Sealed + Clone + fmt::Debug>(row: &T, changes: &[Change<T>]) {
    let ring = ring();
    let mac = ring.seal(row);
    assert!(ring.is_intact(row, &mac));
    let mut seen = vec![mac];
    for (what, change) in changes {
        let mut changed = row.clone();
        change(&mut changed);
        assert!(!ring.is_intact(&changed, &mac), "{what}");
        let theirs = ring.seal(&changed);
        assert!(ring.is_intact(&changed, &theirs) && !ring.is_intact(row, &theirs), "{what}");
        assert!(!seen.contains(&theirs), "{what} is taken for another change");
        seen.push(theirs);
    }
}

fn assert_not_covered<T: Sealed + Clone>(row: &T, change: impl FnOnce(&mut T)) {
    let mut changed = row.clone();
    change(&mut changed);
    assert!(ring().is_intact(&changed, &ring().seal(row)));
}

fn deadlines(text: &str) -> Deadlines {
    text.parse().expect("well-formed")
}

fn other_id() -> CredentialId {
    CredentialId::from_bytes([0; CredentialId::BYTES])
}

fn grant(version: u32, granted: &[&str], effective: &[&str]) -> GrantedScopes {
    GrantedScopes::from_stored(version, names(granted), names(effective)).expect("well-formed")
}

/// What each MAC covers, in which order and spelling, pinned by an independent implementation. A change that fails here must
/// raise the table's `LAYOUT`, or every stored row is refused.
#[test]
fn known_answers() {
    let ring = ring();
    let bare_token = Token {
        resource: resource("workspaces/acme"),
        scopes: grant(1, &["a"], &["a"]),
        allowed_addresses: AllowedAddresses::Any,
        own_expiry: Expiry::Never,
        requested_expiry: Expiry::Never,
        revocation: None,
        rotated_from: None,
        rotated_to: None,
        ..token()
    };
    let without_policy = Workspace { policy: PolicyState::default(), ..workspace() };
    let active = Workspace { organization: None, state: WorkspaceState::Active, ..without_policy };
    let deleted = Workspace { state: WorkspaceState::Deleted { at: at(1_750_000_000_000_000) }, ..active.clone() };
    let caller_of_all = Caller { workspaces: WorkspaceAccess::All, certificate_sans: vec![], ..caller() };
    let working_key = CallerKey { revoke_time: None, ..caller_key() };
    let known = [
        ("bare token", ring.seal(&bare_token), "f7660935ab54fff21db183484f14c1fa2efc16ec0560b5babac3b858792c8d8a"),
        ("active workspace", ring.seal(&active), "0e58c49715f72c909c514c042cd6fadceff6da7f0a34312d8efa00f1d9779b6d"),
        ("deleted workspace", ring.seal(&deleted), "413785c1241e64983198a757e39afa56e49f35be3ecbd39b11bb8b68cc5c9a3e"),
        ("caller of all", ring.seal(&caller_of_all), "84b0c6233d19fe2fd2315dad18a6d902a8c336bb55615a9576bf954a6a325a30"),
        ("working key", ring.seal(&working_key), "132830fa65347b02c0034c81c92260ef44c8390915be227a9ec31ee818ff2496"),
        ("token", ring.seal(&token()), "b6562c0e44d00195b4cb2b741e8a7fdceb1d83ff90bb97bc90a6b84b0b77cbd4"),
        ("suspended workspace", ring.seal(&workspace()), "7ce1b2b6b3b36701ee0c35707c384b44bdb3ed28f96b131a0537d08f545a4ed2"),
        ("organization", ring.seal(&organization()), "e1ced3aa2fb1c08e9f9351690425c964b4e11a356222bbb2a0fa986d9c6b51ff"),
        ("caller", ring.seal(&caller()), "6b72d849ac6b49475470408724ac8dd45b5cec0cca309993d24c56a72efcc100"),
        ("revoked key", ring.seal(&caller_key()), "b6e0841e14fddd49bb82ca5a3b149544a62c6fe860528beee051f982160b7928"),
    ];
    for (row, mac, hash) in known {
        let bytes = mac.to_bytes();
        let layout = if row.contains("caller") || row.contains("key") { 1 } else { 2 };
        assert_eq!(bytes[..2], [layout, b'0'], "{row}");
        assert_eq!(blake3::Hash::from_slice(&bytes[2..]).expect("32 bytes").to_hex().as_str(), hash, "{row}");
    }
}

/// Tokens that were sealed before there was rotation, likewise pinned.
#[test]
fn tokens_of_the_first_layout_stay_valid_as_long_as_they_were_never_rotated() {
    let mac = of_the_first_layout("76e808133555b7c02d8cefc0535851e3638aaa09ee8ef5cb67080dfc0a9c7765");
    let old = Token { requested_expiry: token().own_expiry, rotated_from: None, rotated_to: None, ..token() };
    assert!(ring().is_intact(&old, &mac));
    let changes: [fn(&mut Token); 5] = [
        |row| row.requested_expiry = Expiry::Never,
        |row| row.rotated_from = Some(id()),
        |row| row.rotated_to = Some(id()),
        |row| row.own_expiry = Expiry::Never,
        |row| (row.own_expiry, row.requested_expiry) = (Expiry::Never, Expiry::Never),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut changed = old.clone();
        change(&mut changed);
        assert!(!ring().is_intact(&changed, &mac), "change {index}");
    }
}

/// Workspaces and organizations that were sealed before there were policies, likewise.
#[test]
fn rows_of_the_first_layout_stay_valid_as_long_as_they_have_no_policy() {
    let workspace_mac = of_the_first_layout("c6b076098349c1322fe8b32184ecf96ddff5b01b045cd08cbd8fa784d080abd1");
    let organization_mac = of_the_first_layout("61dbd787ceb589c5a9a770c7d9ab9a596803f60afd4780d8f8d78f7ed92d374a");
    let intact = |policy: PolicyState| {
        let workspace = ring().is_intact(&Workspace { policy: policy.clone(), ..workspace() }, &workspace_mac);
        (workspace, ring().is_intact(&Organization { policy, ..organization() }, &organization_mac))
    };
    assert_eq!(intact(PolicyState::default()), (true, true));
    let changes: [fn(&mut PolicyState); 3] = [
        |policy| policy.text = policy_state().text,
        |policy| policy.update_time = Some(at(0)),
        |policy| policy.deadlines = policy_state().deadlines,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut policy = PolicyState::default();
        change(&mut policy);
        assert_eq!(intact(policy), (false, false), "change {index}");
    }
}

fn of_the_first_layout(hash: &str) -> RowMac {
    let hash = blake3::Hash::from_hex(hash).expect("64 digits");
    RowMac::from_bytes(&[&[1, b'0'], &hash.as_bytes()[..]].concat()).expect("well-formed")
}

#[test]
fn every_covered_field_of_a_token() {
    // A field added to a token ends the build here: cover it below, or say that it is not covered.
    let Token {
        name: _,
        digest: _,
        resource: _,
        display_name: _,
        description: _,
        scopes: _,
        allowed_addresses: _,
        labels: _,
        create_time: _,
        creator: _,
        own_expiry: _,
        requested_expiry: _,
        revocation: _,
        rotated_from: _,
        rotated_to: _,
    } = token();
    assert_covered::<Token>(
        &token(),
        &[
            ("workspace", |row| row.name.workspace = workspace_id("acme2")),
            ("id", |row| row.name.id = other_id()),
            ("digest", |row| row.digest = SecretDigest::from_stored(kid(b'0'), [0x12; 32])),
            ("digest's key", |row| row.digest = SecretDigest::from_stored(kid(b'1'), [0x11; 32])),
            ("wider resource", |row| row.resource = resource("workspaces/acme")),
            ("other resource", |row| row.resource = resource("workspaces/acme/projects/web2")),
            ("display name", |row| row.display_name = DisplayName::new("other".to_owned()).expect("well-formed")),
            ("labels", |row| row.labels = Labels::default()),
            ("catalogue version", |row| row.scopes = grant(2, &["repository:write"], &["repository", "repository:write"])),
            ("granted", |row| row.scopes = grant(1, &["repository"], &["repository", "repository:write"])),
            ("effective, wider", |row| {
                row.scopes = grant(1, &["repository:write"], &["repository", "repository:write", "webhook"]);
            }),
            ("effective, narrower", |row| row.scopes = grant(1, &["repository:write"], &["repository:write"])),
            ("granted moved to effective", |row| {
                row.scopes = grant(1, &["repository:write", "repository"], &["repository:write", "repository"]);
            }),
            ("from anywhere", |row| row.allowed_addresses = AllowedAddresses::Any),
            ("one network less", |row| row.allowed_addresses = only(&["192.0.2.0/24"])),
            ("wider network", |row| row.allowed_addresses = only(&["192.0.2.0/23", "2001:db8::/32"])),
            ("create time", |row| row.create_time = row.create_time.saturating_add_micros(1)),
            ("creator", |row| row.creator = "cj".parse().expect("well-formed")),
            ("later expiry", |row| row.own_expiry = Expiry::At(at(1_800_000_000_000_001))),
            ("no expiry", |row| row.own_expiry = Expiry::Never),
            ("other requested expiry", |row| row.requested_expiry = row.own_expiry),
            ("no requested expiry", |row| row.requested_expiry = Expiry::Never),
            ("made by itself", |row| row.rotated_from = None),
            ("made for another", |row| row.rotated_from = Some(other_id())),
            ("not replaced", |row| row.rotated_to = None),
            ("replaced by another", |row| row.rotated_to = Some(other_id())),
            ("replaced by what it replaced", |row| std::mem::swap(&mut row.rotated_from, &mut row.rotated_to)),
            ("revived", |row| row.revocation = None),
            ("revoked later", |row| row.revocation = Some(Revocation { at: at(1_750_000_000_000_001), ..revocation() })),
            ("revoked by another", |row| {
                row.revocation = Some(Revocation { by: "ci".parse().expect("well-formed"), ..revocation() });
            }),
        ],
    );
    // What only people read decides nothing.
    assert_not_covered(&token(), |row| row.description = Description::new(String::new()).expect("well-formed"));
    assert_not_covered(&token(), |row| {
        row.revocation = Some(Revocation { reason: Reason::new(String::new()).expect("well-formed"), ..revocation() });
    });
}

#[test]
fn every_covered_field_of_a_workspace() {
    let Workspace { id: _, display_name: _, organization: _, state: _, create_time: _, policy: _ } = workspace();
    assert_covered::<Workspace>(
        &workspace(),
        &[
            ("id", |row| row.id = workspace_id("acme2")),
            ("another organization", |row| row.organization = Some("initrode".parse().expect("well-formed"))),
            ("no organization", |row| row.organization = None),
            ("resumed", |row| row.state = WorkspaceState::Active),
            ("suspended earlier", |row| row.state = WorkspaceState::Suspended { at: at(1) }),
            ("deleted", |row| row.state = WorkspaceState::Deleted { at: at(1_750_000_000_000_000) }),
            ("deleted earlier", |row| row.state = WorkspaceState::Deleted { at: at(1) }),
            ("create time", |row| row.create_time = at(0)),
            ("no policy", |row| row.policy = PolicyState::default()),
            ("policy", |row| row.policy.text = "{}".to_owned()),
            ("policy's time", |row| row.policy.update_time = Some(at(1))),
            ("policy without a time", |row| row.policy.update_time = None),
            ("no deadline", |row| row.policy.deadlines = Deadlines::default()),
            ("one deadline less", |row| row.policy.deadlines = deadlines("1710000000000000:1715000000000000")),
            ("later deadline", |row| {
                row.policy.deadlines = deadlines("1710000000000000:1715000000000001 1720000000000000:1720003600000000");
            }),
            ("deadline of fewer", |row| {
                row.policy.deadlines = deadlines("1709999999999999:1715000000000000 1720000000000000:1720003600000000");
            }),
        ],
    );
    assert_not_covered(&workspace(), |row| row.display_name = DisplayName::new("other".to_owned()).expect("well-formed"));
}

#[test]
fn every_covered_field_of_an_organization() {
    let Organization { id: _, display_name: _, create_time: _, policy: _ } = organization();
    assert_covered::<Organization>(
        &organization(),
        &[
            ("id", |row| row.id = "initrode".parse().expect("well-formed")),
            ("create time", |row| row.create_time = at(0)),
            ("policy", |row| row.policy.text = "{}".to_owned()),
            ("policy's time", |row| row.policy.update_time = None),
            ("no deadline", |row| row.policy.deadlines = Deadlines::default()),
        ],
    );
    assert_not_covered(&organization(), |row| row.display_name = DisplayName::new("other".to_owned()).expect("well-formed"));
}

#[test]
fn every_field_of_a_caller() {
    let Caller { id: _, role: _, workspaces: _, certificate_sans: _, create_time: _ } = caller();
    assert_covered::<Caller>(
        &caller(),
        &[
            ("id", |row| row.id = "ops".parse().expect("well-formed")),
            ("admin", |row| row.role = Role::Admin),
            ("workspace admin", |row| row.role = Role::WorkspaceAdmin),
            ("revoker", |row| row.role = Role::Revoker),
            ("auditor", |row| row.role = Role::Auditor),
            ("every workspace", |row| row.workspaces = WorkspaceAccess::All),
            ("one workspace more", |row| row.workspaces = workspace_ids(&["acme", "beta", "gamma"])),
            ("one workspace less", |row| row.workspaces = workspace_ids(&["acme"])),
            ("another workspace", |row| row.workspaces = workspace_ids(&["acme", "gamma"])),
            ("another SAN", |row| row.certificate_sans = vec![san("spiffe://initech.example/cj")]),
            ("a second SAN", |row| row.certificate_sans.push(san("ci.initech.example"))),
            ("no SAN", |row| row.certificate_sans.clear()),
            ("create time", |row| row.create_time = at(0)),
        ],
    );
}

#[test]
fn every_field_of_a_caller_key() {
    let CallerKey { name: _, digest: _, create_time: _, expire_time: _, revoke_time: _ } = caller_key();
    assert_covered::<CallerKey>(
        &caller_key(),
        &[
            ("caller", |row| row.name.caller = "root".parse().expect("well-formed")),
            ("id", |row| row.name.id = other_id()),
            ("digest", |row| row.digest = SecretDigest::from_stored(kid(b'0'), [0; 32])),
            ("digest's key", |row| row.digest = SecretDigest::from_stored(kid(b'1'), [0x11; 32])),
            ("create time", |row| row.create_time = at(0)),
            ("later expiry", |row| row.expire_time = Timestamp::MAX),
            ("revived", |row| row.revoke_time = None),
            ("revoked at another time", |row| row.revoke_time = Some(at(0))),
        ],
    );
}

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

/// Scope names that run into one another when written without lengths.
fn grants() -> impl Strategy<Value = GrantedScopes> {
    let scopes = || prop::collection::vec(pick(&["a", "aa", "a:a", "b", "ab"]), 1..4);
    (0..2u32, scopes(), scopes()).prop_map(|(version, granted, more)| {
        let effective: Vec<_> = granted.iter().chain(&more).copied().collect();
        grant(version, &granted, &effective)
    })
}

fn networks() -> impl Strategy<Value = AllowedAddresses> {
    let some = prop::sample::subsequence(vec!["192.0.2.0/24", "192.0.2.0/25", "::/0", "0.0.0.0/0"], 0..=4);
    some.prop_map(|networks| if networks.is_empty() { AllowedAddresses::Any } else { only(&networks) })
}

/// Tokens from small domains, so that two of them often differ in little or nothing. What is not covered stays the same.
fn tokens() -> impl Strategy<Value = Token> {
    let resources = ["workspaces/ab", "workspaces/ab/c", "workspaces/ab/c/d"].map(resource);
    let revocation = (times(), pick(&["ab", "abc"])).prop_map(|(at, by)| Revocation {
        at,
        by: by.parse().expect("well-formed"),
        ..revocation()
    });
    (
        (pick(&["ab", "abc"]), ids(), digests(), pick(&resources), grants()),
        (networks(), times(), pick(&["ab", "abc"]), prop::option::of(times()), prop::option::of(revocation)),
        (prop::option::of(times()), prop::option::of(ids()), prop::option::of(ids())),
    )
        .prop_map(
            |(
                (workspace, id, digest, resource, scopes),
                (allowed_addresses, create_time, creator, expire_time, revocation),
                (requested, rotated_from, rotated_to),
            )| {
                let name = TokenName { workspace: workspace_id(workspace), id };
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
    (pick(&["ab", "abc"]), prop::option::of(pick(&["ab", "abc"])), states, times(), policies()).prop_map(
        |(id, organization, state, create_time, policy)| Workspace {
            id: workspace_id(id),
            organization: organization.map(|id| id.parse().expect("well-formed")),
            state,
            create_time,
            policy,
            ..workspace()
        },
    )
}

fn policies() -> impl Strategy<Value = PolicyState> {
    let steps = pick(&["", "1:2", "1:3", "2:3", "1:2 2:3", "1:2 3:4"]).prop_map(deadlines);
    (pick(&["", "{}"]), prop::option::of(times()), steps).prop_map(|(text, update_time, deadlines)| PolicyState {
        text: text.to_owned(),
        update_time,
        deadlines,
    })
}

fn san(name: &str) -> CertificateSan {
    name.parse().expect("well-formed")
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
    (pick(&["ab", "abc"]), ids(), digests(), times(), times(), prop::option::of(times())).prop_map(
        |(caller, id, digest, create_time, expire_time, revoke_time)| CallerKey {
            name: CallerKeyName { caller: caller.parse().expect("well-formed"), id },
            digest,
            create_time,
            expire_time,
            revoke_time,
        },
    )
}

/// `a` with one field of `b`, so that a field that the MAC leaves out is not covered up by the others.
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

/// Two rows have the same MAC when they are the same, and only then.
fn assert_told_apart<T: Sealed + PartialEq>(a: &T, b: &T) -> Result<(), TestCaseError> {
    let ring = ring();
    prop_assert_eq!(a == b, ring.seal(a) == ring.seal(b));
    prop_assert_eq!(a == b, ring.is_intact(a, &ring.seal(b)));
    prop_assert!(ring.is_intact(a, &ring.seal(a)));
    Ok(())
}

/// A row of two lists, a text, and a text that may be null.
struct Columns(&'static [&'static str], &'static str, &'static [&'static str], Option<&'static str>);

impl Sealed for Columns {
    const TABLE: &'static str = "tests";
    const LAYOUT: u8 = 1;

    fn write_sealed_columns(&self, input: &mut MacInput) {
        input.texts(self.0.iter().copied());
        input.text(self.1);
        input.texts(self.2.iter().copied());
        input.optional(self.3, MacInput::text);
    }
}

/// No column runs into the next one, nor an entry of a list into the next entry: every combination of values that would look
/// alike without lengths, counts or marks.
#[test]
fn columns_never_run_together() {
    const LISTS: [&[&str]; 8] = [&[], &[""], &["a"], &["a", ""], &["", "a"], &["a", "a"], &["aa"], &["", ""]];
    const TEXTS: [&str; 3] = ["", "a", "aa"];
    const NULLABLE: [Option<&str>; 5] = [None, Some(""), Some("a"), Some("\0\0\0\0\0\0\0\0"), Some("\u{1}\0\0\0\0\0\0\0")];
    let ring = ring();
    let mut macs = HashSet::new();
    for first in LISTS {
        for text in TEXTS {
            for second in LISTS {
                for nullable in NULLABLE {
                    let mac = ring.seal(&Columns(first, text, second, nullable));
                    assert!(macs.insert(mac.to_bytes()), "{first:?} {text:?} {second:?} {nullable:?}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn different_tokens_have_different_macs((a, b) in (tokens(), tokens(), 0..14usize).prop_map(token_crossed)) {
        assert_told_apart(&a, &b)?;
    }

    #[test]
    fn different_workspaces_have_different_macs((a, b) in (workspaces(), workspaces(), 0..8usize).prop_map(workspace_crossed)) {
        assert_told_apart(&a, &b)?;
    }

    #[test]
    fn different_callers_have_different_macs((a, b) in (callers(), callers(), 0..6usize).prop_map(caller_crossed)) {
        assert_told_apart(&a, &b)?;
    }

    #[test]
    fn different_caller_keys_have_different_macs((a, b) in (caller_keys(), caller_keys(), 0..7usize).prop_map(caller_key_crossed)) {
        assert_told_apart(&a, &b)?;
    }
}

/// The same columns, in this table and layout.
struct Elsewhere<const OTHER_TABLE: bool, const LAYOUT: u8>;

impl<const OTHER_TABLE: bool, const LAYOUT: u8> Sealed for Elsewhere<OTHER_TABLE, LAYOUT> {
    const TABLE: &'static str = if OTHER_TABLE { "there" } else { "here" };
    const LAYOUT: u8 = LAYOUT;

    fn write_sealed_columns(&self, input: &mut MacInput) {
        input.text("the same");
    }
}

#[test]
fn the_same_values_of_another_table_or_layout_are_refused() {
    let (ring, row) = (ring(), Elsewhere::<false, 1>);
    let mac = ring.seal(&row);
    assert!(ring.is_intact(&row, &mac));
    assert!(!ring.is_intact(&Elsewhere::<true, 1>, &mac));
    assert!(!ring.is_intact(&row, &ring.seal(&Elsewhere::<false, 2>)));
    // Nor does it help to write the other layout's number beside the old hash.
    let mut relabelled = mac.to_bytes();
    relabelled[0] = 2;
    let relabelled = RowMac::from_bytes(&relabelled).expect("well-formed");
    assert!(!ring.is_intact(&Elsewhere::<false, 2>, &relabelled));
    assert!(!ring.is_intact(&row, &relabelled));
}

/// A table in its first layout, and after a change that added a column with the default `plain`.
struct Before(&'static str);
struct After(&'static str, &'static str);

impl Sealed for Before {
    const TABLE: &'static str = "tests";
    const LAYOUT: u8 = 1;

    fn write_sealed_columns(&self, input: &mut MacInput) {
        input.text(self.0);
    }
}

impl Sealed for After {
    const TABLE: &'static str = "tests";
    const LAYOUT: u8 = 2;

    fn write_sealed_columns(&self, input: &mut MacInput) {
        input.text(self.0);
        input.since(2, self.1 == "plain", |input| input.text(self.1));
    }
}

#[test]
fn a_column_that_was_added_leaves_old_rows_valid_and_itself_covered() {
    let ring = ring();
    let old = ring.seal(&Before("a"));
    assert!(ring.is_intact(&After("a", "plain"), &old));
    assert!(!ring.is_intact(&After("b", "plain"), &old));
    // The old MAC does not cover it, so that it may only hold what it was given.
    assert!(!ring.is_intact(&After("a", "fancy"), &old));
    let new = ring.seal(&After("a", "fancy"));
    assert!(ring.is_intact(&After("a", "fancy"), &new));
    for other in [After("a", "plain"), After("b", "fancy")] {
        assert!(!ring.is_intact(&other, &new));
    }
    // Nobody goes back: neither a layout below the first, nor the old one for a new row, nor a server that knows the old one.
    for layout in [0, 1] {
        let mut relabelled = new.to_bytes();
        relabelled[0] = layout;
        assert!(!ring.is_intact(&After("a", "fancy"), &RowMac::from_bytes(&relabelled).expect("well-formed")), "{layout}");
    }
    assert!(!ring.is_intact(&Before("a"), &ring.seal(&After("a", "plain"))));
}

#[test]
fn bytes_round_trip_and_every_bit_counts() {
    let ring = ring_of("tkd", &[("0", ROOT), ("1", OTHER_ROOT)]);
    let row = token();
    let mac = ring.seal(&row);
    let bytes = mac.to_bytes();
    assert_eq!(RowMac::from_bytes(&bytes), Some(mac));
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes;
        changed[bit / 8] ^= 1 << (bit % 8);
        let read = RowMac::from_bytes(&changed);
        assert!(read.is_none_or(|read| read.to_bytes() == changed && !ring.is_intact(&row, &read)), "bit {bit}");
    }
    // Another key of the ring did not seal it.
    let mut other_key = bytes;
    other_key[1] = b'1';
    assert!(!ring.is_intact(&row, &RowMac::from_bytes(&other_key).expect("well-formed")));
}

#[test]
fn other_bytes_are_no_mac() {
    let bytes = ring().seal(&token()).to_bytes();
    for end in 0..bytes.len() {
        assert_eq!(RowMac::from_bytes(&bytes[..end]), None, "{end}");
    }
    assert_eq!(RowMac::from_bytes(&[&bytes[..], &[0]].concat()), None);
    let mut no_key = bytes;
    no_key[1] = 0;
    assert_eq!(RowMac::from_bytes(&no_key), None);
}

#[test]
fn another_ring_finds_no_row_intact() {
    let mac = ring().seal(&token());
    assert!(!ring_of("tkd", &[("0", OTHER_ROOT)]).is_intact(&token(), &mac));
    assert!(!ring_of("tkd", &[("1", ROOT)]).is_intact(&token(), &mac));
}
