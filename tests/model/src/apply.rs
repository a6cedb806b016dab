//! Applies a poll's answer: slots, streams, then head and lease. Readers see this in two halves.

use crate::database::Changes;
use crate::memory::{Revision, Thing};
use crate::protocol::State;
use crate::rule::Rule;
use crate::scenario::Scenario;
use crate::sdk::Message;
use crate::server::{Poll, Server};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Delayed {
    pub(crate) invalidations: Changes,
    pub(crate) cut: bool,
}

/// Applies the first half: slots and streams, in the right order.
pub(crate) fn start(scenario: &Scenario, state: &mut State, at: usize) {
    let server = &mut state.servers[at];
    let Poll::Answered(age, snapshot) = server.poll else {
        return;
    };
    let number = state.database.head(snapshot.changes);
    let same_epoch = snapshot.epoch == server.head.epoch;
    if same_epoch && number < server.head.number {
        // A head below its own within an epoch: the server stops, and starts again with an empty memory.
        *server = Server::default();
        state.sdk.lose_server(at);
        return;
    }
    let from = server.head.number;
    let gap = snapshot.purged > from && scenario.keeps(Rule::GapResets);
    server.poll = Poll::Applying {
        age,
        snapshot,
        from,
        resets: !same_epoch || gap,
    };
    if scenario.keeps(Rule::ApplyBeforeRenew) {
        raise_slots(scenario, state, at);
    } else {
        renew(scenario, state, at);
    }
    if scenario.whole_applies {
        finish(scenario, state, at);
    }
}

/// Applies the second half: head and lease, in the right order.
pub(crate) fn finish(scenario: &Scenario, state: &mut State, at: usize) {
    if scenario.keeps(Rule::ApplyBeforeRenew) {
        renew(scenario, state, at);
    } else {
        raise_slots(scenario, state, at);
    }
    state.servers[at].poll = Poll::Idle;
}

fn raise_slots(scenario: &Scenario, state: &mut State, at: usize) {
    let Poll::Applying {
        snapshot, from, resets, ..
    } = state.servers[at].poll
    else {
        return;
    };
    let streams_here = state.sdk.stream == Some(at);
    if resets {
        let head = Revision {
            epoch: snapshot.epoch,
            number: state.database.head(snapshot.changes),
        };
        let memory = &mut state.servers[at].memory;
        memory.slot = if scenario.keeps(Rule::ResetRaisesSlots) {
            head
        } else {
            Revision {
                epoch: head.epoch,
                ..memory.slot
            }
        };
        if !scenario.keeps(Rule::SlotOnHit) {
            memory.entry = None;
        }
        if streams_here {
            state.sdk.cut();
        }
        return;
    }

    let rows = missed_rows(state, snapshot.changes, from, snapshot.purged);
    let complete = scenario.keeps(Rule::ApplyEveryRow);
    for &change in rows.iter().take(if complete { rows.len() } else { 1 }) {
        let thing = scenario.changes[change].thing;
        let server = &mut state.servers[at];
        if thing == Thing::Token {
            server.memory.raise(state.database.numbers[change]);
            if !scenario.keeps(Rule::SlotOnHit) {
                server.memory.entry = None;
            }
        }
        if !streams_here {
            continue;
        }
        if scenario.is_caller(thing) {
            if scenario.keeps(Rule::CutCallerBeforeRenew) {
                state.sdk.cut()
            } else {
                server.delayed.cut = true
            }
        } else if scenario.keeps(Rule::PongAfterInvalidations) {
            state
                .sdk
                .push(scenario.broken, invalidation(scenario, &state.database.numbers, change));
        } else {
            server.delayed.invalidations.insert(change);
        }
    }
}

fn renew(scenario: &Scenario, state: &mut State, at: usize) {
    let number = match state.servers[at].poll {
        Poll::Applying { snapshot, .. } => state.database.head(snapshot.changes),
        _ => return,
    };
    let server = &mut state.servers[at];
    if let Poll::Applying { age, snapshot, .. } = server.poll {
        let longest = snapshot.grant + scenario.drift;
        server.head = Revision {
            epoch: snapshot.epoch,
            number,
        };
        server.lease.extend(if scenario.keeps(Rule::LeaseFromPollStart) {
            age.rest_of(longest)
        } else {
            longest
        });
    }
}

/// Returns the changes above `from` whose feed rows exist, in the order of their revisions.
pub(crate) fn missed_rows(state: &State, changes: Changes, from: u8, purged: u8) -> Vec<usize> {
    let numbers = &state.database.numbers;
    let mut rows: Vec<usize> = changes
        .iter()
        .filter(|&change| numbers[change] > from.max(purged))
        .collect();
    rows.sort_by_key(|&change| numbers[change]);
    rows
}

pub(crate) fn invalidation(scenario: &Scenario, numbers: &[u8], change: usize) -> Message {
    Message::Invalidate {
        thing: scenario.changes[change].thing,
        number: numbers[change],
    }
}

pub(crate) fn forward_delayed(state: &mut State, at: usize, scenario: &Scenario) {
    let delayed = std::mem::take(&mut state.servers[at].delayed.invalidations);
    if state.sdk.stream == Some(at) {
        for change in missed_rows(state, delayed, 0, 0) {
            state
                .sdk
                .push(scenario.broken, invalidation(scenario, &state.database.numbers, change));
        }
    }
}

pub(crate) fn cut_delayed(state: &mut State, at: usize) {
    state.servers[at].delayed.cut = false;
    if state.sdk.stream == Some(at) {
        state.sdk.cut();
    }
}
