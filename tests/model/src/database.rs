//! The primary: what is committed in which order, the feed, the lease's terms, promotions and restores.

use crate::memory::{Revision, Thing};
use crate::protocol::State;
use crate::rule::Rule;
use crate::scenario::{Disaster, Scenario};
use crate::writer::{CHANGES, Step};

/// A set of changes, by their place in the scenario.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Changes(u8);

impl Changes {
    pub(crate) fn contains(self, change: usize) -> bool {
        self.0 >> change & 1 == 1
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn insert(&mut self, change: usize) {
        self.0 |= 1 << change;
    }

    pub(crate) fn filter(self, keep: impl Fn(usize) -> bool) -> Self {
        Self(
            self.iter()
                .filter(|&change| keep(change))
                .fold(0, |set, change| set | 1 << change),
        )
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        (0..CHANGES).filter(move |&change| self.contains(change))
    }
}

/// The sealed feed row's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Terms {
    /// How long a poll lets its server answer from memory.
    pub(crate) grant: u8,
    /// How long an answer that says "dead" is held back, without the margin.
    pub(crate) wait: u8,
    /// Raised by every change of the terms.
    pub(crate) version: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Database {
    pub(crate) epoch: u8,
    pub(crate) committed: Changes,
    /// The number that each change took. One that is lost keeps its number here, and another change may take it in the
    /// next epoch.
    pub(crate) numbers: [u8; CHANGES],
    /// Changes that found their thing dead.
    pub(crate) repeats: Changes,
    pub(crate) terms: Terms,
    /// Feed rows up to this number are purged.
    pub(crate) purged: u8,
    /// The state of the former primary when another one replaced it.
    pub(crate) deposed: Option<Changes>,
}

/// The values that one statement reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Snapshot {
    pub(crate) epoch: u8,
    pub(crate) changes: Changes,
    pub(crate) grant: u8,
    pub(crate) purged: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// All feed rows so far are purged.
    Purge,
    /// A standby that has the changes up to this number is promoted, or a backup of that time is restored.
    Replace { up_to: u8 },
}

impl Database {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let Scenario { mut grant, wait, .. } = *scenario;
        if scenario.keeps(Rule::GrantWithinWait) {
            grant = grant.min(wait);
        }
        Self {
            epoch: 1,
            committed: Changes::default(),
            numbers: [0; CHANGES],
            repeats: Changes::default(),
            terms: Terms {
                grant,
                wait,
                version: 0,
            },
            purged: 0,
            deposed: None,
        }
    }

    pub(crate) fn now(&self, scenario: &Scenario) -> Snapshot {
        let epoch = if scenario.keeps(Rule::EpochIncludesTimeline) {
            self.epoch
        } else {
            1
        };
        Snapshot {
            epoch,
            changes: self.committed,
            grant: self.terms.grant,
            purged: self.purged,
        }
    }

    /// A snapshot that lacks the last commit.
    pub(crate) fn earlier(&self, scenario: &Scenario) -> Snapshot {
        let head = self.head(self.committed);
        Snapshot {
            changes: self.committed.filter(|change| self.numbers[change] < head),
            ..self.now(scenario)
        }
    }

    pub(crate) fn head(&self, changes: Changes) -> u8 {
        changes.iter().map(|change| self.numbers[change]).max().unwrap_or(0)
    }

    pub(crate) fn is_dead(&self, scenario: &Scenario, changes: Changes, thing: Thing) -> bool {
        changes
            .iter()
            .any(|change| scenario.changes[change].thing == thing && !self.repeats.contains(change))
    }

    /// The newest snapshot in which the token is alive. This is the worst that a fill, however old or slow, can read.
    pub(crate) fn last_alive(&self, scenario: &Scenario) -> Option<Revision> {
        let Snapshot { epoch, changes, .. } = self.now(scenario);
        let of_token = changes.filter(|change| scenario.changes[change].thing == Thing::Token);
        match of_token.iter().map(|change| self.numbers[change]).min() {
            None => Some(Revision {
                epoch,
                number: self.head(changes),
            }),
            // Without the lock, the numbers below are no snapshot.
            Some(_) if !scenario.keeps(Rule::FeedRowLock) => None,
            Some(number) => Some(Revision {
                epoch,
                number: number - 1,
            }),
        }
    }
}

pub(crate) fn actions(scenario: &Scenario, state: &State, actions: &mut Vec<Action>) {
    let database = &state.database;
    let head = database.head(database.committed);
    if scenario.purges && database.purged < head {
        actions.push(Action::Purge);
    }
    if database.deposed.is_none() {
        let kept = match scenario.disaster {
            None => return,
            // Replication sends changes in order: the standby lacks a tail, which contains nothing that it confirmed.
            Some(Disaster::Promotion) if scenario.keeps(Rule::SynchronousReplication) => {
                database.committed.filter(|change| {
                    let change = &state.changes[change];
                    change.is_acknowledged() && !change.warned
                })
            }
            Some(Disaster::Promotion | Disaster::Restore) => Changes::default(),
        };
        actions.extend((database.head(kept)..=head).map(|up_to| Action::Replace { up_to }));
    }
}

pub(crate) fn act(scenario: &Scenario, state: &mut State, action: Action) {
    match action {
        Action::Purge => state.database.purged = state.database.head(state.database.committed),
        Action::Replace { up_to } => replace(scenario, state, up_to),
    }
}

fn replace(scenario: &Scenario, state: &mut State, up_to: u8) {
    let database = &mut state.database;
    let numbers = database.numbers;
    let before = database.committed;
    database.committed = before.filter(|change| numbers[change] <= up_to);
    database.purged = database.purged.min(up_to);
    database.deposed = Some(before);
    let restored = scenario.disaster == Some(Disaster::Restore);
    if !restored || scenario.keeps(Rule::RestoreBeginsEpoch) {
        database.epoch += 1;
    }

    for (number, (planned, change)) in scenario.changes.iter().zip(&mut state.changes).enumerate() {
        let lost = before.contains(number) && !database.committed.contains(number);
        let dead = database.is_dead(scenario, database.committed, planned.thing);
        match change.step {
            Step::Open => change.step = Step::Failed,
            Step::Committed if lost => change.step = Step::Failed,
            // The guarantee does not cover changes that a backup lacks. It covers changes that a promotion loses.
            Step::Waiting | Step::Returned if restored && !dead => change.step = Step::Failed,
            _ => {}
        }
    }
    if restored {
        state.named = None;
        state.token_dead = false;
        state.caller_dead = false;
        for number in 0..scenario.changes.len() {
            state.promise(scenario, number);
        }
        // A Verify under way started before the restore.
        state.sdk.verifies = false;
        for server in &mut state.servers {
            server.verify = Default::default();
        }
    }
    for server in &mut state.servers {
        server.lose_connection();
    }
}
