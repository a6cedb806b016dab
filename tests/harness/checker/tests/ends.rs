//! Something ended, and a later Verify allows it.

use super::*;

#[test]
fn an_allow_after_an_answered_end_is_found() {
    for effect in [
        revoke(),
        rotate(0),
        suspend(),
        limit(AT_ONCE),
        Effect::Delete(WORKSPACE),
    ] {
        Story::new()
            .done(effect.clone(), 100..200)
            .verify(201..210, ALLOW)
            .violates(Kind::AllowedAfter(ChangeId(0)));
        // A Verify that started before the answer may allow, however late it is answered.
        Story::new().done(effect, 100..200).verify(199..900, ALLOW).holds();
    }
}

#[test]
fn a_change_without_a_good_answer_promises_nothing() {
    for effect in [revoke(), rotate(0), suspend(), limit(AT_ONCE), revoke_key()] {
        let story = || Story::new().verify(201..210, ALLOW);
        story().answered(effect.clone(), 100..200, FAILED).holds();
        story().unanswered(effect.clone(), 100).holds();
        story().done_without_wait(effect, 100..200, 7).holds();
    }
}

#[test]
fn a_repeat_promises_what_the_first_call_did_not() {
    let first = || {
        Story::new()
            .answered(revoke(), 100..200, FAILED)
            .done_without_wait(revoke(), 210..220, 7)
    };
    first()
        .done(revoke(), 230..300)
        .verify(301..310, ALLOW)
        .violates(Kind::AllowedAfter(ChangeId(2)));
    first().done(revoke(), 230..300).verify(299..310, ALLOW).holds();
}

#[test]
fn the_earliest_promise_counts() {
    Story::new()
        .done(revoke(), 100..400)
        .done(revoke(), 110..200)
        .verify(201..210, ALLOW)
        .violates(Kind::AllowedAfter(ChangeId(1)));
}

#[test]
fn an_end_with_an_overlap_counts_from_its_deadline() {
    let rotated = || Story::new().done(rotate(500), 100..200);
    rotated().verify(650..660, ALLOW).holds();
    rotated()
        .verify(750..760, ALLOW)
        .violates(Kind::AllowedAfter(ChangeId(0)));
    let limited = || Story::new().done(limit(Duration::from_millis(500)), 100..200);
    limited().verify(650..660, ALLOW).holds();
    limited()
        .verify(750..760, ALLOW)
        .violates(Kind::AllowedAfter(ChangeId(0)));
}

#[test]
fn a_deadline_ahead_may_be_lifted_but_not_a_passed_one() {
    let limited = |lifetime| Story::new().done(limit(lifetime), 100..200);
    let half_a_second = Duration::from_millis(500);
    limited(half_a_second)
        .done(unlimit(), 300..310)
        .verify(900..910, ALLOW)
        .holds();
    limited(half_a_second)
        .answered(unlimit(), 300..310, FAILED)
        .verify(900..910, ALLOW)
        .holds();
    limited(half_a_second)
        .done(unlimit(), 800..810)
        .verify(900..910, ALLOW)
        .violates(Kind::AllowedAfter(ChangeId(0)));
    limited(AT_ONCE)
        .done(unlimit(), 300..310)
        .verify(900..910, ALLOW)
        .violates(Kind::AllowedAfter(ChangeId(0)));
}

#[test]
fn a_limit_binds_older_tokens_only() {
    // The token was created from 10 to 20 ms.
    Story::new().done(limit(AT_ONCE), 15..30).verify(40..50, ALLOW).holds();
    Story::new()
        .done(limit(AT_ONCE), 21..30)
        .verify(40..50, ALLOW)
        .violates(Kind::AllowedAfter(ChangeId(0)));
    let expired = denied(DenyReason::Expired);
    Story::new()
        .done(limit(AT_ONCE), 15..30)
        .verify(40..50, expired)
        .holds();
    Story::new()
        .done(limit(AT_ONCE), 1..9)
        .verify(40..50, expired)
        .violates(Kind::DeniedWithoutCause);
    // A failed one may take effect later.
    Story::new()
        .answered(limit(AT_ONCE), 1..9, FAILED)
        .verify(40..50, expired)
        .holds();
}

#[test]
fn only_a_resumption_that_may_follow_reopens() {
    let suspended = || Story::new().done(suspend(), 100..200);
    let violation = Kind::AllowedAfter(ChangeId(0));
    suspended().done(resume(), 210..220).verify(230..240, ALLOW).holds();
    // Concurrent ones may have any order.
    suspended().done(resume(), 90..101).verify(230..240, ALLOW).holds();
    suspended().done(resume(), 150..160).verify(230..240, ALLOW).holds();
    suspended().unanswered(resume(), 90).verify(230..240, ALLOW).holds();
    suspended()
        .answered(resume(), 50..60, FAILED)
        .verify(230..240, ALLOW)
        .holds();
    suspended().done(resume(), 235..300).verify(230..240, ALLOW).holds();
    // This one came first, and these came after the Verify.
    suspended()
        .done(resume(), 50..99)
        .verify(230..240, ALLOW)
        .violates(violation);
    suspended()
        .done(resume(), 241..250)
        .verify(230..240, ALLOW)
        .violates(violation);
    suspended()
        .unanswered(resume(), 241)
        .verify(230..240, ALLOW)
        .violates(violation);
}

#[test]
fn a_resumption_does_not_undo_a_later_suspension() {
    let story = || {
        Story::new()
            .done(suspend(), 100..200)
            .done(resume(), 210..220)
            .done(suspend(), 230..300)
    };
    story().verify(225..400, ALLOW).holds();
    story()
        .verify(301..310, ALLOW)
        .violates(Kind::AllowedAfter(ChangeId(2)));
    // A suspension that may have come before the resumption promises nothing.
    Story::new()
        .done(suspend(), 100..200)
        .done(resume(), 150..220)
        .verify(230..240, ALLOW)
        .holds();
}

#[test]
fn a_resumption_revives_no_revoked_token() {
    Story::new()
        .done(revoke(), 100..200)
        .done(suspend(), 210..300)
        .done(resume(), 310..320)
        .verify(330..340, ALLOW)
        .violates(Kind::AllowedAfter(ChangeId(0)));
}

#[test]
fn the_newest_state_contains_what_was_committed() {
    let revoked = || Story::new().done_without_wait(revoke(), 100..110, 7);
    let asked = |millis, consistency| revoked().asked(millis, Asks::Granted, consistency, ALLOW);
    let violation = Kind::AllowedAtRevisionOf(ChangeId(0));
    asked(120..130, Consistency::Newest).violates(violation);
    asked(105..130, Consistency::Newest).holds();
    asked(120..130, Consistency::AtLeast(at(7))).violates(violation);
    asked(120..130, Consistency::AtLeast(at(8))).violates(violation);
    asked(120..130, Consistency::AtLeast(at(6))).holds();
    asked(120..130, Consistency::AtLeast(Revision { epoch: 2, number: 7 })).holds();
}
