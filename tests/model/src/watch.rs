//! Watch: streams between the SDK and a server, and the answers that the SDK caches.

use crate::apply::{invalidation, missed_rows};
use crate::memory::{Revision, Thing};
use crate::protocol::{State, Violation};
use crate::rule::Rule;
use crate::scenario::Scenario;
use crate::sdk::{Answer, Message, SdkBounds};
use crate::server::Server;
use crate::time::Age;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Connect {
        server: usize,
    },
    Resume {
        server: usize,
    },
    Cut,
    Ping,
    Pong,
    Receive,
    /// A server looks into its memory for the SDK.
    AskServer {
        server: usize,
    },
    FinishLookUp,
    /// A server reads the database for the SDK.
    AskDatabase,
    StoreAnswer,
    LoseAnswer,
    CheckLease,
    LookUp,
}

pub(crate) fn actions(scenario: &Scenario, bounds: SdkBounds, state: &State, actions: &mut Vec<Action>) {
    let sdk = &state.sdk;
    for (at, server) in state.servers.iter().enumerate().take(scenario.servers) {
        let between_applies = !server.is_applying() || !scenario.keeps(Rule::StreamBetweenApplies);
        let polled = server.head != Revision::default();
        if state.connects > 0 && polled && between_applies && !knows_caller_dead(scenario, state, server) {
            actions.push(Action::Connect { server: at });
            if server.head.epoch == sdk.memory.slot.epoch && may_resume(scenario, state, server) {
                actions.push(Action::Resume { server: at });
            }
        }
    }
    if let Some(at) = sdk.stream {
        actions.push(Action::Cut);
        if sdk.pings[0].is_none() || sdk.pings[1].is_none() && !scenario.keeps(Rule::PongNamesPing) {
            actions.push(Action::Ping);
        }
        if sdk.pings[0].is_some() && !sdk.has_pong() && state.servers[at].lease.runs() {
            actions.push(Action::Pong);
        }
    }
    if sdk.queue[0].is_some() {
        actions.push(Action::Receive);
    }
    match sdk.answer {
        Answer::None if !sdk.may_trust(state.connects) => {}
        Answer::None => {
            if !is_dead(scenario, state) {
                actions.push(Action::AskDatabase);
            }
            if bounds.asks_memory {
                let asked = state.servers.iter().enumerate().take(scenario.servers);
                let answering =
                    asked.filter(|(_, server)| server.lease.runs() && !knows_caller_dead(scenario, state, server));
                actions.extend(answering.map(|(server, _)| Action::AskServer { server }));
            }
        }
        Answer::HeadRead { .. } | Answer::Hit { .. } => actions.push(Action::FinishLookUp),
        Answer::UnderWay(_) => actions.extend([Action::StoreAnswer, Action::LoseAnswer]),
    }
    if sdk.verifies {
        actions.push(Action::LookUp);
    } else if (state.token_dead || state.caller_dead) && sdk.trusts_lease(scenario.broken) {
        actions.push(Action::CheckLease);
    }
}

pub(crate) fn act(scenario: &Scenario, state: &mut State, action: Action) {
    let sdk = &mut state.sdk;
    let servers = &state.servers;
    match action {
        Action::Connect { server } => {
            state.connects -= 1;
            sdk.connect(scenario.broken, server, Some(servers[server].head));
        }
        Action::Resume { server } => resume(scenario, state, server),
        Action::Cut => sdk.cut(),
        Action::Ping => {
            let place = usize::from(sdk.pings[0].is_some());
            sdk.pings[place] = Some(Age(0));
        }
        Action::Pong => {
            if let Some(at) = sdk.stream {
                let Server { lease, head, .. } = servers[at];
                sdk.push(
                    scenario.broken,
                    Message::Pong {
                        lease: lease.0,
                        head: head.number,
                    },
                );
            }
        }
        Action::Receive => sdk.receive(scenario.broken),
        Action::AskServer { server } if scenario.keeps(Rule::HeadBeforeLookUp) => {
            sdk.answer = Answer::HeadRead {
                server,
                head: servers[server].head,
            };
        }
        Action::AskServer { server } => {
            if servers[server].hits(scenario) {
                sdk.answer = Answer::Hit { server };
            }
        }
        Action::FinishLookUp => {
            sdk.answer = match sdk.answer {
                Answer::HeadRead { server, head } if servers[server].hits(scenario) => Answer::UnderWay(head),
                Answer::Hit { server } => Answer::UnderWay(servers[server].head),
                _ => Answer::None,
            };
        }
        Action::AskDatabase => {
            let now = state.database.now(scenario);
            sdk.answer = Answer::UnderWay(Revision {
                epoch: now.epoch,
                number: state.database.head(now.changes),
            });
        }
        Action::StoreAnswer => sdk.store_answer(),
        Action::LoseAnswer => sdk.answer = Answer::None,
        Action::CheckLease => sdk.verifies = true,
        Action::LookUp => {
            sdk.verifies = false;
            if sdk.hits(scenario.broken) {
                state.violation = Some(Violation::SdkCache);
            }
        }
    }
}

/// Returns whether the database would deny the SDK's Verify: by the token, or by the SDK's own key.
fn is_dead(scenario: &Scenario, state: &State) -> bool {
    let changes = state.database.committed;
    let dead = |thing| state.database.is_dead(scenario, changes, thing);
    dead(Thing::Token) || scenario.is_caller(Thing::Other) && dead(Thing::Other)
}

/// Returns whether the server has applied the revocation of the SDK's key, and so rejects its calls.
fn knows_caller_dead(scenario: &Scenario, state: &State, server: &Server) -> bool {
    let database = &state.database;
    let applied = database
        .committed
        .filter(|change| database.numbers[change] <= server.head.number);
    scenario.is_caller(Thing::Other) && database.is_dead(scenario, applied, Thing::Other)
}

fn may_resume(scenario: &Scenario, state: &State, server: &Server) -> bool {
    let purged = state.database.purged.min(server.head.number);
    purged <= state.sdk.seen || !scenario.keeps(Rule::OldResumeResyncs)
}

fn resume(scenario: &Scenario, state: &mut State, at: usize) {
    let Server { head, .. } = state.servers[at];
    let database = &state.database;
    state.connects -= 1;
    state.sdk.connect(scenario.broken, at, None);
    if scenario.keeps(Rule::ResumeReplays) {
        let of_epoch = match database.deposed {
            Some(changes) if head.epoch < database.epoch => changes,
            _ => database.committed,
        };
        let applied = of_epoch.filter(|change| database.numbers[change] <= head.number);
        for change in missed_rows(state, applied, state.sdk.seen, database.purged) {
            state
                .sdk
                .push(scenario.broken, invalidation(scenario, &state.database.numbers, change));
        }
    }
}
