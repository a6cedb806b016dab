//! The calls that revoke the token, in the one process.

use super::{Embedded, GRANT, MARGIN, State};
use crate::memory::Thing;
use crate::rule::Rule;
use crate::sdk::Message;
use crate::time::Left;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Call {
    pub(super) step: Step,
    /// The call found the token dead, and so has nothing to invalidate.
    repeats: bool,
    number: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    #[default]
    Idle,
    Open,
    /// COMMIT has answered.
    Stored {
        acknowledged: bool,
    },
    /// The invalidation is still to come. Only without `QueueBeforeLeasesAreRead`.
    LeasesRead(Left),
    Invalidated,
    Waiting(Left),
    Returned,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Begin,
    Commit,
    /// COMMIT answers with an error, though the change may be stored.
    CommitFails {
        stored: bool,
    },
    Invalidate,
    ReadLeases,
    Return,
    /// Another process writes to the file. Only without `ExclusiveLock`.
    WriteElsewhere,
}

impl Call {
    pub(super) fn tick(&mut self) {
        if let Step::Waiting(left) | Step::LeasesRead(left) = &mut self.step {
            left.tick();
        }
    }

    /// The process restarts: a call under way has an unknown outcome.
    pub(super) fn lose_process(&mut self) {
        if !matches!(self.step, Step::Idle | Step::Returned) {
            self.step = Step::Failed;
        }
    }
}

pub(super) fn actions(model: &Embedded, state: &State, number: usize, actions: &mut Vec<Action>) {
    let writing = state.calls.iter().any(|other| match other.step {
        Step::Open => true,
        Step::Stored { .. } | Step::LeasesRead(_) => model.keeps(Rule::InvalidateBeforeNextWrite),
        _ => false,
    });
    let reads_leases_first = !model.keeps(Rule::QueueBeforeLeasesAreRead);
    match state.calls[number].step {
        Step::Idle if !model.keeps(Rule::ExclusiveLock) => actions.push(Action::WriteElsewhere),
        Step::Idle if !writing => actions.push(Action::Begin),
        Step::Open => {
            let fails = |stored| Action::CommitFails { stored };
            actions.extend([Action::Commit, fails(true), fails(false)]);
        }
        Step::Stored { acknowledged: true } if reads_leases_first => actions.push(Action::ReadLeases),
        Step::Stored { .. } | Step::LeasesRead(_) => actions.push(Action::Invalidate),
        Step::Invalidated => actions.push(Action::ReadLeases),
        Step::Waiting(left) if !left.runs() => actions.push(Action::Return),
        Step::Idle | Step::Waiting(_) | Step::Returned | Step::Failed => {}
    }
}

pub(super) fn act(model: &Embedded, state: &mut State, number: usize, action: Action) {
    let call = &mut state.calls[number];
    match action {
        Action::Begin => {
            *call = Call {
                step: Step::Open,
                repeats: state.death.is_some(),
                number: state.head + 1,
            }
        }
        Action::Commit => {
            call.step = Step::Stored { acknowledged: true };
            store(state, number);
        }
        Action::CommitFails { stored } => {
            let invalidates = model.keeps(Rule::InvalidateAfterError);
            call.step = if invalidates {
                Step::Stored { acknowledged: false }
            } else {
                Step::Failed
            };
            if stored {
                store(state, number);
            }
        }
        Action::Invalidate => {
            call.step = match call.step {
                Step::Stored { acknowledged: true } => Step::Invalidated,
                Step::LeasesRead(left) => Step::Waiting(left),
                _ => Step::Failed,
            };
            invalidate(model, state, number);
        }
        Action::ReadLeases => {
            let process = &state.process;
            let former = if model.keeps(Rule::WaitAfterStart) {
                process.former_leases
            } else {
                Left(0)
            };
            let wait = process.leases.max(former);
            call.step = if call.step == Step::Invalidated {
                Step::Waiting(wait)
            } else {
                Step::LeasesRead(wait)
            };
        }
        Action::Return => {
            call.step = Step::Returned;
            state.dead = true;
        }
        // The other process knows no leases, and waits as long as the longest.
        Action::WriteElsewhere => {
            *call = Call {
                step: Step::Waiting(Left(GRANT + MARGIN)),
                repeats: state.death.is_some(),
                number: state.head + 1,
            };
            store(state, number);
        }
    }
}

fn store(state: &mut State, number: usize) {
    state.head = state.calls[number].number;
    state.death.get_or_insert(state.head);
}

/// Raises the slot and queues the invalidation for streams. A repeat has nothing to invalidate.
fn invalidate(model: &Embedded, state: &mut State, number: usize) {
    let Call { repeats, number, .. } = state.calls[number];
    state.process.applied = state.process.applied.max(number);
    if !repeats {
        state.process.memory.raise(number);
        if state.sdk.stream.is_some() {
            state.sdk.push(
                model.broken,
                Message::Invalidate {
                    thing: Thing::Token,
                    number,
                },
            );
        }
    }
}
