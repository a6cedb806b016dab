//! The guarantee, and the situations that a run must have seen. If memory is never trusted, the guarantee holds, but
//! this proves nothing.

use stateright::Property;

use crate::client::Client;
use crate::lease_change::Planned;
use crate::memory::Thing;
use crate::protocol::State;
use crate::scenario::{Disaster, Scenario};

/// The guarantee, as the checker's property.
pub(crate) const PROMISE: &str = "a Verify that starts after the answer never allows";

pub(crate) fn of(scenario: &Scenario) -> Vec<Property<Scenario>> {
    let mut properties = vec![Property::always(PROMISE, |_, state: &State| state.violation.is_none())];
    let waits = scenario.changes.iter().any(|planned| !planned.no_wait);
    if waits {
        properties.push(Property::sometimes(
            "an answer says that something is dead",
            |_, state: &State| state.token_dead || state.caller_dead,
        ));
    }
    if waits && scenario.servers_verify {
        properties.push(Property::sometimes(
            "a server allows from stale memory before the answer",
            |scenario: &Scenario, state: &State| stale_server(scenario, state) && !state.token_dead,
        ));
        properties.push(Property::sometimes(
            "a server trusts its memory after the answer",
            |_, state: &State| state.token_dead && state.servers.iter().any(|server| server.lease.runs()),
        ));
    }
    if scenario.min_revision {
        properties.push(Property::sometimes(
            "only min_revision keeps stale memory from allowing",
            |scenario: &Scenario, state: &State| stale_server(scenario, state) && state.named.is_some(),
        ));
    }
    if scenario.sdk.is_some() {
        properties.push(Property::sometimes(
            "an SDK allows from its stale cache before the answer",
            |scenario: &Scenario, state: &State| {
                let trusts = state.sdk.lease.runs() && state.sdk.hits(scenario.broken);
                let dead = |thing| state.database.is_dead(scenario, state.database.committed, thing);
                trusts && (dead(Thing::Token) || scenario.is_caller(Thing::Other) && dead(Thing::Other))
            },
        ));
    }
    if scenario.plain_client {
        properties.push(Property::sometimes(
            "a client keeps a stale answer before the change's",
            |scenario: &Scenario, state: &State| {
                let keeps = matches!(state.client, Client::Caches(_));
                keeps && state.database.is_dead(scenario, state.database.committed, Thing::Token)
            },
        ));
    }
    if scenario.disaster.is_some() {
        properties.push(Property::sometimes(
            "a server trusts its memory in the new epoch",
            |_, state: &State| {
                state.database.deposed.is_some()
                    && state
                        .servers
                        .iter()
                        .any(|server| server.lease.runs() && server.head.epoch == 2)
            },
        ));
    }
    if scenario.disaster == Some(Disaster::Promotion) {
        properties.push(Property::sometimes("a promotion loses a commit", |_, state: &State| {
            state
                .database
                .deposed
                .is_some_and(|before| before != state.database.committed && !before.is_empty())
        }));
    }
    if scenario.purges {
        properties.push(Property::sometimes(
            "a server that polled before is behind the purged rows",
            |_, state: &State| {
                state
                    .servers
                    .iter()
                    .any(|server| server.head.epoch == 1 && server.head.number < state.database.purged)
            },
        ));
    }
    if scenario
        .lease_changes
        .iter()
        .any(|planned| matches!(planned, Planned::Lower(_)))
    {
        properties.push(Property::sometimes(
            "a lease runs longer than the present grant",
            |scenario: &Scenario, state: &State| {
                state
                    .servers
                    .iter()
                    .any(|server| server.lease.0 > state.database.terms.grant + scenario.drift)
            },
        ));
    }
    if !scenario.lease_changes.is_empty() {
        properties.push(Property::sometimes(
            "the wait is changed",
            |scenario: &Scenario, state: &State| state.database.terms.wait != scenario.wait,
        ));
    }
    properties
}

fn stale_server(scenario: &Scenario, state: &State) -> bool {
    let dead = state.database.is_dead(scenario, state.database.committed, Thing::Token);
    dead && state
        .servers
        .iter()
        .any(|server| server.lease.runs() && server.hits(scenario))
}
