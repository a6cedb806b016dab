//! The calls that revoke a thing, and the answers that say that it is dead.

use crate::database::{Database, Snapshot};
use crate::memory::Revision;
use crate::protocol::State;
use crate::rule::Rule;
use crate::scenario::{Disaster, Scenario};
use crate::time::Left;

/// The maximum number of changes in a scenario.
pub(crate) const CHANGES: usize = 3;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Change {
    pub(crate) step: Step,
    pub(crate) wait: Left,
    /// The revision that the answer will name.
    pub(crate) answers: Revision,
    /// COMMIT was acknowledged with a warning and nevertheless counted as done.
    pub(crate) warned: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    #[default]
    Idle,
    /// The revision is taken and the feed row locked.
    Open,
    /// Visible to all readers, but not acknowledged.
    Committed,
    Waiting,
    Returned,
    /// The outcome is an error, or unknown.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    TakeRevision,
    RollBack,
    Commit,
    Acknowledge,
    /// COMMIT is acknowledged with a warning: it did not wait for the standby.
    Warn,
    /// A repeat finds the thing dead in a snapshot, and writes nothing. Only without `RepeatTakesRevision`.
    ReadDeath,
    Return,
}

impl Change {
    pub(crate) fn is_acknowledged(&self) -> bool {
        matches!(self.step, Step::Waiting | Step::Returned)
    }

    pub(crate) fn tick(&mut self, scenario: &Scenario) {
        if self.step == Step::Waiting || !scenario.keeps(Rule::WaitFromAcknowledgement) {
            self.wait.tick();
        }
    }
}

pub(crate) fn actions(scenario: &Scenario, state: &State, number: usize, actions: &mut Vec<Action>) {
    let change = &state.changes[number];
    match change.step {
        Step::Idle => {
            let dead = state
                .database
                .is_dead(scenario, state.database.committed, scenario.changes[number].thing);
            if dead && !scenario.keeps(Rule::RepeatTakesRevision) {
                actions.push(Action::ReadDeath);
            } else if !scenario.keeps(Rule::FeedRowLock) || !feed_row_locked(state) {
                actions.push(Action::TakeRevision);
            }
        }
        Step::Open => actions.extend([Action::Commit, Action::RollBack]),
        Step::Committed => {
            actions.push(Action::Acknowledge);
            if scenario.disaster == Some(Disaster::Promotion) {
                actions.push(Action::Warn);
            }
        }
        Step::Waiting if !change.wait.runs() => actions.push(Action::Return),
        Step::Waiting | Step::Returned | Step::Failed => {}
    }
}

pub(crate) fn act(scenario: &Scenario, state: &mut State, number: usize, action: Action) {
    let planned = scenario.changes[number];
    let database = &mut state.database;
    let change = &mut state.changes[number];
    match action {
        Action::TakeRevision => {
            let Snapshot { epoch, changes, .. } = database.now(scenario);
            // Without the lock, numbers come from a sequence.
            let taken = if scenario.keeps(Rule::FeedRowLock) {
                database.head(changes)
            } else {
                database.numbers.into_iter().max().unwrap_or(0)
            };
            database.numbers[number] = taken + 1;
            let repeat = database.is_dead(scenario, changes, planned.thing);
            if repeat {
                database.repeats.insert(number);
            }
            let remembers_former_epoch = !scenario.keeps(Rule::AnswerNamesItsEpoch) && database.deposed.is_some();
            change.answers = Revision {
                epoch: epoch - u8::from(remembers_former_epoch),
                number: taken + 1,
            };
            change.wait = wait(scenario, database, repeat);
            change.step = Step::Open;
        }
        Action::RollBack => change.step = Step::Failed,
        Action::Commit => {
            database.committed.insert(number);
            change.step = Step::Committed;
        }
        Action::Acknowledge => change.step = Step::Waiting,
        Action::Warn if scenario.keeps(Rule::WarnedCommitIsUnknown) => change.step = Step::Failed,
        Action::Warn => {
            change.warned = true;
            change.step = Step::Waiting;
        }
        Action::ReadDeath => {
            let Snapshot { epoch, changes, .. } = database.now(scenario);
            change.answers = Revision {
                epoch,
                number: database.head(changes),
            };
            change.wait = wait(scenario, database, true);
            change.step = Step::Waiting;
        }
        Action::Return => change.step = Step::Returned,
    }
    if planned.no_wait && change.step == Step::Waiting {
        change.wait = Left::default();
    }
    if change.step == Step::Returned {
        state.promise(scenario, number);
    }
}

fn wait(scenario: &Scenario, database: &Database, repeat: bool) -> Left {
    let wait = if scenario.keeps(Rule::WaitReadWithRevision) {
        database.terms.wait
    } else {
        scenario.wait
    };
    let margin = if scenario.keeps(Rule::Margin) {
        scenario.margin
    } else {
        0
    };
    let waits = scenario.keeps(Rule::AnswerWaits) && (!repeat || scenario.keeps(Rule::RepeatWaits));
    Left(if waits { wait + margin } else { 0 })
}

/// Returns whether a transaction holds the feed row's lock.
pub(crate) fn feed_row_locked(state: &State) -> bool {
    state.changes.iter().any(|change| change.step == Step::Open)
}
