//! The embedded mode: one process on SQLite, which invalidates its memory itself. Only Watch leases need a wait.

mod call;

use stateright::{Model, Property};

use self::call::Call;
use crate::memory::{Memory, Revision};
use crate::property::PROMISE;
use crate::rule::{Broken, Rule};
use crate::sdk::{Answer, Message, Sdk};
use crate::time::{Age, Left};

/// The length of a Watch lease, the drift of clocks during one, and the wait's margin for it.
const GRANT: u8 = 1;
const DRIFT: u8 = 1;
const MARGIN: u8 = 1;

const EPOCH: u8 = 1;

/// A revocation, its repeat, one restart, errors of COMMIT, and an SDK on Watch.
#[derive(Clone, Debug)]
pub(crate) struct Embedded {
    pub(crate) broken: Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The number of the last commit, and that of the one that revoked the token.
    head: u8,
    death: Option<u8>,
    calls: [Call; 2],
    process: Process,
    sdk: Sdk,
    crashes: u8,
    dead: bool,
    violated: bool,
}

/// The state that a restart loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Process {
    /// The number up to which memory is invalidated.
    applied: u8,
    memory: Memory,
    fill: Option<Revision>,
    /// How long leases from before the restart may run.
    former_leases: Left,
    /// How long Watch leases may run, as recorded.
    leases: Left,
    /// A lease whose pong has left and which is not recorded yet. Only without `LeaseRecordedBeforePong`.
    unrecorded: Left,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Tick,
    Call(usize, call::Action),
    Restart,
    Fill,
    StoreFill,
    Verify,
    Connect,
    Cut,
    Ping,
    Pong,
    RecordLease,
    Receive,
    Ask,
    StoreAnswer,
    SdkVerify,
}

impl Process {
    fn start(head: u8) -> Self {
        let slot = Revision {
            epoch: EPOCH,
            number: head,
        };
        Self {
            applied: head,
            memory: Memory { slot, entry: None },
            fill: None,
            former_leases: Left(GRANT + MARGIN),
            leases: Left(0),
            unrecorded: Left(0),
        }
    }
}

impl State {
    fn new() -> Self {
        let process = Process::start(0);
        Self {
            head: 0,
            death: None,
            calls: Default::default(),
            process,
            sdk: Sdk::default(),
            crashes: 1,
            dead: false,
            violated: false,
        }
    }

    /// The newest snapshot in which the token is alive.
    fn last_alive(&self) -> Revision {
        Revision {
            epoch: EPOCH,
            number: self.death.map_or(self.head, |death| death - 1),
        }
    }

    fn tick(&mut self) {
        self.calls.iter_mut().for_each(Call::tick);
        let process = &mut self.process;
        [&mut process.former_leases, &mut process.leases, &mut process.unrecorded]
            .into_iter()
            .for_each(|left| left.tick());
        self.sdk.tick(GRANT + DRIFT);
    }
}

impl Embedded {
    fn keeps(&self, rule: Rule) -> bool {
        self.broken.keeps(rule)
    }

    fn hits(&self, state: &State) -> bool {
        state.process.memory.hits(self.broken, Rule::SlotOnHit)
    }
}

