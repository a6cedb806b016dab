//! Which clients and faults show that a rule of the protocol is needed.
//!
//! The program under test can leave out a rule of `tests/model/src/rule.rs`. A run must then find a violation: a rule
//! whose loss is not noticed is not tested. [`PROVOCATIONS`] has the quickest way for each rule, or says what else
//! tests it.

use crate::{faults::Kind, workload::Act};

/// How to notice that a rule is left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Provocation {
    /// The rule's name in the model.
    pub(crate) rule: &'static str,
    pub(crate) by: By,
    /// How long leases last.
    pub(crate) lease: &'static str,
}

/// What notices it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    /// A run on PostgreSQL with these acts, and all of these faults in each round.
    Servers(&'static [Act], &'static [Kind]),
    /// The same, and only the guards' answers can show it.
    Guards(&'static [Act], &'static [Kind]),
    /// A run on SQLite.
    Embedded(&'static [Act], &'static [Kind]),
    /// No run: it takes this. The programs under test can't leave out the rule.
    Elsewhere(&'static str),
}

impl Provocation {
    const fn lease(self, lease: &'static str) -> Self {
        Self { lease, ..self }
    }
}

/// The lease is long, so that it does not lapse on a busy machine.
const fn by(rule: &'static str, by: By) -> Provocation {
    Provocation { rule, by, lease: "3s" }
}

const QUIET: &[Kind] = &[Kind::Nothing];
const HOLD: &[Kind] = &[Kind::HoldFeed, Kind::HoldFeed];
const SET_LEASE: &[Kind] = &[Kind::SetLease, Kind::HoldFeed, Kind::HoldFeed];
const REVOKE: &[Act] = &[Act::Revoke];
const TOKENS: &[Act] = &[Act::Revoke, Act::BatchRevoke, Act::Rotate];
const ANY: &[Act] = &[
    Act::Revoke,
    Act::Rotate,
    Act::Suspend,
    Act::Limit,
    Act::LimitOrganization,
    Act::RevokeKey,
];
const CALLERS: &[Act] = &[Act::RevokeKey, Act::DeleteCaller];
const MODEL: By = By::Elsewhere("the model only");
const STANDBY: By = By::Elsewhere("the model, and failovers in tests/process/failover.rs");
const WARNING: By = By::Elsewhere("the model, and tests/process/interrupted_commits.rs");
const RESTORE: By = By::Elsewhere("the model, and tests/process/restore.rs");

