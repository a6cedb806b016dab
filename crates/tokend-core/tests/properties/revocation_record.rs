//! Lines of the revocations file: they are read back as written, and forged ones are rejected.

use tokend_core::{
    keyring::KeyState,
    policy::{PolicyName, PolicyState},
    revocation::{Place, RevocationLineError, RevocationRecord},
    workspace::WorkspaceState,
};

use crate::samples::{OTHER_ROOT, ROOT, at, caller_key, policy_state, revocation, ring, ring_of, roots_of, token};

const PLACE: Place = Place {
    epoch: u64::MAX >> 1,
    position: 7,
};

fn endings() -> [RevocationRecord; 9] {
    let of_workspace = |state| RevocationRecord::Workspace {
        id: "acme".parse().expect("well-formed"),
        create_time: at(1),
        state,
    };
    [
        RevocationRecord::Token {
            name: token().name,
            revocation: revocation(),
        },
        RevocationRecord::Caller {
            id: "ci".parse().expect("well-formed"),
            create_time: at(1),
            at: at(1_750_000_000_000_000),
        },
        RevocationRecord::CallerKey {
            name: caller_key().name,
            at: at(1_750_000_000_000_000),
        },
        of_workspace(WorkspaceState::Suspended {
            at: at(1_750_000_000_000_000),
        }),
        of_workspace(WorkspaceState::Active),
        of_workspace(WorkspaceState::Deleted {
            at: at(1_750_000_000_000_000),
        }),
        RevocationRecord::TokenRotated {
            name: token().name,
            end: at(1_750_000_000_000_000),
        },
        RevocationRecord::Policy {
            name: PolicyName::Workspace("acme".parse().expect("well-formed")),
            create_time: at(1),
            state: policy_state(),
        },
        RevocationRecord::Policy {
            name: PolicyName::Organization("initech".parse().expect("well-formed")),
            create_time: at(1),
            state: PolicyState::default(),
        },
    ]
}

/// Pins the form: a change that fails here invalidates every export that is kept somewhere.
#[test]
fn known_form() {
    let line = ring().write_revocation(PLACE, &endings()[0]);
    let (form, mac) = line.split_once("\"mac\":").expect("a MAC");
    assert_eq!(
        form,
        "{\"version\":1,\"epoch\":9223372036854775807,\"position\":7,\"ending\":{\"kind\":\"token.revoked\",\
         \"name\":\"workspaces/acme/tokens/Dn2Ie2x6yUp35V62V\",\"time\":1750000000000000,\"by\":\"ops\",\
         \"reason\":\"leaked\"},\"kid\":\"0\","
    );
    assert_eq!(mac.len(), 64 + 3);
}

#[test]
fn lines_round_trip() {
    for ending in endings() {
        let line = ring().write_revocation(PLACE, &ending);
        assert!(!line.contains('\n'), "{line}");
        assert_eq!(ring().read_revocation(&line), Ok((PLACE, ending)), "{line}");
    }
}

/// Every digit and letter of every line is changed: no changed line is accepted.
#[test]
fn no_character_can_be_changed() {
    for ending in endings() {
        let line = ring().write_revocation(PLACE, &ending);
        let mut tampered = 0;
        for index in line
            .char_indices()
            .filter(|(_, char)| char.is_ascii_alphanumeric())
            .map(|(index, _)| index)
        {
            for with in ["0", "1", "a", "Z"] {
                let changed = format!("{}{with}{}", &line[..index], &line[index + 1..]);
                if changed != line {
                    let read = ring().read_revocation(&changed);
                    assert!(read.is_err(), "{changed}");
                    tampered += usize::from(read == Err(RevocationLineError::Tampered));
                }
            }
        }
        assert!(tampered > 100, "most are still well-formed: {tampered}");
    }
}

#[test]
fn an_invalid_line_is_reported() {
    let line = ring().write_revocation(PLACE, &endings()[1]);
    for none in [
        "",
        "{}",
        "[]",
        "garbage",
        &line[1..],
        &line.replace("caller.deleted", "caller.created"),
        &line.replace("\"kid\"", "\"key\""),
    ] {
        assert_eq!(
            ring().read_revocation(none),
            Err(RevocationLineError::Malformed),
            "{none}"
        );
    }
    assert_eq!(
        ring().read_revocation(&line.replace("\"version\":1", "\"version\":2,\"new\":0")),
        Err(RevocationLineError::Later)
    );
    let lacked = ring_of("tkd", &[("1", OTHER_ROOT)]).read_revocation(&line);
    assert!(matches!(lacked, Err(RevocationLineError::MissingKey(_))), "{lacked:?}");
    assert_eq!(
        ring_of("tkd", &[("0", OTHER_ROOT)]).read_revocation(&line),
        Err(RevocationLineError::Tampered)
    );
}

/// An export is kept for longer than a key: lines that were sealed with a retired key are accepted.
#[test]
fn lines_of_a_retired_key_are_accepted() {
    let roots = roots_of("tkd", &[("0", ROOT), ("1", OTHER_ROOT)]);
    let mut known = roots.initial_keys();
    (known[0].state, known[1].state) = (KeyState::Retired, KeyState::Active);
    let later = roots.with_retired(known[0].kid).ring(&known).expect("its own keys");
    let line = ring().write_revocation(PLACE, &endings()[2]);
    assert_eq!(later.read_revocation(&line), Ok((PLACE, endings()[2].clone())));
}