impl Model for Embedded {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.violated {
            return;
        }
        actions.push(Action::Tick);
        for number in 0..state.calls.len() {
            let mut some = Vec::new();
            call::actions(self, state, number, &mut some);
            actions.extend(some.into_iter().map(|action| Action::Call(number, action)));
        }
        if state.crashes > 0 {
            actions.push(Action::Restart);
        }
        actions.push(if state.process.fill.is_none() {
            Action::Fill
        } else {
            Action::StoreFill
        });
        let sdk = &state.sdk;
        if sdk.stream.is_none() {
            actions.push(Action::Connect);
        } else {
            actions.push(Action::Cut);
            if sdk.pings[0].is_none() {
                actions.push(Action::Ping);
            } else if !sdk.has_pong() && !state.process.unrecorded.runs() {
                actions.push(Action::Pong);
            }
        }
        if state.process.unrecorded.runs() {
            actions.push(Action::RecordLease);
        }
        if sdk.queue[0].is_some() {
            actions.push(Action::Receive);
        }
        actions.push(if sdk.answer == Answer::None {
            Action::Ask
        } else {
            Action::StoreAnswer
        });
        if state.dead {
            actions.extend([Action::Verify, Action::SdkVerify]);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = *last;
        let State {
            process,
            sdk,
            crashes,
            calls,
            ..
        } = &mut next;
        match action {
            Action::Tick => next.tick(),
            Action::Call(number, action) => call::act(self, &mut next, number, action),
            Action::Restart => {
                *crashes -= 1;
                *process = Process::start(last.head);
                sdk.lose_server(0);
                calls.iter_mut().for_each(Call::lose_process);
            }
            Action::Fill => process.fill = Some(last.last_alive()),
            Action::StoreFill => {
                if let Some(entry) = process.fill.take()
                    && (self.keeps(Rule::SlotOnHit) || !process.memory.is_below_slot(entry))
                {
                    process.memory.store(entry);
                }
            }
            // Memory, or the database, allows.
            Action::Verify => next.violated = self.hits(last) || last.death.is_none(),
            Action::Connect => sdk.connect(
                self.broken,
                0,
                Some(Revision {
                    epoch: EPOCH,
                    number: process.applied,
                }),
            ),
            Action::Cut => sdk.cut(),
            Action::Ping => sdk.pings[0] = Some(Age(0)),
            Action::Pong => {
                // The server records the end of the longest lease that this pong can begin.
                if self.keeps(Rule::LeaseRecordedBeforePong) {
                    process.leases.extend(GRANT + MARGIN);
                } else {
                    process.unrecorded = Left(GRANT + MARGIN);
                }
                sdk.push(
                    self.broken,
                    Message::Pong {
                        lease: GRANT + DRIFT,
                        head: process.applied,
                    },
                );
            }
            Action::RecordLease => {
                process.leases.extend(process.unrecorded.0);
                process.unrecorded = Left(0);
            }
            Action::Receive => sdk.receive(self.broken),
            Action::Ask => {
                let applied = Revision {
                    epoch: EPOCH,
                    number: process.applied,
                };
                if self.hits(last) {
                    sdk.answer = Answer::UnderWay(applied);
                } else if last.death.is_none() {
                    sdk.answer = Answer::UnderWay(last.last_alive());
                }
            }
            Action::StoreAnswer => sdk.store_answer(),
            Action::SdkVerify => next.violated = sdk.lease.runs() && sdk.hits(self.broken),
        }
        if self.keeps(Rule::SlotOnHit) {
            next.process.memory.drop_outdated();
            next.process.fill = next
                .process
                .fill
                .filter(|&entry| !next.process.memory.is_below_slot(entry));
        }
        next.sdk.seen = 0;
        // A COMMIT that failed may have raised the slot above the number at which the next stream begins.
        next.sdk.forget(self.broken, 1, false);
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(PROMISE, |_, state: &State| !state.violated),
            Property::sometimes("a change is answered while an SDK has a lease", |_, state: &State| {
                state.dead && state.sdk.lease.runs()
            }),
            Property::sometimes(
                "the process allows from stale memory before the answer",
                |model: &Embedded, state: &State| state.death.is_some() && !state.dead && model.hits(state),
            ),
            Property::sometimes(
                "an SDK allows from its stale cache before the answer",
                |model: &Embedded, state: &State| {
                    state.death.is_some() && state.sdk.lease.runs() && state.sdk.hits(model.broken)
                },
            ),
            Property::sometimes("a change is answered without a wait", |_, state: &State| {
                let leases = state.process.leases.max(state.process.former_leases);
                state.dead && !leases.runs()
            }),
        ]
    }
}
