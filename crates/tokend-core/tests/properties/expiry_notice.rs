//! Expiry notices: each is sent once, none too early, and none that was due before the token was created.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tokend_core::{
    caller::CallerKey,
    credential::CredentialId,
    time::Timestamp,
    token::expiry_notice::{ExpiryNotice, SentNotices},
    token::{Expiry, Token},
    workspace::WorkspaceState,
};

use crate::samples::{at, caller_key, revocation, token};

const DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// A token that is created on day 0 with this expiry.
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

/// The notices that are due at `now`, by their days before the expiry.
fn days(token: &Token, sent: SentNotices, now: i64) -> Vec<u8> {
    token
        .notice_plan(WorkspaceState::Active, token.own_expiry)
        .due(sent, at(now))
        .map(ExpiryNotice::days)
        .collect()
}

#[test]
fn each_notice_is_due_from_its_time_on() {
    let token = ending(on(100));
    let plan = token.notice_plan(WorkspaceState::Active, token.own_expiry);
    let mut sent = SentNotices::NONE;
    for (day, notice) in [40, 70, 93, 99, 100].into_iter().zip(ExpiryNotice::ALL) {
        let due = |sent, now| plan.due(sent, at(now)).collect::<Vec<_>>();
        assert_eq!(plan.next(sent), Some(at(day * DAY)), "{notice:?}");
        assert_eq!(due(sent, day * DAY - 1), [], "{notice:?}");
        assert_eq!(due(sent, day * DAY), [notice], "{notice:?}");
        sent = sent.with(notice);
        assert_eq!(due(sent, day * DAY), [], "the notice is due only once");
    }
    assert_eq!(plan.next(sent), None);
    assert_eq!(plan.due(sent, Timestamp::MAX).count(), 0);
}

#[test]
fn notices_due_before_the_creation_are_skipped() {
    for (end, sent) in [
        (on(61), vec![60, 30, 7, 1, 0]),
        // A notice that is due at the moment of creation counts as due before it.
        (on(60), vec![30, 7, 1, 0]),
        (on(8), vec![7, 1, 0]),
        (on(7), vec![1, 0]),
        (on(1), vec![0]),
        (Expiry::At(at(1)), vec![0]),
        (Expiry::Never, vec![]),
    ] {
        assert_eq!(
            days(&ending(end), SentNotices::NONE, Timestamp::MAX.unix_micros()),
            sent,
            "{end:?}"
        );
    }
}

/// After a silence, all overdue notices are sent in order.
#[test]
fn overdue_notices_are_sent_in_order() {
    assert_eq!(days(&ending(on(100)), SentNotices::NONE, 95 * DAY), [60, 30, 7]);
    assert_eq!(
        days(
            &ending(on(100)),
            SentNotices::NONE.with(ExpiryNotice::ThirtyDays),
            99 * DAY
        ),
        [60, 7, 1]
    );
}

/// If a policy moves the expiry closer than a warning's days, the warning is due immediately.
#[test]
fn an_earlier_expiry_makes_a_notice_due_immediately() {
    let token = ending(Expiry::Never);
    let due = |end, sent| {
        let plan = token.notice_plan(WorkspaceState::Active, end);
        plan.due(sent, at(100 * DAY)).collect::<Vec<_>>()
    };
    assert_eq!(due(Expiry::Never, SentNotices::NONE), []);
    let sent = SentNotices::NONE
        .with(ExpiryNotice::SixtyDays)
        .with(ExpiryNotice::ThirtyDays);
    assert_eq!(
        due(on(120), SentNotices::NONE),
        [ExpiryNotice::SixtyDays, ExpiryNotice::ThirtyDays]
    );
    assert_eq!(due(on(120), sent), []);
    // The deadline is lifted and then set again.
    assert_eq!(due(on(105), sent), [ExpiryNotice::SevenDays]);
}

#[test]
fn inactive_tokens_have_no_notices() {
    let plan = |token: Token, workspace| token.notice_plan(workspace, token.own_expiry).next(SentNotices::NONE);
    let token = || ending(on(100));
    let (suspended, deleted) = (
        WorkspaceState::Suspended { at: at(1) },
        WorkspaceState::Deleted { at: at(1) },
    );
    assert_eq!(
        plan(
            Token {
                revocation: Some(revocation()),
                ..token()
            },
            WorkspaceState::Active
        ),
        None
    );
    assert_eq!(plan(token(), deleted), None);
    assert_eq!(
        plan(token(), suspended),
        Some(at(40 * DAY)),
        "the workspace may be resumed"
    );
}

/// A rotated token needs no warnings, because its owner knows that it will expire. The notice of the expiry is still
/// sent.
#[test]
fn a_rotated_token_has_no_warnings() {
    let replaced = Token {
        rotated_to: Some(CredentialId::from_bytes([7; CredentialId::BYTES])),
        ..ending(on(100))
    };
    let restored = Token {
        requested_expiry: Expiry::Never,
        ..ending(on(100))
    };
    for token in [replaced, restored] {
        assert_eq!(days(&token, SentNotices::NONE, 99 * DAY), [0; 0]);
        assert_eq!(days(&token, SentNotices::NONE, 100 * DAY), [0]);
    }
}

