//! What is told of a token's end: each notice once, none too early, none that was due before the token was.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tokend_core::{
    caller::CallerKey,
    credential::CredentialId,
    expiry_notice::{ExpiryNotice, Told},
    time::Timestamp,
    token::{Expiry, Token},
    workspace::WorkspaceState,
};

use crate::samples::{at, caller_key, revocation, token};

const DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// A token that was made on the day 0, to end on its own on that day.
fn ending(expiry: Expiry) -> Token {
    Token {
        create_time: at(0),
        own_expiry: expiry,
        requested_expiry: expiry,
        revocation: None,
        rotated_from: None,
        rotated_to: None,
        ..token()
    }
}

fn on(day: i64) -> Expiry {
    Expiry::At(at(day * DAY))
}

/// The days before the end of which is told at `now`.
fn days(token: &Token, told: Told, now: i64) -> Vec<u8> {
    token.notice_plan(WorkspaceState::Active, token.own_expiry).due(told, at(now)).map(ExpiryNotice::days).collect()
}

#[test]
fn each_is_due_from_its_moment_on() {
    let token = ending(on(100));
    let plan = token.notice_plan(WorkspaceState::Active, token.own_expiry);
    let mut told = Told::NOTHING;
    for (day, notice) in [40, 70, 93, 99, 100].into_iter().zip(ExpiryNotice::ALL) {
        let due = |told, now| plan.due(told, at(now)).collect::<Vec<_>>();
        assert_eq!(plan.next(told), Some(at(day * DAY)), "{notice:?}");
        assert_eq!(due(told, day * DAY - 1), [], "{notice:?}");
        assert_eq!(due(told, day * DAY), [notice], "{notice:?}");
        told = told.with(notice);
        assert_eq!(due(told, day * DAY), [], "once");
    }
    assert_eq!(plan.next(told), None);
    assert_eq!(plan.due(told, Timestamp::MAX).count(), 0);
}

#[test]
fn what_was_due_before_it_was_made_is_skipped() {
    for (end, told) in [
        (on(61), vec![60, 30, 7, 1, 0]),
        // At the moment of its making counts as before.
        (on(60), vec![30, 7, 1, 0]),
        (on(8), vec![7, 1, 0]),
        (on(7), vec![1, 0]),
        (on(1), vec![0]),
        (Expiry::At(at(1)), vec![0]),
        (Expiry::Never, vec![]),
    ] {
        assert_eq!(days(&ending(end), Told::NOTHING, Timestamp::MAX.unix_micros()), told, "{end:?}");
    }
}

/// Whoever was silent for a while tells all of it, in order.
#[test]
fn late_is_better_than_never() {
    assert_eq!(days(&ending(on(100)), Told::NOTHING, 95 * DAY), [60, 30, 7]);
    assert_eq!(days(&ending(on(100)), Told::NOTHING.with(ExpiryNotice::ThirtyDays), 99 * DAY), [60, 7, 1]);
}

/// An end that a policy has brought nearer than a warning's days: the warning is due at once.
#[test]
fn an_end_brought_nearer_is_told_at_once() {
    let token = ending(Expiry::Never);
    let due = |end, told| {
        let plan = token.notice_plan(WorkspaceState::Active, end);
        plan.due(told, at(100 * DAY)).collect::<Vec<_>>()
    };
    assert_eq!(due(Expiry::Never, Told::NOTHING), []);
    let told = Told::NOTHING.with(ExpiryNotice::SixtyDays).with(ExpiryNotice::ThirtyDays);
    assert_eq!(due(on(120), Told::NOTHING), [ExpiryNotice::SixtyDays, ExpiryNotice::ThirtyDays]);
    assert_eq!(due(on(120), told), []);
    // Lifted, and brought nearer again.
    assert_eq!(due(on(105), told), [ExpiryNotice::SevenDays]);
}

#[test]
fn of_what_is_over_nothing_is_told() {
    let plan = |token: Token, workspace| token.notice_plan(workspace, token.own_expiry).next(Told::NOTHING);
    let token = || ending(on(100));
    let (suspended, deleted) = (WorkspaceState::Suspended { at: at(1) }, WorkspaceState::Deleted { at: at(1) });
    assert_eq!(plan(Token { revocation: Some(revocation()), ..token() }, WorkspaceState::Active), None);
    assert_eq!(plan(token(), deleted), None);
    assert_eq!(plan(token(), suspended), Some(at(40 * DAY)), "it may be resumed");
}

/// Whoever rotates a token knows that it ends; that it has ended is told nevertheless.
#[test]
fn a_token_that_is_being_replaced_is_not_warned_of() {
    let replaced = Token { rotated_to: Some(CredentialId::from_bytes([7; CredentialId::BYTES])), ..ending(on(100)) };
    let restored = Token { requested_expiry: Expiry::Never, ..ending(on(100)) };
    for token in [replaced, restored] {
        assert_eq!(days(&token, Told::NOTHING, 99 * DAY), [0; 0]);
        assert_eq!(days(&token, Told::NOTHING, 100 * DAY), [0]);
    }
}

