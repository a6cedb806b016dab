//! A plain client, without Watch, that keeps an answer for as long as `cacheable_for` says.

use crate::memory::Thing;
use crate::protocol::{State, Violation};
use crate::rule::Rule;
use crate::scenario::Scenario;
use crate::time::{Age, Left};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    #[default]
    Idle,
    Sent(Age),
    /// The server has read its lease, the bound.
    Bounded {
        server: usize,
        sent: Age,
        bound: u8,
    },
    /// The look-up hit.
    Allowed {
        server: usize,
        sent: Age,
        bound: u8,
    },
    /// The client allows without asking a server.
    Caches(Left),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Send,
    ReadLease {
        server: usize,
    },
    LookUp,
    /// Only without `ReadThroughIsNotCached`.
    ReadThrough {
        server: usize,
    },
    Receive,
    Verify,
}

impl Client {
    pub(crate) fn tick(&mut self, longest: u8) {
        match self {
            Self::Idle => {}
            Self::Sent(age) | Self::Bounded { sent: age, .. } | Self::Allowed { sent: age, .. } => age.tick(longest),
            Self::Caches(left) => {
                left.tick();
                if !left.runs() {
                    *self = Self::Idle;
                }
            }
        }
    }

    pub(crate) fn lose_server(&mut self, at: usize) {
        if let Self::Bounded { server, .. } | Self::Allowed { server, .. } = *self
            && server == at
        {
            *self = Self::Idle;
        }
    }
}

pub(crate) fn actions(scenario: &Scenario, state: &State, actions: &mut Vec<Action>) {
    match state.client {
        Client::Idle => actions.push(Action::Send),
        Client::Sent(_) => {
            for (server, _) in state
                .servers
                .iter()
                .enumerate()
                .take(scenario.servers)
                .filter(|(_, server)| server.lease.runs())
            {
                actions.push(Action::ReadLease { server });
            }
            let alive = !state.database.is_dead(scenario, state.database.committed, Thing::Token);
            if alive && !scenario.keeps(Rule::ReadThroughIsNotCached) {
                actions.push(Action::ReadThrough { server: 0 });
            }
        }
        Client::Bounded { .. } => actions.push(Action::LookUp),
        Client::Allowed { .. } => actions.push(Action::Receive),
        Client::Caches(_) if state.token_dead => actions.push(Action::Verify),
        Client::Caches(_) => {}
    }
}

pub(crate) fn act(scenario: &Scenario, state: &mut State, action: Action) {
    let servers = &state.servers;
    let next = match (action, state.client) {
        (Action::Send, _) => Client::Sent(Age(0)),
        (Action::ReadLease { server }, Client::Sent(sent)) => Client::Bounded {
            server,
            sent,
            bound: servers[server].lease.0,
        },
        (Action::LookUp, Client::Bounded { server, sent, bound }) if servers[server].hits(scenario) => {
            Client::Allowed { server, sent, bound }
        }
        (Action::ReadThrough { server }, Client::Sent(sent)) => {
            // The last grant that the server polled, for any length of time.
            Client::Allowed {
                server,
                sent,
                bound: scenario.grant + scenario.drift,
            }
        }
        (Action::Receive, Client::Allowed { server, sent, bound }) => {
            let bound = if scenario.keeps(Rule::BoundBeforeLookUp) {
                bound
            } else {
                servers[server].lease.0
            };
            let left = if scenario.keeps(Rule::CacheableFromSend) {
                sent.rest_of(bound)
            } else {
                bound
            };
            if left > 0 {
                Client::Caches(Left(left))
            } else {
                Client::Idle
            }
        }
        (Action::Verify, _) => {
            state.violation = Some(Violation::PlainClient);
            return;
        }
        _ => Client::Idle,
    };
    state.client = next;
}