#[test]
fn sent_notices_have_stable_bits() {
    let mut all = SentNotices::NONE;
    for (bits, notice) in [1, 2, 4, 8, 16].into_iter().zip(ExpiryNotice::ALL) {
        assert_eq!(SentNotices::NONE.with(notice).bits(), bits);
        assert!(!all.has(notice));
        all = all.with(notice);
        assert!(all.has(notice));
        assert_eq!(SentNotices::from_bits(all.bits()), Some(all));
    }
    for unknown in [32, 255, 256, -1, i16::MIN] {
        assert_eq!(SentNotices::from_bits(unknown), None);
    }
}

/// A step in the life of a token.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Time passes, in quarters of a day.
    Later(i64),
    /// A policy makes it expire so many days after its creation, or lifts that.
    Deadline(Option<i64>),
    /// A server looks for due notices.
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

    /// Compares with a model that walks through time a quarter of a day at a time, without plans and bit sets.
    #[test]
    fn every_notice_is_sent_once_while_the_expiry_moves(own in prop::option::of(1..150i64), steps in steps()) {
        let token = ending(own.map_or(Expiry::Never, on));
        let (mut now, mut end, mut sent) = (0, token.own_expiry, SentNotices::NONE);
        let (mut known, mut listed) = (BTreeSet::new(), Vec::new());
        for step in steps {
            match step {
                Step::Later(quarters) => now += quarters * DAY / 4,
                // An expired token stays expired: a deadline that has passed is not lifted.
                Step::Deadline(_) if end.has_passed(at(now)) => {}
                Step::Deadline(deadline) => end = token.own_expiry.earlier(deadline.map_or(Expiry::Never, on)),
                Step::Sweep => {
                    let plan = token.notice_plan(WorkspaceState::Active, end);
                    let due: Vec<_> = plan.due(sent, at(now)).collect();
                    sent = due.iter().fold(sent, |sent, notice| sent.with(*notice));
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
                    prop_assert!(plan.next(sent).is_none_or(|next| next > at(now)), "no due notice is left");
                }
            }
        }
        let unique: BTreeSet<_> = listed.iter().collect();
        prop_assert_eq!(unique.len(), listed.len(), "no notice is sent twice");
    }

    /// The next due time is never later than the next due notice.
    #[test]
    fn the_next_due_time_has_a_due_notice(end in 1..150i64, bits in 0..32i16) {
        let token = ending(on(end));
        let sent = SentNotices::from_bits(bits).expect("known");
        let plan = token.notice_plan(WorkspaceState::Active, token.own_expiry);
        match plan.next(sent) {
            None => prop_assert_eq!(plan.due(sent, Timestamp::MAX).count(), 0),
            Some(next) => {
                prop_assert_eq!(plan.due(sent, at(next.unix_micros() - 1)).count(), 0);
                prop_assert!(plan.due(sent, next).count() > 0);
            }
        }
    }
}

/// A caller key that is created on day 0 and expires on this day.
fn key_until(day: i64) -> CallerKey {
    CallerKey {
        create_time: at(0),
        expire_time: at(day * DAY),
        revoke_time: None,
        ..caller_key()
    }
}

#[test]
fn a_caller_key_has_three_warnings_and_one_expiry_notice() {
    let plan = key_until(90).notice_plan();
    let days = |sent, now| plan.due(sent, at(now)).map(ExpiryNotice::days).collect::<Vec<_>>();
    assert_eq!(plan.next(SentNotices::NONE), Some(at(60 * DAY)));
    for (now, expected) in [
        (60 * DAY - 1, &[][..]),
        (60 * DAY, &[30]),
        (83 * DAY, &[30, 7]),
        (89 * DAY, &[30, 7, 1]),
        (90 * DAY - 1, &[30, 7, 1]),
        (90 * DAY, &[30, 7, 1, 0]),
    ] {
        assert_eq!(days(SentNotices::NONE, now), expected, "{now}");
    }
    let given = [ExpiryNotice::ThirtyDays, ExpiryNotice::SevenDays]
        .into_iter()
        .fold(SentNotices::NONE, SentNotices::with);
    assert_eq!(
        (days(given, 90 * DAY), plan.next(given)),
        (vec![1, 0], Some(at(89 * DAY)))
    );
    let all = given.with(ExpiryNotice::OneDay).with(ExpiryNotice::End);
    assert_eq!((days(all, 100 * DAY), plan.next(all)), (Vec::new(), None));
}

#[test]
fn a_caller_key_has_no_notice_that_was_due_before_it_or_after_its_revocation() {
    let plan = key_until(7).notice_plan();
    let days: Vec<_> = plan
        .due(SentNotices::NONE, at(7 * DAY))
        .map(ExpiryNotice::days)
        .collect();
    assert_eq!(days, [1, 0]);
    let revoked = CallerKey {
        revoke_time: Some(at(1)),
        ..key_until(90)
    };
    assert_eq!(revoked.notice_plan().next(SentNotices::NONE), None);
}
