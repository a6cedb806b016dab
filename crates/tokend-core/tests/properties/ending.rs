//! The lines that tell what ended: read back as written, and by nobody else's hand.

use tokend_core::{
    ending::{Ending, NotAnEnding, Place},
    keyring::KeyState,
    policy::{PolicyName, PolicyState},
    workspace::WorkspaceState,
};

use crate::samples::{OTHER_ROOT, ROOT, at, caller_key, policy_state, revocation, ring, ring_of, roots_of, token};

const PLACE: Place = Place { epoch: u64::MAX >> 1, position: 7 };

fn endings() -> [Ending; 9] {
    let of_workspace = |state| Ending::Workspace { id: "acme".parse().expect("well-formed"), create_time: at(1), state };
    [
        Ending::Token { name: token().name, revocation: revocation() },
        Ending::Caller { id: "ci".parse().expect("well-formed"), create_time: at(1), at: at(1_750_000_000_000_000) },
        Ending::CallerKey { name: caller_key().name, at: at(1_750_000_000_000_000) },
        of_workspace(WorkspaceState::Suspended { at: at(1_750_000_000_000_000) }),
        of_workspace(WorkspaceState::Active),
        of_workspace(WorkspaceState::Deleted { at: at(1_750_000_000_000_000) }),
        Ending::TokenRotated { name: token().name, end: at(1_750_000_000_000_000) },
        Ending::Policy {
            name: PolicyName::Workspace("acme".parse().expect("well-formed")),
            create_time: at(1),
            state: policy_state(),
        },
        Ending::Policy {
            name: PolicyName::Organization("initech".parse().expect("well-formed")),
            create_time: at(1),
            state: PolicyState::default(),
        },
    ]
}

/// The form, pinned: a change that fails here makes every export that is kept somewhere worthless.
#[test]
fn known_form() {
    let line = ring().write_ending(PLACE, &endings()[0]);
    let (form, mac) = line.split_once("\"mac\":").expect("a MAC");
    assert_eq!(
        form,
        "{\"version\":1,\"epoch\":9223372036854775807,\"position\":7,\"ending\":{\"kind\":\"token.revoked\",\
         \"name\":\"workspaces/acme/tokens/Dn2Ie2x6yUp35V62V\",\"time\":1750000000000000,\"by\":\"ops\",\"reason\":\"leaked\"},\"kid\":\"0\","
    );
    assert_eq!(mac.len(), 64 + 3);
}

#[test]
fn lines_round_trip() {
    for ending in endings() {
        let line = ring().write_ending(PLACE, &ending);
        assert!(!line.contains('\n'), "{line}");
        assert_eq!(ring().read_ending(&line), Ok((PLACE, ending)), "{line}");
    }
}

/// Every digit and letter of every line, changed: whatever still is a line is not believed.
#[test]
fn no_character_can_be_changed() {
    for ending in endings() {
        let line = ring().write_ending(PLACE, &ending);
        let mut tampered = 0;
        for index in line.char_indices().filter(|(_, char)| char.is_ascii_alphanumeric()).map(|(index, _)| index) {
            for with in ["0", "1", "a", "Z"] {
                let changed = format!("{}{with}{}", &line[..index], &line[index + 1..]);
                if changed != line {
                    let read = ring().read_ending(&changed);
                    assert!(read.is_err(), "{changed}");
                    tampered += usize::from(read == Err(NotAnEnding::Tampered));
                }
            }
        }
        assert!(tampered > 100, "most are still well-formed: {tampered}");
    }
}

#[test]
fn what_is_none_is_told() {
    let line = ring().write_ending(PLACE, &endings()[1]);
    for none in [
        "",
        "{}",
        "[]",
        "garbage",
        &line[1..],
        &line.replace("caller.deleted", "caller.created"),
        &line.replace("\"kid\"", "\"key\""),
    ] {
        assert_eq!(ring().read_ending(none), Err(NotAnEnding::Malformed), "{none}");
    }
    assert_eq!(ring().read_ending(&line.replace("\"version\":1", "\"version\":2,\"new\":0")), Err(NotAnEnding::Later));
    let lacked = ring_of("tkd", &[("1", OTHER_ROOT)]).read_ending(&line);
    assert!(matches!(lacked, Err(NotAnEnding::KeyLacked(_))), "{lacked:?}");
    assert_eq!(ring_of("tkd", &[("0", OTHER_ROOT)]).read_ending(&line), Err(NotAnEnding::Tampered));
}

/// An export is kept for longer than a key: one that was retired since still tells what ended.
#[test]
fn a_retired_key_is_still_believed() {
    let roots = roots_of("tkd", &[("0", ROOT), ("1", OTHER_ROOT)]);
    let mut known = roots.known_at_first();
    (known[0].state, known[1].state) = (KeyState::Retired, KeyState::Active);
    let later = roots.with_retired(known[0].kid).ring(&known).expect("its own keys");
    let line = ring().write_ending(PLACE, &endings()[2]);
    assert_eq!(later.read_ending(&line), Ok((PLACE, endings()[2].clone())));
}
