//! A server: its polls, its lease, its memory and the fills of its memory.

use crate::apply;
use crate::database::Snapshot;
use crate::memory::{Memory, Revision};
use crate::protocol::State;
use crate::rule::Rule;
use crate::scenario::Scenario;
use crate::time::{Age, Left};
use crate::verify::{self, Verify};

/// The maximum number of servers in a scenario.
pub(crate) const SERVERS: usize = 2;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Server {
    pub(crate) lease: Left,
    /// The revision up to which every feed row is applied.
    pub(crate) head: Revision,
    pub(crate) memory: Memory,
    pub(crate) poll: Poll,
    /// The answer of an abandoned poll. Only without `OnePoll`.
    pub(crate) late_poll: Poll,
    pub(crate) fill: Fill,
    pub(crate) verify: Verify,
    /// The steps on streams that an apply has yet to take. Only without `PongAfterInvalidations` and
    /// `CutCallerBeforeRenew`.
    pub(crate) delayed: apply::Delayed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Poll {
    #[default]
    Idle,
    Started(Age),
    Answered(Age, Snapshot),
    /// The first half of the apply is done. `from` and `resets` are the values that it found.
    Applying {
        age: Age,
        snapshot: Snapshot,
        from: u8,
        resets: bool,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Fill {
    #[default]
    Idle,
    /// Only without `FillInOneSnapshot`.
    HasRow(Revision),
    HasRevision(Revision),
    /// Only without `SlotOnHit`.
    Compared(Revision),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    StartPoll,
    /// The poll's statement takes its snapshot, `stale` if it may lack commits from before the poll started.
    AnswerPoll {
        stale: bool,
    },
    LosePoll,
    GiveUpPoll,
    TakeLatePoll,
    /// The first half of an apply, or all of it in scenarios that keep applies whole.
    Apply,
    FinishApply,
    DelayedInvalidations,
    DelayedCut,
    Fill,
    ReadRevision,
    CompareFill,
    StoreFill,
    Verify(verify::Action),
    Restart,
}

impl Server {
    pub(crate) fn is_applying(&self) -> bool {
        matches!(self.poll, Poll::Applying { .. })
    }

    pub(crate) fn hits(&self, scenario: &Scenario) -> bool {
        self.memory.hits(scenario.broken, Rule::SlotOnHit)
    }

    /// Statements under way end with the connection.
    pub(crate) fn lose_connection(&mut self) {
        if matches!(self.poll, Poll::Started(_)) {
            self.poll = Poll::Idle;
        }
        if matches!(self.fill, Fill::HasRow(..)) {
            self.fill = Fill::Idle;
        }
    }

    pub(crate) fn tick(&mut self, longest: u8) {
        self.lease.tick();
        for poll in [&mut self.poll, &mut self.late_poll] {
            match poll {
                Poll::Idle => {}
                Poll::Started(age) | Poll::Answered(age, _) | Poll::Applying { age, .. } => age.tick(longest),
            }
        }
    }

    /// Drops state that no longer has an effect, so that fewer states differ.
    pub(crate) fn forget(&mut self, scenario: &Scenario, numbers: &[u8]) {
        if scenario.keeps(Rule::SlotOnHit) && scenario.keeps(Rule::EpochOnHit) {
            self.memory.drop_outdated();
            if let Fill::HasRevision(entry) = self.fill
                && self.memory.is_below_slot(entry)
            {
                self.fill = Fill::Idle;
            }
        }
        if let Poll::Answered(age, snapshot) = self.poll
            && age.rest_of(scenario.longest_lease()) == 0
            && scenario.keeps(Rule::LeaseFromPollStart)
            && snapshot.epoch == self.head.epoch
            && snapshot
                .changes
                .iter()
                .all(|change| numbers[change] <= self.head.number)
        {
            self.poll = Poll::Idle;
        }
    }
}

pub(crate) fn actions(scenario: &Scenario, state: &State, at: usize, actions: &mut Vec<Action>) {
    let server = &state.servers[at];
    match server.poll {
        Poll::Idle => actions.push(Action::StartPoll),
        Poll::Started(_) => {
            actions.extend([Action::AnswerPoll { stale: false }, Action::LosePoll]);
            let deposed_answers = state.database.deposed.is_some() && !scenario.keeps(Rule::DeposedPrimaryIsFenced);
            if deposed_answers || !scenario.keeps(Rule::PollReadsPrimary) {
                actions.push(Action::AnswerPoll { stale: true });
            }
        }
        Poll::Answered(..) => actions.extend([Action::Apply, Action::LosePoll]),
        Poll::Applying { .. } => actions.push(Action::FinishApply),
    }
    if !scenario.keeps(Rule::OnePoll) {
        match (server.poll, server.late_poll) {
            (Poll::Answered(..), Poll::Idle) => actions.push(Action::GiveUpPoll),
            (Poll::Idle, Poll::Answered(..)) => actions.push(Action::TakeLatePoll),
            _ => {}
        }
    }
    if !server.delayed.invalidations.is_empty() {
        actions.push(Action::DelayedInvalidations);
    }
    if server.delayed.cut {
        actions.push(Action::DelayedCut);
    }
    if state.crashes > 0 {
        actions.push(Action::Restart);
    }
    if scenario.servers_verify {
        match server.fill {
            Fill::Idle => actions.push(Action::Fill),
            Fill::HasRow(..) => actions.push(Action::ReadRevision),
            Fill::HasRevision(..) if !scenario.keeps(Rule::SlotOnHit) => actions.push(Action::CompareFill),
            Fill::HasRevision(..) | Fill::Compared(..) => actions.push(Action::StoreFill),
        }
        actions.extend(verify::actions(scenario, state, server).into_iter().map(Action::Verify));
    }
}

pub(crate) fn act(scenario: &Scenario, state: &mut State, at: usize, action: Action) {
    let database = &state.database;
    let server = &mut state.servers[at];
    match action {
        Action::StartPoll => server.poll = Poll::Started(Age(0)),
        Action::AnswerPoll { stale } => {
            let snapshot = match database.deposed {
                Some(changes) if stale && !scenario.keeps(Rule::DeposedPrimaryIsFenced) => Snapshot {
                    epoch: 1,
                    changes,
                    ..database.now(scenario)
                },
                _ if stale => database.earlier(scenario),
                _ => database.now(scenario),
            };
            if let Poll::Started(age) = server.poll {
                server.poll = Poll::Answered(age, snapshot);
            }
        }
        Action::LosePoll => server.poll = Poll::Idle,
        Action::GiveUpPoll => server.late_poll = std::mem::take(&mut server.poll),
        Action::TakeLatePoll => server.poll = std::mem::take(&mut server.late_poll),
        Action::Apply => apply::start(scenario, state, at),
        Action::FinishApply => apply::finish(scenario, state, at),
        Action::DelayedInvalidations => apply::forward_delayed(state, at, scenario),
        Action::DelayedCut => apply::cut_delayed(state, at),

        Action::Fill => {
            if let Some(entry) = database.last_alive(scenario) {
                let one_snapshot = scenario.keeps(Rule::FillInOneSnapshot);
                server.fill = if one_snapshot {
                    Fill::HasRevision(entry)
                } else {
                    Fill::HasRow(entry)
                };
            }
        }
        Action::ReadRevision => {
            if let Fill::HasRow(entry) = server.fill {
                let number = database.head(database.committed);
                server.fill = Fill::HasRevision(Revision { number, ..entry });
            }
        }
        Action::CompareFill => {
            if let Fill::HasRevision(entry) = server.fill {
                let slot = server.memory.slot;
                let current = entry.epoch == slot.epoch && entry.number >= slot.number;
                server.fill = if current { Fill::Compared(entry) } else { Fill::Idle };
            }
        }
        Action::StoreFill => {
            if let Fill::HasRevision(entry) | Fill::Compared(entry) = server.fill {
                server.memory.store(entry);
                server.fill = Fill::Idle;
            }
        }
        Action::Verify(action) => verify::act(scenario, state, at, action),
        Action::Restart => {
            *server = Server::default();
            state.crashes -= 1;
            state.sdk.lose_server(at);
            state.client.lose_server(at);
        }
    }
}