/// Every rule, in the order of the model.
pub(crate) const PROVOCATIONS: &[Provocation] = &[
    // Without the lock two updates of the row still exclude each other: the second one finds the seal changed.
    by("FeedRowLock", MODEL),
    by("GapResets", By::Servers(REVOKE, &[Kind::HoldFeed, Kind::PurgeFeed])),
    by("WarnedCommitIsUnknown", WARNING),
    by("SynchronousReplication", WARNING),
    by("AnswerNamesItsEpoch", STANDBY),
    // Waiting.
    by("AnswerWaits", By::Servers(ANY, QUIET)),
    by("WaitFromAcknowledgement", By::Servers(REVOKE, HOLD)).lease("300ms"),
    by(
        "RepeatWaits",
        By::Servers(&[Act::BatchRevoke, Act::RevokeLeaked], QUIET),
    ),
    // A repeat that only reads is wrong after a promotion alone.
    by("RepeatTakesRevision", MODEL),
    by("WaitReadWithRevision", By::Servers(REVOKE, SET_LEASE)).lease("100ms"),
    // All processes of a run have the same clock.
    by(
        "Margin",
        By::Elsewhere("the model, and lease::terms::tests::a_wait_has_a_margin in tokend-core"),
    ),
    // Polls and leases.
    by("PollReadsPrimary", STANDBY),
    // The answer of an abandoned poll is wrong after a promotion alone.
    by("OnePoll", MODEL),
    by(
        "LeaseFromPollStart",
        By::Servers(REVOKE, &[Kind::DelayFeed, Kind::DelayFeed]),
    ),
    by("ApplyBeforeRenew", By::Servers(REVOKE, QUIET)).lease("300ms"),
    by("ApplyEveryRow", By::Servers(REVOKE, HOLD)),
    by("CutCallerBeforeRenew", By::Guards(CALLERS, QUIET)).lease("300ms"),
    by("GrantWithinWait", By::Servers(REVOKE, HOLD)).lease("500ms"),
    // The tables refuse such terms, too: `CHECK (grant_micros <= wait_micros)`.
    by(
        "RaiseTogether",
        By::Elsewhere("the model, and lease::terms::tests::a_lease_is_never_longer_than_the_wait in tokend-core"),
    ),
    by("LowerWaitsOldWait", By::Servers(REVOKE, SET_LEASE)).lease("2s"),
    by(
        "LowerIsGuarded",
        By::Servers(REVOKE, &[Kind::SetLeaseTwice, Kind::HoldFeed, Kind::HoldFeed]),
    )
    .lease("2s"),
    by("EpochIncludesTimeline", STANDBY),
    by("ResetRaisesSlots", RESTORE),
    by("RestoreBeginsEpoch", RESTORE),
    by("DeposedPrimaryIsFenced", STANDBY),
    // Verify.
    by("LeaseBeforeLookUp", By::Servers(REVOKE, HOLD)).lease("300ms"),
    by("HeadBeforeLookUp", By::Guards(REVOKE, QUIET)).lease("1s"),
    by("BoundBeforeLookUp", By::Servers(REVOKE, HOLD)).lease("1s"),
    by("SlotOnHit", By::Servers(ANY, QUIET)),
    by("EpochOnHit", RESTORE),
    // Only what no server has in memory is read.
    by(
        "FillInOneSnapshot",
        By::Servers(&[Act::Revoke, Act::BatchRevokeGroup], &[Kind::DelayFills]),
    ),
    by("ReadThroughPrimary", STANDBY),
    by(
        "OutageIsUnavailable",
        By::Servers(REVOKE, &[Kind::Outage, Kind::Outage]),
    )
    .lease("1s"),
    by("MinRevisionReadsThrough", By::Servers(REVOKE, QUIET)),
    // SQLite.
    by(
        "ExclusiveLock",
        By::Elsewhere("the model, and tests/process/sqlite_file.rs"),
    ),
    by(
        "InvalidateAfterError",
        By::Elsewhere("the model, and tests/process/full_disk.rs"),
    ),
    by("InvalidateBeforeNextWrite", By::Embedded(TOKENS, QUIET)).lease("50ms"),
    by("WaitAfterStart", By::Embedded(REVOKE, &[Kind::Kill, Kind::HoldClients])),
    by("LeaseRecordedBeforePong", By::Embedded(REVOKE, &[Kind::HoldClients])).lease("50ms"),
    by("QueueBeforeLeasesAreRead", MODEL),
    // Watch and the SDK.
    by("PongAfterInvalidations", By::Guards(REVOKE, QUIET)).lease("300ms"),
    // On one server, because the same connection has to be late with the pongs and with the invalidations.
    by("SdkLeaseFromSend", By::Embedded(REVOKE, &[Kind::DelayClients])).lease("50ms"),
    by("PongNamesPing", By::Embedded(REVOKE, &[Kind::DelayClients])).lease("50ms"),
    by("StreamBetweenApplies", By::Guards(REVOKE, &[Kind::CutClients])),
    // A guard resumes its streams. Only one that does not needs these two rules.
    by("FreshStreamEndsLease", By::Guards(REVOKE, &[Kind::Lag])),
    by("VerifyKeepsToOneStream", By::Guards(REVOKE, &[Kind::Lag])).lease("2s"),
    by(
        "ResumeReplays",
        By::Guards(REVOKE, &[Kind::CutClients, Kind::CutClients]),
    ),
    by(
        "OldResumeResyncs",
        By::Guards(REVOKE, &[Kind::CutClients, Kind::CutClients, Kind::PurgeFeed]),
    )
    .lease("500ms"),
    by("SdkRefusesBelowSlot", By::Guards(REVOKE, &[Kind::DelayClients])),
    // A new guard knows nothing of what the server of its stream has applied already.
    by(
        "SdkRefusesBelowStreamStart",
        By::Guards(REVOKE, &[Kind::HoldFeed, Kind::KillClient, Kind::KillClient]),
    ),
    // The client without Watch: a guard asks without it only until its first stream begins.
    by("CacheableFromSend", By::Guards(REVOKE, &[Kind::DelayClients])).lease("500ms"),
    by("ReadThroughIsNotCached", By::Servers(REVOKE, HOLD)).lease("1s"),
    by(
        "SdkChecksLease",
        By::Embedded(REVOKE, &[Kind::HoldClients, Kind::StopClient]),
    )
    .lease("50ms"),
    by("SlowStreamIsCut", By::Guards(TOKENS, QUIET)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_the_model_has_its_place() {
        let model = include_str!("../model/src/rule.rs");
        let rules = model.lines().filter_map(|line| {
            let (_, rule) = line.trim().split_once(" => ")?;
            let rule = rule.strip_suffix(',')?;
            rule.chars().all(char::is_alphanumeric).then_some(rule)
        });
        let rules: Vec<_> = rules.collect();
        let here: Vec<_> = PROVOCATIONS.iter().map(|provocation| provocation.rule).collect();
        assert!(rules.len() > 40, "{rules:?}");
        assert_eq!(here, rules);
    }
}
