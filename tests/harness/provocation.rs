//! Which clients and faults show that a rule of the protocol is needed.
//!
//! The program under test can leave out a rule of `tests/model/src/rule.rs`. A run must then find a violation: a rule
//! whose loss is not noticed is not tested. [`PROVOCATIONS`] has the quickest way for each rule, or says what else
//! tests it.

use std::time::Duration;

use crate::{faults::Kind, workload::Act};

/// How to notice that a rule is left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Provocation {
    /// The rule's name in the model.
    pub(crate) rule: &'static str,
    pub(crate) by: By,
}

/// What notices it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    /// A run on PostgreSQL with these acts and faults.
    Servers(&'static [Act], &'static [Kind]),
    /// The same, and only the guards' answers can show it.
    Guards(&'static [Act], &'static [Kind]),
    /// A run on SQLite.
    Embedded(&'static [Act], &'static [Kind]),
    /// No run: it takes this.
    Elsewhere(&'static str),
}

impl Provocation {
    /// Returns how long leases last in the run. A long lease does not lapse on a busy machine.
    pub(crate) fn lease(self) -> &'static str {
        match self.rule {
            // A COMMIT can be late by less than a second, which has to be more than the margin of the wait.
            "WaitFromAcknowledgement" => "1s",
            // A delay has to be longer than a change waits.
            "CacheableFromSend" => "500ms",
            // A server lags for longer than a change waits.
            "VerifyKeepsToOneStream" => "1s",
            _ => "3s",
        }
    }

    /// Returns the time within which a run must find a violation. Most need a few seconds.
    pub(crate) const fn within(self) -> Duration {
        Duration::from_secs(match self.by {
            By::Servers(..) | By::Embedded(..) => 90,
            By::Guards(..) => 120,
            By::Elsewhere(_) => 0,
        })
    }
}

const fn by(rule: &'static str, by: By) -> Provocation {
    Provocation { rule, by }
}

const QUIET: &[Kind] = &[Kind::Nothing];
const REVOKE: &[Act] = &[Act::Revoke];
/// Tokens that are revoked as soon as they exist.
const NEW: &[Act] = &[Act::BatchRevokeGroup];
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
const STANDBY: By = By::Elsewhere("a failover to a standby");
const RESTORE: By = By::Elsewhere("a database that was put back");

