//! The cases: scenarios in which the guarantee holds, and one for each rule in which it does not hold without the rule.

use crate::embedded::Embedded;
use crate::lease_change::Planned::{Lower, Raise};
use crate::rule::{Broken, Rule};
use crate::scenario::{Disaster, Scenario};

/// One run of the checker.
#[derive(Clone, Debug)]
pub struct Case {
    /// The scenario.
    pub name: &'static str,
    /// The rule that the scenario leaves out.
    pub without: Option<Rule>,
    /// Whether the guarantee must hold. Otherwise the checker must find a counter-example.
    pub holds: bool,
    pub(crate) checked: Checked,
}

#[derive(Clone, Debug)]
pub(crate) enum Checked {
    Servers(Scenario),
    Embedded(Embedded),
}

/// Returns the scenarios of small bounds in which the guarantee holds. They include those of [`without`], with all
/// rules.
pub fn small() -> Vec<Case> {
    let mut cases = vec![
        holds(
            "repeat, restart",
            Scenario {
                crashes: 1,
                ..Scenario::repeat()
            },
        ),
        holds(
            "two servers",
            Scenario {
                servers: 2,
                whole_applies: true,
                ..Scenario::revoke()
            },
        ),
    ];
    for &rule in Rule::ALL {
        let (name, checked) = needs(rule);
        if cases.iter().all(|case| case.name != name) {
            cases.push(Case {
                name,
                without: None,
                holds: true,
                checked,
            });
        }
    }
    cases
}

/// Returns the scenarios of large bounds in which the guarantee holds. They take minutes and gigabytes of memory.
pub fn large() -> Vec<Case> {
    vec![
        holds(
            "two servers, repeat",
            Scenario {
                servers: 2,
                ..Scenario::repeat()
            },
        ),
        holds(
            "repeat, lease of two ticks, restart",
            Scenario {
                crashes: 1,
                ..Scenario::repeat().lease(2)
            },
        ),
        holds("three calls", Scenario::repeat().after_other()),
        holds("promotion, drift", promotion(Scenario::two_things())),
        holds(
            "promotion, purged feed rows",
            Scenario {
                purges: true,
                ..promotion(Scenario::two_things())
            },
        ),
        holds(
            "promotion, repeat, restart",
            Scenario {
                crashes: 1,
                ..promotion(Scenario::repeat())
            },
        ),
        holds(
            "promotion, min_revision",
            Scenario {
                min_revision: true,
                ..promotion(Scenario::repeat().after_other().coarse())
            },
        ),
        holds("restore, drift", restore(Scenario::two_things())),
        holds("lease of four ticks lowered twice", lease(4, vec![Lower(1), Lower(1)])),
        holds(
            "lease lowered, raised, lowered, drift",
            lease(2, vec![Lower(1), Raise(3), Lower(1)]),
        ),
        holds(
            "SDK that reconnects, answers from a server's memory",
            Scenario::watch_memory(2),
        ),
        holds("SDK that reconnects twice", Scenario::watch(3)),
        holds("SDK whose key is revoked, drift", Scenario::watch_caller(2)),
        holds(
            "SDK, purged feed rows, two things",
            Scenario {
                purges: true,
                ..Scenario::watch(2).after_other().coarse()
            },
        ),
        holds(
            "SDK and two servers, drift",
            Scenario {
                servers: 2,
                whole_applies: true,
                ..Scenario::watch(2)
            },
        ),
        holds("SDK, promotion", promotion(Scenario::watch(2).after_other().coarse())),
        holds(
            "SDK and two servers, promotion",
            promotion(Scenario {
                servers: 2,
                ..Scenario::watch(2).coarse()
            }),
        ),
        holds("SDK, restore", restore(Scenario::watch(2).after_other().coarse())),
    ]
}

/// Returns scenarios in which the guarantee holds although a repeat takes no revision. It does not hold in that of
/// [`without`].
pub fn repeats_that_only_read() -> Vec<Case> {
    let scenarios = [
        (
            "repeat, restart",
            Scenario {
                crashes: 1,
                ..Scenario::repeat()
            },
        ),
        (
            "repeat, purged feed rows",
            Scenario {
                purges: true,
                ..Scenario::repeat()
            },
        ),
        (
            "repeat, min_revision",
            Scenario {
                min_revision: true,
                ..Scenario::repeat()
            },
        ),
        (
            "repeat, lease raised and lowered",
            Scenario {
                lease_changes: vec![Raise(2), Lower(1)],
                ..Scenario::repeat().coarse()
            },
        ),
        ("repeat, restore", restore(Scenario::repeat().coarse())),
        (
            "repeat, SDK",
            Scenario {
                servers_verify: false,
                sdk: Scenario::watch(2).sdk,
                ..Scenario::repeat().coarse()
            },
        ),
        (
            "repeat, client with cacheable_for",
            Scenario {
                plain_client: true,
                ..Scenario::repeat()
            },
        ),
    ];
    let without = Some(Rule::RepeatTakesRevision);
    let case = |(name, scenario): (_, Scenario)| Case {
        name,
        without,
        holds: true,
        checked: Checked::Servers(scenario.without(Rule::RepeatTakesRevision)),
    };
    scenarios.into_iter().map(case).collect()
}

/// Returns a scenario in which the guarantee does not hold without the rule.
pub fn without(rule: Rule) -> Case {
    let (name, mut checked) = needs(rule);
    match &mut checked {
        Checked::Servers(scenario) => scenario.broken = Broken::only(rule),
        Checked::Embedded(embedded) => embedded.broken = Broken::only(rule),
    }
    Case {
        name,
        without: Some(rule),
        holds: false,
        checked,
    }
}

