//! The state of a token.

use tokend_core::{
    caller::CallerKeyState,
    time::Timestamp,
    token::{Expiry, Token, TokenState},
    workspace::WorkspaceState,
};

use crate::samples::{at, caller_key, revocation, token, token_context};

const NOW: i64 = 1_760_000_000_000_000;

fn token_with(revoked: bool, expired: bool) -> Token {
    let own_expiry = Expiry::At(at(if expired { NOW } else { NOW + 1 }));
    Token {
        revocation: revoked.then(revocation),
        own_expiry,
        ..token()
    }
}

/// Every combination of revoked, expired and the workspace's state.
#[test]
fn revoked_outranks_expired_outranks_suspended() {
    use TokenState::{Active, Expired, Revoked, Suspended};
    let suspended = WorkspaceState::Suspended { at: at(NOW) };
    let deleted = WorkspaceState::Deleted { at: at(NOW) };
    for (revoked, expired, workspace, state) in [
        (false, false, WorkspaceState::Active, Active),
        (false, false, suspended, Suspended),
        (false, false, deleted, Revoked),
        (false, true, WorkspaceState::Active, Expired),
        (false, true, suspended, Expired),
        (false, true, deleted, Revoked),
        (true, false, WorkspaceState::Active, Revoked),
        (true, false, suspended, Revoked),
        (true, false, deleted, Revoked),
        (true, true, WorkspaceState::Active, Revoked),
        (true, true, suspended, Revoked),
        (true, true, deleted, Revoked),
    ] {
        assert_eq!(
            token_with(revoked, expired).state(&token_context(workspace), at(NOW)),
            state,
            "{revoked} {expired} {workspace:?}"
        );
    }
}

/// Expired means `now >= expire_time`.
#[test]
fn expired_from_its_expiry_on() {
    let state = |own_expiry, now| {
        Token {
            revocation: None,
            own_expiry,
            ..token()
        }
        .state(&token_context(WorkspaceState::Active), now)
    };
    let expiry = Expiry::At(at(NOW));
    assert_eq!(state(expiry, at(NOW - 1)), TokenState::Active);
    assert_eq!(state(expiry, at(NOW)), TokenState::Expired);
    assert_eq!(state(expiry, at(NOW + 1)), TokenState::Expired);
    assert_eq!(state(Expiry::Never, Timestamp::MAX), TokenState::Active);
    assert_eq!(Expiry::Never.time(), None);
    assert_eq!(expiry.time(), Some(at(NOW)));
}

/// A revocation or deletion in the future, after a clock was set back, counts nevertheless.
#[test]
fn a_clock_set_back_revives_nothing() {
    let state = |revoked, workspace| token_with(revoked, false).state(&token_context(workspace), Timestamp::MIN);
    assert_eq!(state(true, WorkspaceState::Active), TokenState::Revoked);
    assert_eq!(
        state(false, WorkspaceState::Deleted { at: at(NOW) }),
        TokenState::Revoked
    );
    assert_eq!(
        state(false, WorkspaceState::Suspended { at: at(NOW) }),
        TokenState::Suspended
    );
}

#[test]
fn caller_keys_expire_and_are_revoked_alike() {
    let state = |revoked: bool, now| {
        let mut key = caller_key();
        (key.expire_time, key.revoke_time) = (at(NOW), revoked.then(|| at(NOW)));
        key.state(now)
    };
    assert_eq!(state(false, at(NOW - 1)), CallerKeyState::Active);
    assert_eq!(state(false, at(NOW)), CallerKeyState::Expired);
    assert_eq!(state(true, at(NOW)), CallerKeyState::Revoked);
    assert_eq!(state(true, at(NOW - 1)), CallerKeyState::Revoked);
}
