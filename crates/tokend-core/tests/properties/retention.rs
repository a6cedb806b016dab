//! A token is purged only if it expired or was revoked long enough ago, by both the recorded and the computed time.

use std::time::Duration;

use proptest::prelude::*;
use tokend_core::{
    time::Timestamp,
    token::retention::Ended,
    token::{Expiry, Revocation, Token, TokenContext},
    workspace::WorkspaceState,
};

use crate::samples::{at, revocation, token, token_context};

const KEPT: Duration = Duration::from_micros(90);

fn living(expiry: Expiry) -> Token {
    Token {
        create_time: at(0),
        own_expiry: expiry,
        requested_expiry: expiry,
        revocation: None,
        ..token()
    }
}

fn revoked(at: Timestamp) -> Option<Revocation> {
    Some(Revocation { at, ..revocation() })
}

/// The first microsecond at which the token may be purged, found by trying.
fn purged_from(token: &Token, expiry_recorded: Option<i64>, workspace: WorkspaceState) -> Option<i64> {
    let token_context = token_context(workspace);
    let candidate = Ended {
        token,
        token_context: &token_context,
        expiry_recorded: expiry_recorded.map(at),
    };
    (0..1_000).find(|now| candidate.may_be_purged(KEPT, at(*now)))
}

#[test]
fn retention_counts_from_the_recorded_time() {
    let (active, deleted) = (WorkspaceState::Active, WorkspaceState::Deleted { at: at(70) });
    let expiring = living(Expiry::At(at(50)));
    let endless = living(Expiry::Never);
    let of = |token: &Token, at: Timestamp| Token {
        revocation: revoked(at),
        ..token.clone()
    };
    for (token, recorded, workspace, from) in [
        (&expiring, Some(60), active, Some(150)),
        (&expiring, Some(60), WorkspaceState::Suspended { at: at(1) }, Some(150)),
        // Nothing was recorded.
        (&expiring, None, active, None),
        // The recorded time can't be right: it is before the expiry.
        (&expiring, Some(40), active, None),
        (&endless, None, active, None),
        (&endless, Some(60), active, None),
        (&of(&expiring, at(20)), None, active, Some(110)),
        (&of(&endless, at(20)), None, active, Some(110)),
        // The token was revoked although it had expired.
        (&of(&expiring, at(100)), Some(60), active, Some(190)),
        (&endless, None, deleted, Some(160)),
        (&expiring, None, deleted, Some(160)),
        (&expiring, Some(60), deleted, Some(150)),
        (&of(&endless, at(20)), None, deleted, Some(110)),
    ] {
        assert_eq!(
            purged_from(token, recorded, workspace),
            from,
            "{:?} {recorded:?} {workspace:?}",
            token.own_expiry
        );
    }
}

#[test]
fn an_infinite_retention_keeps_everything() {
    let token = Token {
        revocation: revoked(at(1)),
        ..living(Expiry::Never)
    };
    let token_context = token_context(WorkspaceState::Active);
    let candidate = Ended {
        token: &token,
        token_context: &token_context,
        expiry_recorded: None,
    };
    assert!(!candidate.may_be_purged(Duration::MAX, Timestamp::MAX));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Any recorded time, right or wrong, and any deadlines.
    #[test]
    fn an_active_token_is_never_purged(
        own_end in prop::option::of(0..200i64),
        deadline in prop::option::of(0..200i64),
        revoke in prop::option::of(0..200i64),
        recorded in prop::option::of(0..200i64),
        state in prop_oneof![
            3 => Just(WorkspaceState::Active),
            1 => (0..200i64).prop_map(|time| WorkspaceState::Suspended { at: at(time) }),
            1 => (0..200i64).prop_map(|time| WorkspaceState::Deleted { at: at(time) }),
        ],
        kept in 1..200u64,
        now in 0..600i64,
    ) {
        let own_expiry = own_end.map_or(Expiry::Never, |end| Expiry::At(at(end)));
        let token = Token { revocation: revoke.and_then(|time| revoked(at(time))), ..living(own_expiry) };
        let deadlines = deadline.map_or(String::new(), |end| format!("0:{end}"));
        let token_context = TokenContext { deadlines: deadlines.parse().expect("a step"), ..token_context(state) };
        let candidate = Ended { token: &token, token_context: &token_context, expiry_recorded: recorded.map(at) };
        let is_purged = candidate.may_be_purged(Duration::from_micros(kept), at(now));

        let end = own_end.into_iter().chain(deadline).min();
        let deleted = if let WorkspaceState::Deleted { at } = state { Some(at.unix_micros()) } else { None };
        let works = revoke.is_none() && deleted.is_none() && end.is_none_or(|end| end > now);
        prop_assert!(!(is_purged && works), "a token that works, or would in a resumed workspace, is kept");
        let is_old = |time: i64| time + i64::try_from(kept).expect("small") <= now;
        prop_assert!(
            !is_purged || [revoke, recorded, deleted].into_iter().flatten().any(is_old),
            "an end is old enough"
        );
        // A token whose expiry was recorded correctly is purged.
        let fits = recorded.filter(|recorded| end.is_some_and(|end| end <= *recorded));
        let records: Vec<_> = [revoke, fits, deleted].into_iter().flatten().collect();
        if !works && !records.is_empty() && records.into_iter().all(is_old) {
            prop_assert!(is_purged, "the token is purged");
        }
    }
}
