//! Rotation: what the successor gets, and that an overlap never gives the predecessor more time.

use std::time::Duration;

use proptest::prelude::*;
use tokend_core::{
    credential::{CredentialId, SecretDigest},
    time::Timestamp,
    token::rotation::{Rotated, RotationError, Successor},
    token::{Expiry, Token, TokenState},
    workspace::WorkspaceState,
};

use crate::samples::{at, kid, revocation, token, token_context};

const NEW: CredentialId = CredentialId::from_bytes([7; CredentialId::BYTES]);

/// Returns a token that was created at `created` with this expiry.
fn token_of(created: i64, expiry: Expiry) -> Token {
    Token {
        create_time: at(created),
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
    Successor {
        id: NEW,
        digest,
        creator: "rotator".parse().expect("well-formed"),
        expiry,
    }
}

fn rotate(token: &Token, expiry: Option<Expiry>, overlap: u64, now: i64) -> Rotated {
    token
        .rotate(successor(expiry), Duration::from_micros(overlap), at(now))
        .expect("the rotation succeeds")
}

fn works(token: &Token, now: i64) -> bool {
    token.state(&token_context(WorkspaceState::Active), at(now)) == TokenState::Active
}

#[test]
fn a_successor_has_the_permissions_of_its_predecessor() {
    let old = token_of(0, Expiry::At(at(100)));
    let Rotated { predecessor, successor } = rotate(&old, None, 5, 40);
    let end = Expiry::At(at(140));
    let wanted = Token {
        name: tokend_core::name::TokenName {
            id: NEW,
            ..old.name.clone()
        },
        digest: SecretDigest::from_stored(kid(b'0'), [0x22; 32]),
        create_time: at(40),
        creator: "rotator".parse().expect("well-formed"),
        own_expiry: end,
        requested_expiry: end,
        rotated_from: Some(old.name.id),
        ..old.clone()
    };
    assert_eq!(successor, wanted);
    assert_eq!(
        predecessor,
        Token {
            own_expiry: Expiry::At(at(45)),
            rotated_to: Some(NEW),
            ..old
        }
    );
}

#[test]
fn a_chosen_expiry_is_used() {
    let old = token_of(0, Expiry::At(at(100)));
    for chosen in [Expiry::Never, Expiry::At(at(41))] {
        let new = rotate(&old, Some(chosen), 0, 40).successor;
        assert_eq!((new.own_expiry, new.requested_expiry), (chosen, chosen));
    }
}

/// The chain keeps its lifetime: neither an overlap nor a late rotation changes it.
#[test]
fn a_chain_keeps_the_requested_lifetime() {
    let mut newest = token_of(0, Expiry::At(at(100)));
    for now in [10, 70, 71, 500] {
        let Rotated { predecessor, successor } = rotate(&newest, None, 3, now);
        assert_eq!(successor.own_expiry, Expiry::At(at(now + 100)));
        assert_eq!(predecessor.requested_expiry, newest.requested_expiry);
        newest = successor;
    }
    assert_eq!(
        rotate(&token_of(0, Expiry::Never), None, 0, 10).successor.own_expiry,
        Expiry::Never
    );
    // "Until the last possible day" was requested and is granted.
    assert_eq!(
        rotate(&token_of(0, Expiry::At(Timestamp::MAX)), None, 0, 10)
            .successor
            .own_expiry,
        Expiry::At(Timestamp::MAX)
    );
}

#[test]
fn a_revoked_or_rotated_token_is_not_rotated() {
    let rotate = |token: Token| {
        token
            .rotate(successor(None), Duration::ZERO, at(1))
            .expect_err("the rotation is rejected")
    };
    let token = || token_of(0, Expiry::Never);
    assert_eq!(
        rotate(Token {
            revocation: Some(revocation()),
            ..token()
        }),
        RotationError::Revoked
    );
    assert_eq!(
        rotate(Token {
            rotated_to: Some(NEW),
            ..token()
        }),
        RotationError::Rotated { to: NEW }
    );
    let both = Token {
        revocation: Some(revocation()),
        rotated_to: Some(NEW),
        ..token()
    };
    assert_eq!(rotate(both), RotationError::Revoked);
    let endless = token().rotate(successor(None), Duration::MAX, at(1));
    assert!(matches!(endless, Err(RotationError::Overlap(_))), "{endless:?}");
}

#[test]
fn the_earlier_expiry_applies() {
    let (one, other) = (Expiry::At(at(1)), Expiry::At(at(2)));
    for (a, b, earlier) in [
        (one, other, one),
        (Expiry::Never, one, one),
        (Expiry::Never, Expiry::Never, Expiry::Never),
    ] {
        assert_eq!((a.earlier(b), b.earlier(a)), (earlier, earlier));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// The predecessor works until its own expiry or the end of the overlap, whichever is first. An expired one stays
    /// expired.
    #[test]
    fn a_predecessor_works_until_its_expiry_or_the_end_of_the_overlap(
        end in prop::option::of(1..200i64),
        overlap in 0..200u64,
        now in 1..200i64,
        later in 0..400i64,
    ) {
        let old = token_of(0, end.map_or(Expiry::Never, |end| Expiry::At(at(end))));
        let Rotated { predecessor, successor } = rotate(&old, None, overlap, now);
        let overlap_end = now + i64::try_from(overlap).expect("small");
        let wanted = later < overlap_end && end.is_none_or(|end| later < end);
        prop_assert_eq!(works(&predecessor, later), wanted);
        prop_assert!(works(&old, later) || !works(&predecessor, later), "a rotation does not revive a token");
        prop_assert_eq!(predecessor.requested_expiry, old.requested_expiry);
        prop_assert!(end.is_none() || predecessor.own_expiry.time() <= old.own_expiry.time());
        prop_assert!(works(&successor, now), "the successor works immediately");
        prop_assert_eq!(
            successor.own_expiry.time().map(|time| time.unix_micros() - now),
            end,
            "the successor keeps the lifetime of its predecessor"
        );
    }
}