#[test]
fn what_was_told_is_stored_as_bits_that_never_change_their_meaning() {
    let mut all = Told::NOTHING;
    for (bits, notice) in [1, 2, 4, 8, 16].into_iter().zip(ExpiryNotice::ALL) {
        assert_eq!(Told::NOTHING.with(notice).bits(), bits);
        assert!(!all.has(notice));
        all = all.with(notice);
        assert!(all.has(notice));
        assert_eq!(Told::from_bits(all.bits()), Some(all));
    }
    for unknown in [32, 255, 256, -1, i16::MIN] {
        assert_eq!(Told::from_bits(unknown), None);
    }
}

/// What happens in the life of a token, as far as it matters here.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Time goes by, in quarters of a day.
    Later(i64),
    /// A policy has it end so many days after its making, or lifts that.
    Deadline(Option<i64>),
    /// A server looks.
    Sweep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..200i64).prop_map(Step::Later),
        1 => prop::option::of(1..150i64).prop_map(Step::Deadline),
        4 => Just(Step::Sweep),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Against an oracle that walks through time a quarter of a day at a time and knows no plan, no bits and no order of its own.
    #[test]
    fn every_notice_is_told_once_as_its_end_moves(own in prop::option::of(1..150i64), steps in steps()) {
        let token = ending(own.map_or(Expiry::Never, on));
        let (mut now, mut end, mut told) = (0, token.own_expiry, Told::NOTHING);
        let (mut known, mut listed) = (BTreeSet::new(), Vec::new());
        for step in steps {
            match step {
                Step::Later(quarters) => now += quarters * DAY / 4,
                // What has ended stays ended: a deadline that has passed is not lifted.
                Step::Deadline(_) if end.has_passed(at(now)) => {}
                Step::Deadline(deadline) => end = token.own_expiry.earlier(deadline.map_or(Expiry::Never, on)),
                Step::Sweep => {
                    let plan = token.notice_plan(WorkspaceState::Active, end);
                    let due: Vec<_> = plan.due(told, at(now)).collect();
                    told = due.iter().fold(told, |told, notice| told.with(*notice));
                    listed.extend(due.iter().map(|notice| notice.days()));

                    let mut expected = Vec::new();
                    if let Some(end) = end.time() {
                        for days in [60, 30, 7, 1, 0] {
                            let due = end.unix_micros() - i64::from(days) * DAY;
                            if due <= now && (days == 0 || due > 0) && known.insert(days) {
                                expected.push(days);
                            }
                        }
                    }
                    prop_assert_eq!(due.iter().map(|notice| notice.days()).collect::<Vec<_>>(), expected);
                    prop_assert!(plan.next(told).is_none_or(|next| next > at(now)), "nothing is left over");
                }
            }
        }
        let unique: BTreeSet<_> = listed.iter().collect();
        prop_assert_eq!(unique.len(), listed.len(), "none twice");
    }

    /// A look is never later than what there is to tell.
    #[test]
    fn the_next_look_finds_the_next_notice(end in 1..150i64, bits in 0..32i16) {
        let token = ending(on(end));
        let told = Told::from_bits(bits).expect("known");
        let plan = token.notice_plan(WorkspaceState::Active, token.own_expiry);
        match plan.next(told) {
            None => prop_assert_eq!(plan.due(told, Timestamp::MAX).count(), 0),
            Some(next) => {
                prop_assert_eq!(plan.due(told, at(next.unix_micros() - 1)).count(), 0);
                prop_assert!(plan.due(told, next).count() > 0);
            }
        }
    }
}

/// A caller key that was made on the day 0, to expire on that day.
fn key_until(day: i64) -> CallerKey {
    CallerKey { create_time: at(0), expire_time: at(day * DAY), revoke_time: None, ..caller_key() }
}

#[test]
fn a_caller_key_has_three_warnings_and_one_notice_of_its_end() {
    let plan = key_until(90).notice_plan();
    let days = |told, now| plan.due(told, at(now)).map(ExpiryNotice::days).collect::<Vec<_>>();
    assert_eq!(plan.next(Told::NOTHING), Some(at(60 * DAY)));
    for (now, expected) in [
        (60 * DAY - 1, &[][..]),
        (60 * DAY, &[30]),
        (83 * DAY, &[30, 7]),
        (89 * DAY, &[30, 7, 1]),
        (90 * DAY - 1, &[30, 7, 1]),
        (90 * DAY, &[30, 7, 1, 0]),
    ] {
        assert_eq!(days(Told::NOTHING, now), expected, "{now}");
    }
    let given = [ExpiryNotice::ThirtyDays, ExpiryNotice::SevenDays].into_iter().fold(Told::NOTHING, Told::with);
    assert_eq!((days(given, 90 * DAY), plan.next(given)), (vec![1, 0], Some(at(89 * DAY))));
    let all = given.with(ExpiryNotice::OneDay).with(ExpiryNotice::End);
    assert_eq!((days(all, 100 * DAY), plan.next(all)), (Vec::new(), None));
}

#[test]
fn a_caller_key_has_no_notice_that_was_due_before_it_or_after_its_revocation() {
    let plan = key_until(7).notice_plan();
    let days: Vec<_> = plan.due(Told::NOTHING, at(7 * DAY)).map(ExpiryNotice::days).collect();
    assert_eq!(days, [1, 0]);
    let revoked = CallerKey { revoke_time: Some(at(1)), ..key_until(90) };
    assert_eq!(revoked.notice_plan().next(Told::NOTHING), None);
}
