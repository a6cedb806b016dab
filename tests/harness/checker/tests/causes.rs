//! Verdicts about callers, and verdicts that need a cause.

use super::*;

#[test]
fn a_dead_caller_gets_no_verdict() {
    for verdict in [ALLOW, denied(DenyReason::Revoked)] {
        let story = || Story::new().done(revoke(), 30..40).done(revoke_key(), 100..200);
        let verify = |millis| {
            let story = story();
            if verdict == ALLOW {
                Story::new().done(revoke_key(), 100..200).verify(millis, verdict)
            } else {
                story.verify(millis, verdict)
            }
        };
        let change = ChangeId(usize::from(verdict != ALLOW));
        verify(199..300).holds();
        verify(201..300).violates(Kind::ServedCallerAfter(change));
    }
    let rejected = |story: Story| story.verify(201..210, Verdict::Unauthenticated);
    rejected(Story::new().done(revoke_key(), 100..200)).holds();
    rejected(Story::new().answered(revoke_key(), 100..200, FAILED)).holds();
    rejected(Story::new()).violates(Kind::RejectedWithoutCause);
    rejected(Story::new().done(revoke_key(), 211..300)).violates(Kind::RejectedWithoutCause);
}

#[test]
fn a_denial_needs_a_cause() {
    let causes = [
        (DenyReason::Revoked, revoke()),
        (DenyReason::Expired, rotate(0)),
        (DenyReason::Expired, limit(AT_ONCE)),
        (DenyReason::WorkspaceSuspended, suspend()),
        (DenyReason::WorkspaceDeleted, Effect::Delete(WORKSPACE)),
    ];
    for (reason, effect) in causes {
        let story = || Story::new().verify(201..210, denied(reason));
        story().violates(Kind::DeniedWithoutCause);
        story()
            .done(effect.clone(), 211..220)
            .violates(Kind::DeniedWithoutCause);
        // Every attempt explains it, whatever its answer.
        story().answered(effect.clone(), 100..110, FAILED).holds();
        story().done_without_wait(effect.clone(), 100..110, 7).holds();
        story().unanswered(effect.clone(), 205).holds();
        story().done(effect, 205..300).holds();
    }
    for reason in [
        DenyReason::Unrecognized,
        DenyReason::AddressNotAllowed,
        DenyReason::Unspecified,
    ] {
        Story::new()
            .done(revoke(), 100..200)
            .verify(201..210, denied(reason))
            .violates(Kind::DeniedWithoutCause);
    }
}

#[test]
fn a_resumed_workspace_works_again() {
    let suspended = denied(DenyReason::WorkspaceSuspended);
    let resumed = || Story::new().done(suspend(), 100..200).done(resume(), 210..220);
    resumed().verify(1_000..1_010, suspended).holds();
    resumed()
        .verify(9_000..9_010, suspended)
        .violates(Kind::DeniedWithoutCause);
    resumed()
        .unanswered(suspend(), 215)
        .verify(9_000..9_010, suspended)
        .holds();
    resumed()
        .answered(suspend(), 50..60, FAILED)
        .verify(9_000..9_010, suspended)
        .holds();
}

#[test]
fn a_verdict_fits_its_question() {
    for (asks, reason) in [
        (Asks::OtherScope, DenyReason::InsufficientScope),
        (Asks::OtherResource, DenyReason::ResourceNotCovered),
    ] {
        let asked = |asks, verdict| Story::new().asked(30..40, asks, Consistency::Ordinary, verdict);
        asked(asks, denied(reason)).holds();
        asked(asks, ALLOW).violates(Kind::AllowedUngranted);
        asked(Asks::Granted, denied(reason)).violates(Kind::DeniedWithoutCause);
    }
    Story::new()
        .verify(30..40, Verdict::AllowOther)
        .violates(Kind::AllowedOtherToken);
}

#[test]
fn an_outage_is_no_verdict() {
    Story::new()
        .done(revoke(), 100..200)
        .verify(201..210, Verdict::Failed(Code::Unavailable))
        .holds();
}

#[test]
fn only_the_verifies_from_an_index_on_are_checked() {
    let Story(history) = Story::new()
        .done(revoke(), 100..200)
        .verify(201..210, ALLOW)
        .verify(220..230, ALLOW);
    let found: Vec<_> = check(&history, 1).iter().map(|violation| violation.verify).collect();
    assert_eq!(found, [1]);
}
