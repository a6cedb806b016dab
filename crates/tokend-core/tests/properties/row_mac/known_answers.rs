//! Pinned MACs: stored rows stay valid.

use tokend_core::{
    address::AllowedAddresses,
    caller::{Caller, CallerKey, WorkspaceAccess},
    organization::Organization,
    policy::PolicyState,
    row_mac::RowMac,
    token::{Expiry, Token},
    workspace::{Workspace, WorkspaceState},
};

use super::grant;
use crate::samples::{at, caller, caller_key, id, organization, policy_state, resource, ring, token, workspace};

/// Pins what each MAC covers, in which order and encoding, with values from an independent implementation. A change
/// that fails here must raise the table's `LAYOUT`, or every stored row is rejected.
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
    let without_policy = Workspace {
        policy: PolicyState::default(),
        ..workspace()
    };
    let active = Workspace {
        organization: None,
        state: WorkspaceState::Active,
        ..without_policy
    };
    let deleted = Workspace {
        state: WorkspaceState::Deleted {
            at: at(1_750_000_000_000_000),
        },
        ..active.clone()
    };
    let caller_of_all = Caller {
        workspaces: WorkspaceAccess::All,
        certificate_sans: vec![],
        ..caller()
    };
    let working_key = CallerKey {
        revoke_time: None,
        ..caller_key()
    };
    let known = [
        (
            "bare token",
            ring.seal(&bare_token),
            "f7660935ab54fff21db183484f14c1fa2efc16ec0560b5babac3b858792c8d8a",
        ),
        (
            "active workspace",
            ring.seal(&active),
            "0e58c49715f72c909c514c042cd6fadceff6da7f0a34312d8efa00f1d9779b6d",
        ),
        (
            "deleted workspace",
            ring.seal(&deleted),
            "413785c1241e64983198a757e39afa56e49f35be3ecbd39b11bb8b68cc5c9a3e",
        ),
        (
            "caller of all",
            ring.seal(&caller_of_all),
            "84b0c6233d19fe2fd2315dad18a6d902a8c336bb55615a9576bf954a6a325a30",
        ),
        (
            "working key",
            ring.seal(&working_key),
            "132830fa65347b02c0034c81c92260ef44c8390915be227a9ec31ee818ff2496",
        ),
        (
            "token",
            ring.seal(&token()),
            "b6562c0e44d00195b4cb2b741e8a7fdceb1d83ff90bb97bc90a6b84b0b77cbd4",
        ),
        (
            "suspended workspace",
            ring.seal(&workspace()),
            "7ce1b2b6b3b36701ee0c35707c384b44bdb3ed28f96b131a0537d08f545a4ed2",
        ),
        (
            "organization",
            ring.seal(&organization()),
            "e1ced3aa2fb1c08e9f9351690425c964b4e11a356222bbb2a0fa986d9c6b51ff",
        ),
        (
            "caller",
            ring.seal(&caller()),
            "6b72d849ac6b49475470408724ac8dd45b5cec0cca309993d24c56a72efcc100",
        ),
        (
            "revoked key",
            ring.seal(&caller_key()),
            "b6e0841e14fddd49bb82ca5a3b149544a62c6fe860528beee051f982160b7928",
        ),
    ];
    for (row, mac, hash) in known {
        let bytes = mac.to_bytes();
        let layout = if row.contains("caller") || row.contains("key") {
            1
        } else {
            2
        };
        assert_eq!(bytes[..2], [layout, b'0'], "{row}");
        assert_eq!(
            blake3::Hash::from_slice(&bytes[2..])
                .expect("32 bytes")
                .to_hex()
                .as_str(),
            hash,
            "{row}"
        );
    }
}

/// Tokens that were sealed before rotation existed.
#[test]
fn tokens_of_the_first_layout_stay_valid_as_long_as_they_were_never_rotated() {
    let mac = of_the_first_layout("76e808133555b7c02d8cefc0535851e3638aaa09ee8ef5cb67080dfc0a9c7765");
    let old = Token {
        requested_expiry: token().own_expiry,
        rotated_from: None,
        rotated_to: None,
        ..token()
    };
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

/// Workspaces and organizations that were sealed before policies existed.
#[test]
fn rows_of_the_first_layout_stay_valid_as_long_as_they_have_no_policy() {
    let workspace_mac = of_the_first_layout("c6b076098349c1322fe8b32184ecf96ddff5b01b045cd08cbd8fa784d080abd1");
    let organization_mac = of_the_first_layout("61dbd787ceb589c5a9a770c7d9ab9a596803f60afd4780d8f8d78f7ed92d374a");
    let intact = |policy: PolicyState| {
        let workspace = ring().is_intact(
            &Workspace {
                policy: policy.clone(),
                ..workspace()
            },
            &workspace_mac,
        );
        (
            workspace,
            ring().is_intact(
                &Organization {
                    policy,
                    ..organization()
                },
                &organization_mac,
            ),
        )
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
