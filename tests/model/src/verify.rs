//! Verify on a server, from memory or from the primary.

use crate::memory::{Revision, Thing};
use crate::protocol::{State, Violation};
use crate::rule::Rule;
use crate::scenario::Scenario;
use crate::server::Server;

/// A Verify of the token that started after the answer to its change, or that names the change's revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Verify {
    #[default]
    Idle,
    /// The lease ran, and the head was not before `min_revision`.
    Trusts,
    /// The look-up hit. Only without `LeaseBeforeLookUp`.
    Hit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    CheckLease,
    LookUp,
    /// The server has no lease and can't read the database.
    Outage,
    ReadThrough,
}

pub(crate) fn actions(scenario: &Scenario, state: &State, server: &Server) -> Vec<Action> {
    if !state.token_dead && state.named.is_none() {
        return Vec::new();
    }
    let mut actions = vec![Action::ReadThrough];
    match server.verify {
        Verify::Idle if !scenario.keeps(Rule::LeaseBeforeLookUp) => actions.push(Action::LookUp),
        Verify::Idle if trusts(scenario, state, server) => actions.push(Action::CheckLease),
        Verify::Idle => {}
        Verify::Trusts => actions.push(Action::LookUp),
        Verify::Hit => actions.push(Action::CheckLease),
    }
    if !scenario.keeps(Rule::OutageIsUnavailable) {
        actions.push(Action::Outage);
    }
    actions
}

pub(crate) fn act(scenario: &Scenario, state: &mut State, at: usize, action: Action) {
    let database = &state.database;
    let server = &mut state.servers[at];
    let hit = server.hits(scenario);
    let allowed_by = match (action, server.verify) {
        (Action::CheckLease, Verify::Hit) => {
            server.verify = Verify::Idle;
            server.lease.runs().then_some(Violation::ServerMemory)
        }
        (Action::CheckLease, _) => {
            server.verify = Verify::Trusts;
            None
        }
        (Action::LookUp, Verify::Trusts) => {
            server.verify = Verify::Idle;
            hit.then_some(Violation::ServerMemory)
        }
        (Action::LookUp, _) => {
            server.verify = if hit { Verify::Hit } else { Verify::Idle };
            None
        }
        (Action::Outage, _) => hit.then_some(Violation::ServerMemory),
        (Action::ReadThrough, _) => {
            let alive = if scenario.keeps(Rule::ReadThroughPrimary) {
                !database.is_dead(scenario, database.committed, Thing::Token)
            } else {
                database.last_alive(scenario).is_some()
            };
            alive.then_some(Violation::Database)
        }
    };
    state.violation = allowed_by;
}

/// Returns whether the server may trust its memory for a Verify that starts now.
fn trusts(scenario: &Scenario, state: &State, server: &Server) -> bool {
    let head = server.head;
    let covers = |named: Revision| named.epoch == head.epoch && named.number <= head.number;
    let covered = state
        .named
        .is_some_and(|named| covers(named) || !scenario.keeps(Rule::MinRevisionReadsThrough));
    server.lease.runs() && (state.token_dead || covered)
}