/// A scenario that needs the rule, and its name.
fn needs(rule: Rule) -> (&'static str, Checked) {
    let (name, scenario) = match rule {
        Rule::AnswerWaits
        | Rule::WaitFromAcknowledgement
        | Rule::Margin
        | Rule::PollReadsPrimary
        | Rule::LeaseFromPollStart
        | Rule::ApplyBeforeRenew
        | Rule::LeaseBeforeLookUp
        | Rule::SlotOnHit
        | Rule::FillInOneSnapshot
        | Rule::ReadThroughPrimary
        | Rule::OutageIsUnavailable => ("one server", Scenario::revoke()),
        Rule::GrantWithinWait => (
            "grant above wait",
            Scenario {
                grant: 2,
                ..Scenario::revoke()
            },
        ),
        Rule::RepeatWaits => ("repeat", Scenario::repeat()),
        Rule::FeedRowLock | Rule::ApplyEveryRow => ("two things", Scenario::two_things()),
        Rule::GapResets => (
            "purged feed rows",
            Scenario {
                purges: true,
                ..Scenario::two_things()
            },
        ),

        Rule::WarnedCommitIsUnknown
        | Rule::SynchronousReplication
        | Rule::EpochIncludesTimeline
        | Rule::ResetRaisesSlots
        | Rule::EpochOnHit
        | Rule::DeposedPrimaryIsFenced => ("promotion", promotion(Scenario::two_things().coarse())),
        Rule::OnePoll => ("promotion, one call", promotion(Scenario::revoke().coarse())),
        Rule::RepeatTakesRevision => ("repeat, promotion", promotion(Scenario::repeat())),
        Rule::RestoreBeginsEpoch => ("restore", restore(Scenario::two_things().coarse())),

        Rule::MinRevisionReadsThrough => (
            "min_revision",
            Scenario {
                min_revision: true,
                ..Scenario::repeat()
            },
        ),
        Rule::AnswerNamesItsEpoch => {
            let mut scenario = Scenario {
                min_revision: true,
                ..promotion(Scenario::two_things().coarse())
            };
            scenario.changes.iter_mut().for_each(|change| change.no_wait = true);
            ("min_revision, promotion", scenario)
        }

        Rule::RaiseTogether | Rule::WaitReadWithRevision => ("lease raised", lease(1, vec![Raise(2)])),
        Rule::LowerWaitsOldWait => ("lease lowered twice", lease(3, vec![Lower(1), Lower(1)]).coarse()),
        Rule::LowerIsGuarded => (
            "lease lowered, raised, lowered",
            lease(1, vec![Lower(1), Raise(2), Lower(1)]).coarse(),
        ),

        Rule::PongAfterInvalidations
        | Rule::SdkLeaseFromSend
        | Rule::PongNamesPing
        | Rule::StreamBetweenApplies
        | Rule::SdkRefusesBelowSlot
        | Rule::SdkChecksLease => ("SDK", Scenario::watch(1)),
        Rule::ResumeReplays | Rule::SdkRefusesBelowStreamStart => ("SDK that reconnects", Scenario::watch(2)),
        Rule::FreshStreamEndsLease | Rule::VerifyKeepsToOneStream => (
            "SDK and two servers",
            Scenario {
                servers: 2,
                ..Scenario::watch(2).coarse()
            },
        ),
        Rule::OldResumeResyncs => (
            "SDK, purged feed rows",
            Scenario {
                purges: true,
                ..Scenario::watch(2)
            },
        ),
        Rule::SlowStreamIsCut => ("SDK, two things", Scenario::watch(1).after_other().coarse()),
        Rule::CutCallerBeforeRenew => ("SDK whose key is revoked", Scenario::watch_caller(1)),
        Rule::HeadBeforeLookUp => ("SDK, answers from a server's memory", Scenario::watch_memory(1)),
        Rule::BoundBeforeLookUp | Rule::CacheableFromSend => (
            "client with cacheable_for",
            Scenario {
                plain_client: true,
                ..Scenario::revoke()
            },
        ),
        Rule::ReadThroughIsNotCached => {
            let scenario = Scenario {
                plain_client: true,
                ..lease(3, vec![Lower(1)]).coarse()
            };
            ("client with cacheable_for, lease lowered", scenario)
        }

        Rule::ExclusiveLock
        | Rule::InvalidateAfterError
        | Rule::InvalidateBeforeNextWrite
        | Rule::WaitAfterStart
        | Rule::LeaseRecordedBeforePong
        | Rule::QueueBeforeLeasesAreRead => {
            return (
                "embedded",
                Checked::Embedded(Embedded {
                    broken: Broken::default(),
                }),
            );
        }
    };
    (name, Checked::Servers(scenario))
}

fn holds(name: &'static str, scenario: Scenario) -> Case {
    Case {
        name,
        without: None,
        holds: true,
        checked: Checked::Servers(scenario),
    }
}

fn promotion(scenario: Scenario) -> Scenario {
    Scenario {
        disaster: Some(Disaster::Promotion),
        ..scenario
    }
}

fn restore(scenario: Scenario) -> Scenario {
    Scenario {
        disaster: Some(Disaster::Restore),
        ..scenario
    }
}

fn lease(ticks: u8, lease_changes: Vec<crate::lease_change::Planned>) -> Scenario {
    Scenario {
        lease_changes,
        ..Scenario::revoke().lease(ticks)
    }
}
