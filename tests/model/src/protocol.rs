//! The state of all parts, and the steps that the checker may take.

use stateright::{Model, Property};

use crate::client::{self, Client};
use crate::database::{self, Database};
use crate::lease_change::{self, LEASE_CHANGES, Progress};
use crate::memory::{Revision, Thing};
use crate::rule::Rule;
use crate::scenario::Scenario;
use crate::sdk::Sdk;
use crate::server::{self, SERVERS, Server};
use crate::writer::{self, CHANGES, Change, Step};
use crate::{property, watch};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) database: Database,
    pub(crate) changes: [Change; CHANGES],
    /// An answer has said that the token is dead.
    pub(crate) token_dead: bool,
    /// An answer has said that the SDK's key is revoked.
    pub(crate) caller_dead: bool,
    /// The lowest revision that an answer to a change of the token named.
    pub(crate) named: Option<Revision>,
    pub(crate) servers: [Server; SERVERS],
    pub(crate) sdk: Sdk,
    pub(crate) client: Client,
    pub(crate) lease_changes: [Progress; LEASE_CHANGES],
    /// The number of server restarts that are left.
    pub(crate) crashes: u8,
    /// The number of stream starts that are left.
    pub(crate) connects: u8,
    pub(crate) violation: Option<Violation>,
}

/// The component that allowed, although the Verify started after an answer that said "dead".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Violation {
    ServerMemory,
    Database,
    SdkCache,
    PlainClient,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Tick,
    Database(database::Action),
    Writer(usize, writer::Action),
    LeaseChange(usize, lease_change::Action),
    Server(usize, server::Action),
    Watch(watch::Action),
    Client(client::Action),
}

impl State {
    fn new(scenario: &Scenario) -> Self {
        Self {
            database: Database::new(scenario),
            changes: Default::default(),
            token_dead: false,
            caller_dead: false,
            named: None,
            servers: Default::default(),
            sdk: Sdk::default(),
            client: Client::default(),
            lease_changes: Default::default(),
            crashes: scenario.crashes,
            connects: scenario.sdk.map_or(0, |sdk| sdk.connects),
            violation: None,
        }
    }

    /// Records what a sent answer guarantees.
    pub(crate) fn promise(&mut self, scenario: &Scenario, number: usize) {
        let planned = scenario.changes[number];
        let change = &self.changes[number];
        if change.step != Step::Returned {
            return;
        }
        match planned.thing {
            Thing::Token => {
                self.token_dead |= !planned.no_wait;
                if scenario.min_revision {
                    self.named = Some(self.named.map_or(change.answers, |named| named.min(change.answers)));
                }
            }
            Thing::Other => self.caller_dead |= !planned.no_wait && scenario.is_caller(Thing::Other),
        }
    }

    fn tick(&mut self, scenario: &Scenario) {
        let longest = scenario.longest_lease();
        self.changes.iter_mut().for_each(|change| change.tick(scenario));
        self.lease_changes.iter_mut().for_each(Progress::tick);
        self.servers.iter_mut().for_each(|server| server.tick(longest));
        self.sdk.tick(longest);
        self.client.tick(longest);
    }

    /// Makes states equal if their difference no longer has an effect.
    fn forget(&mut self, scenario: &Scenario) {
        for server in &mut self.servers {
            server.forget(scenario, &self.database.numbers);
        }
        // A stream to a server that lags behind begins with a lower slot.
        let slot_only_rises = scenario.servers == 1 || self.connects == 0;
        self.sdk.forget(scenario.broken, self.connects, slot_only_rises);
        let interchangeable = scenario.servers == SERVERS && scenario.sdk.is_none() && !scenario.plain_client;
        if interchangeable {
            self.servers.sort_unstable();
        }
    }
}

impl Model for Scenario {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self)]
    }

    fn actions(&self, state: &State, all: &mut Vec<Action>) {
        if state.violation.is_some() {
            return;
        }
        all.push(Action::Tick);
        extend(all, Action::Database, |some| database::actions(self, state, some));
        for number in 0..self.changes.len() {
            extend(
                all,
                |action| Action::Writer(number, action),
                |some| writer::actions(self, state, number, some),
            );
        }
        for number in 0..self.lease_changes.len() {
            extend(
                all,
                |action| Action::LeaseChange(number, action),
                |some| lease_change::actions(state, number, some),
            );
        }
        for at in 0..self.servers {
            extend(
                all,
                |action| Action::Server(at, action),
                |some| server::actions(self, state, at, some),
            );
        }
        if let Some(bounds) = self.sdk {
            extend(all, Action::Watch, |some| watch::actions(self, bounds, state, some));
        }
        if self.plain_client {
            extend(all, Action::Client, |some| client::actions(self, state, some));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = *last;
        match action {
            Action::Tick => next.tick(self),
            Action::Database(action) => database::act(self, &mut next, action),
            Action::Writer(number, action) => writer::act(self, &mut next, number, action),
            Action::LeaseChange(number, action) => lease_change::act(self, &mut next, number, action),
            Action::Server(at, action) => server::act(self, &mut next, at, action),
            Action::Watch(action) => watch::act(self, &mut next, action),
            Action::Client(action) => client::act(self, &mut next, action),
        }
        next.forget(self);
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        property::of(self)
    }
}

/// Collects one part's actions, wrapped.
fn extend<A>(all: &mut Vec<Action>, wrap: impl Fn(A) -> Action, collect: impl FnOnce(&mut Vec<A>)) {
    let mut some = Vec::new();
    collect(&mut some);
    all.extend(some.into_iter().map(wrap));
}

impl Scenario {
    pub(crate) fn keeps(&self, rule: Rule) -> bool {
        self.broken.keeps(rule)
    }
}
