//! Rotation: what it gives to the successor, and that no overlap ever gives the predecessor more time.

use std::time::Duration;

use proptest::prelude::*;
use tokend_core::{
    credential::{CredentialId, SecretDigest},
    rotation::{NotRotatable, Rotated, Successor},
    time::Timestamp,
    token::{Expiry, Token, TokenState},
    workspace::WorkspaceState,
};

use crate::samples::{at, circumstances, kid, revocation, token};

const NEW: CredentialId = CredentialId::from_bytes([7; CredentialId::BYTES]);

/// A token that was made at `made`, to end at `expiry`.
fn made(made: i64, expiry: Expiry) -> Token {
    Token {
        create_time: at(made),
        own_expiry: expiry,
        requested_expiry: expiry,
        revocation: None,
        rotated_from: None,
        rotated_to: None,
        ..token()
    }
}

fn successor(expiry: Option<Expiry>) -> Successor {
    let digest = SecretDigest::from_stored(kid(b'0'), [0x22; 32]);
    Successor { id: NEW, digest, creator: "rotator".parse().expect("well-formed"), expiry }
}

fn rotate(token: &Token, expiry: Option<Expiry>, overlap: u64, now: i64) -> Rotated {
    token.rotate(successor(expiry), Duration::from_micros(overlap), at(now)).expect("it can be rotated")
}

fn works(token: &Token, now: i64) -> bool {
    token.state(&circumstances(WorkspaceState::Active), at(now)) == TokenState::Active
}

#[test]
fn a_successor_permits_what_its_predecessor_did_and_names_it() {
    let old = made(0, Expiry::At(at(100)));
    let Rotated { predecessor, successor } = rotate(&old, None, 5, 40);
    let end = Expiry::At(at(140));
    let wanted = Token {
        name: tokend_core::name::TokenName { id: NEW, ..old.name.clone() },
        digest: SecretDigest::from_stored(kid(b'0'), [0x22; 32]),
        create_time: at(40),
        creator: "rotator".parse().expect("well-formed"),
        own_expiry: end,
        requested_expiry: end,
        rotated_from: Some(old.name.id),
        ..old.clone()
    };
    assert_eq!(successor, wanted);
    assert_eq!(predecessor, Token { own_expiry: Expiry::At(at(45)), rotated_to: Some(NEW), ..old });
}

#[test]
fn an_end_that_is_chosen_counts() {
    let old = made(0, Expiry::At(at(100)));
    for chosen in [Expiry::Never, Expiry::At(at(41))] {
        let new = rotate(&old, Some(chosen), 0, 40).successor;
        assert_eq!((new.own_expiry, new.requested_expiry), (chosen, chosen));
    }
}

/// The chain keeps its span: neither an overlap nor a late rotation shortens or stretches it.
#[test]
fn a_chain_keeps_the_span_that_was_asked_for() {
    let mut newest = made(0, Expiry::At(at(100)));
    for now in [10, 70, 71, 500] {
        let Rotated { predecessor, successor } = rotate(&newest, None, 3, now);
        assert_eq!(successor.own_expiry, Expiry::At(at(now + 100)));
        assert_eq!(predecessor.requested_expiry, newest.requested_expiry);
        newest = successor;
    }
    assert_eq!(rotate(&made(0, Expiry::Never), None, 0, 10).successor.own_expiry, Expiry::Never);
    // "Until the last day there is" was asked for, and is what there is.
    assert_eq!(rotate(&made(0, Expiry::At(Timestamp::MAX)), None, 0, 10).successor.own_expiry, Expiry::At(Timestamp::MAX));
}

#[test]
fn what_was_revoked_or_rotated_is_not_rotated() {
    let rotate = |token: Token| token.rotate(successor(None), Duration::ZERO, at(1)).expect_err("it is refused");
    let token = || made(0, Expiry::Never);
    assert_eq!(rotate(Token { revocation: Some(revocation()), ..token() }), NotRotatable::Revoked);
    assert_eq!(rotate(Token { rotated_to: Some(NEW), ..token() }), NotRotatable::Rotated { to: NEW });
    let both = Token { revocation: Some(revocation()), rotated_to: Some(NEW), ..token() };
    assert_eq!(rotate(both), NotRotatable::Revoked);
    let endless = token().rotate(successor(None), Duration::MAX, at(1));
    assert!(matches!(endless, Err(NotRotatable::Overlap(_))), "{endless:?}");
}

#[test]
fn of_two_ends_the_earlier_counts() {
    let (one, other) = (Expiry::At(at(1)), Expiry::At(at(2)));
    for (a, b, earlier) in [(one, other, one), (Expiry::Never, one, one), (Expiry::Never, Expiry::Never, Expiry::Never)] {
        assert_eq!((a.earlier(b), b.earlier(a)), (earlier, earlier));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// It works until its own end or the end of the overlap, whichever is first, and in neither; whoever had expired stays expired.
    #[test]
    fn a_predecessor_works_until_the_earlier_of_its_ends(
        end in prop::option::of(1..200i64),
        overlap in 0..200u64,
        now in 1..200i64,
        later in 0..400i64,
    ) {
        let old = made(0, end.map_or(Expiry::Never, |end| Expiry::At(at(end))));
        let Rotated { predecessor, successor } = rotate(&old, None, overlap, now);
        let overlap_end = now + i64::try_from(overlap).expect("small");
        let wanted = later < overlap_end && end.is_none_or(|end| later < end);
        prop_assert_eq!(works(&predecessor, later), wanted);
        prop_assert!(works(&old, later) || !works(&predecessor, later), "no rotation revives");
        prop_assert_eq!(predecessor.requested_expiry, old.requested_expiry);
        prop_assert!(end.is_none() || predecessor.own_expiry.time() <= old.own_expiry.time());
        prop_assert!(works(&successor, now), "the new one works at once");
        prop_assert_eq!(
            successor.own_expiry.time().map(|time| time.unix_micros() - now),
            end,
            "for as long as the old one was made to"
        );
    }
}