/// Every rule, in the order of the model.
pub(crate) const PROVOCATIONS: &[Provocation] = &[
    // Commits that overtake each other: a poll sees the later revision and never asks for the earlier one.
    by("FeedRowLock", By::Servers(REVOKE, &[Kind::DelayCommits])),
    by("GapResets", By::Servers(REVOKE, &[Kind::HoldFeed])),
    by("WarnedCommitIsUnknown", STANDBY),
    by("SynchronousReplication", STANDBY),
    by("AnswerNamesItsEpoch", STANDBY),
    // Waiting.
    by("AnswerWaits", By::Servers(ANY, &[Kind::HoldFeed])),
    by(
        "WaitFromAcknowledgement",
        By::Servers(REVOKE, &[Kind::DelayCommits, Kind::HoldFeed]),
    ),
    by("RepeatWaits", By::Servers(TOKENS, &[Kind::HoldFeed])),
    by(
        "RepeatTakesRevision",
        By::Servers(TOKENS, &[Kind::DelayCommits, Kind::HoldFeed]),
    ),
    by(
        "WaitReadWithRevision",
        By::Servers(REVOKE, &[Kind::SetLease, Kind::HoldFeed]),
    ),
    by("Margin", By::Servers(REVOKE, &[Kind::HoldFeed])),
    // Polls and leases.
    by("PollReadsPrimary", STANDBY),
    by("OnePoll", By::Servers(REVOKE, &[Kind::DelayFeed, Kind::HoldFeed])),
    by("LeaseFromPollStart", By::Servers(REVOKE, &[Kind::DelayFeed])),
    by("ApplyBeforeRenew", By::Servers(REVOKE, QUIET)),
    by("ApplyEveryRow", By::Servers(REVOKE, &[Kind::HoldFeed])),
    by(
        "CutCallerBeforeRenew",
        By::Guards(CALLERS, &[Kind::Nothing, Kind::Delay]),
    ),
    by(
        "GrantWithinWait",
        By::Servers(REVOKE, &[Kind::SetLease, Kind::HoldFeed]),
    ),
    by("RaiseTogether", By::Servers(REVOKE, &[Kind::SetLease, Kind::HoldFeed])),
    by(
        "LowerWaitsOldWait",
        By::Servers(REVOKE, &[Kind::SetLease, Kind::HoldFeed]),
    ),
    by("LowerIsGuarded", By::Servers(REVOKE, &[Kind::SetLease, Kind::HoldFeed])),
    by("EpochIncludesTimeline", STANDBY),
    by("ResetRaisesSlots", RESTORE),
    by("RestoreBeginsEpoch", RESTORE),
    by("DeposedPrimaryIsFenced", STANDBY),
    // Verify.
    by("LeaseBeforeLookUp", By::Servers(REVOKE, &[Kind::HoldFeed, Kind::Stop])),
    by("HeadBeforeLookUp", By::Guards(REVOKE, &[Kind::Nothing, Kind::Delay])),
    by("BoundBeforeLookUp", By::Servers(REVOKE, &[Kind::HoldFeed, Kind::Stop])),
    by("SlotOnHit", By::Servers(ANY, QUIET)),
    by("EpochOnHit", RESTORE),
    // Only what no server has in memory is read.
    by("FillInOneSnapshot", By::Servers(NEW, &[Kind::DelayFills])),
    by("ReadThroughPrimary", STANDBY),
    by("OutageIsUnavailable", By::Servers(REVOKE, &[Kind::Outage])),
    by("MinRevisionReadsThrough", By::Servers(REVOKE, &[Kind::HoldFeed])),
    // SQLite.
    by("ExclusiveLock", By::Elsewhere("a second process on the same file")),
    by(
        "InvalidateAfterError",
        By::Elsewhere("a COMMIT that fails, on a full disk"),
    ),
    by("InvalidateBeforeNextWrite", By::Embedded(TOKENS, QUIET)),
    by("WaitAfterStart", By::Embedded(REVOKE, &[Kind::Kill, Kind::HoldClients])),
    by(
        "LeaseRecordedBeforePong",
        By::Embedded(REVOKE, &[Kind::HoldClients, Kind::DelayClients]),
    ),
    by("QueueBeforeLeasesAreRead", By::Embedded(REVOKE, &[Kind::DelayClients])),
    // Watch and the SDK.
    by(
        "PongAfterInvalidations",
        By::Guards(REVOKE, &[Kind::DelayClients, Kind::Nothing]),
    ),
    by("SdkLeaseFromSend", By::Embedded(REVOKE, &[Kind::DelayClients])),
    by("PongNamesPing", By::Embedded(REVOKE, &[Kind::DelayClients])),
    by("StreamBetweenApplies", By::Guards(REVOKE, &[Kind::CutClients])),
    // A guard resumes its streams. Only one that does not needs these two rules.
    by("FreshStreamEndsLease", By::Guards(REVOKE, &[Kind::Lag])),
    by("VerifyKeepsToOneStream", By::Guards(REVOKE, &[Kind::Lag])),
    by("ResumeReplays", By::Embedded(REVOKE, &[Kind::CutClients])),
    by(
        "OldResumeResyncs",
        By::Guards(REVOKE, &[Kind::HoldClients, Kind::StopClient]),
    ),
    by("SdkRefusesBelowSlot", By::Guards(REVOKE, &[Kind::DelayClients])),
    // Each new key is a new guard, which knows nothing of what a server has applied already.
    by(
        "SdkRefusesBelowStreamStart",
        By::Guards(&[Act::Revoke, Act::RevokeKey], &[Kind::Lag]),
    ),
    // The client without Watch: a guard asks without it only until its first stream begins.
    by("CacheableFromSend", By::Guards(REVOKE, &[Kind::DelayClients])),
    by(
        "ReadThroughIsNotCached",
        By::Servers(REVOKE, &[Kind::Hold, Kind::HoldFeed]),
    ),
    by(
        "SdkChecksLease",
        By::Embedded(REVOKE, &[Kind::HoldClients, Kind::StopClient]),
    ),
    by("SlowStreamIsCut", By::Guards(TOKENS, &[Kind::HoldClients])),
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
