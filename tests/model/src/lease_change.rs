//! `tokend lease set` while servers run.

use crate::protocol::State;
use crate::rule::Rule;
use crate::scenario::Scenario;
use crate::time::Left;
use crate::writer::feed_row_locked;

/// The maximum number of changes of the lease in a scenario.
pub(crate) const LEASE_CHANGES: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planned {
    Raise(u8),
    Lower(u8),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Progress {
    #[default]
    Idle,
    /// The first commit is done. `version` is the version of the terms after it.
    Halfway {
        wait: Left,
        version: u8,
    },
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Start,
    Finish,
    /// The command is killed between its commits.
    Die,
}

impl Progress {
    pub(crate) fn tick(&mut self) {
        if let Self::Halfway { wait, .. } = self {
            wait.tick();
        }
    }
}

pub(crate) fn actions(state: &State, number: usize, actions: &mut Vec<Action>) {
    let may_write = !feed_row_locked(state);
    match state.lease_changes[number] {
        Progress::Idle if may_write => actions.push(Action::Start),
        Progress::Halfway { wait, .. } => {
            if may_write && !wait.runs() {
                actions.push(Action::Finish);
            }
            actions.push(Action::Die);
        }
        Progress::Idle | Progress::Over => {}
    }
}

pub(crate) fn act(scenario: &Scenario, state: &mut State, number: usize, action: Action) {
    let terms = &mut state.database.terms;
    let progress = &mut state.lease_changes[number];
    *progress = match (action, scenario.lease_changes[number], *progress) {
        (Action::Start, Planned::Raise(to), _) => {
            terms.grant = to;
            terms.version += 1;
            if scenario.keeps(Rule::RaiseTogether) {
                terms.wait = to;
                Progress::Over
            } else {
                Progress::Halfway {
                    wait: Left(0),
                    version: terms.version,
                }
            }
        }
        // It would raise the lease.
        (Action::Start, Planned::Lower(to), _) if to > terms.wait => Progress::Over,
        (Action::Start, Planned::Lower(to), _) => {
            let longest = if scenario.keeps(Rule::LowerWaitsOldWait) {
                terms.wait
            } else {
                terms.grant
            };
            terms.grant = to;
            terms.version += 1;
            Progress::Halfway {
                wait: Left(longest + scenario.margin),
                version: terms.version,
            }
        }
        (Action::Finish, Planned::Raise(to), _) => {
            terms.wait = to;
            Progress::Over
        }
        (Action::Finish, Planned::Lower(to), Progress::Halfway { version, .. }) => {
            let unchanged = version == terms.version || !scenario.keeps(Rule::LowerIsGuarded);
            // The database itself refuses a wait below the grant.
            if unchanged && terms.grant <= to {
                terms.wait = to;
                terms.version += 1;
            }
            Progress::Over
        }
        (Action::Die | Action::Finish, ..) => Progress::Over,
    };
}
