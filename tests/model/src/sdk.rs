//! An SDK's side of Watch: its stream, lease and cache.

use crate::memory::{Memory, Revision, Thing};
use crate::rule::{Broken, Rule};
use crate::scenario::Scenario;
use crate::time::{Age, Left};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Sdk {
    /// The server to which the stream goes.
    pub(crate) stream: Option<usize>,
    pub(crate) lease: Left,
    /// The number up to which all invalidations of the stream's epoch are applied: from there a stream is resumed.
    pub(crate) seen: u8,
    pub(crate) memory: Memory,
    /// Pings without a received pong, oldest first. A second one only without `PongNamesPing`.
    pub(crate) pings: [Option<Age>; 2],
    /// The messages under way to the SDK. They may still arrive after the stream is cut.
    pub(crate) queue: [Option<Message>; 2],
    pub(crate) answer: Answer,
    /// A Verify that started after the answer of a change is past the lease and before the look-up.
    pub(crate) verifies: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Message {
    Invalidate { thing: Thing, number: u8 },
    Pong { lease: u8, head: u8 },
}

/// The answer to a Verify that the SDK's cache missed. Denials are not cached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    #[default]
    None,
    HeadRead {
        server: usize,
        head: Revision,
    },
    /// The look-up hit and the head is not read yet. Only without `HeadBeforeLookUp`.
    Hit {
        server: usize,
    },
    UnderWay(Revision),
}

impl Sdk {
    pub(crate) fn tick(&mut self, longest: u8) {
        self.lease.tick();
        self.pings.iter_mut().flatten().for_each(|age| age.tick(longest));
    }

    /// Begins a stream with nothing under way. A fresh one, which resumes none, begins at the server's head.
    pub(crate) fn connect(&mut self, broken: Broken, server: usize, fresh: Option<Revision>) {
        self.stream = Some(server);
        self.pings = [None; 2];
        self.queue = [None; 2];
        if let Some(head) = fresh {
            self.seen = head.number;
            let number = if broken.keeps(Rule::SdkRefusesBelowStreamStart) {
                head.number
            } else {
                0
            };
            self.memory.slot = Revision { number, ..head };
            if broken.keeps(Rule::FreshStreamEndsLease) {
                self.lease = Left(0);
            }
            // The Verify continues in the former stream's memory, which no longer changes.
            if broken.keeps(Rule::VerifyKeepsToOneStream) {
                self.verifies = false;
            }
        }
    }

    pub(crate) fn cut(&mut self) {
        self.stream = None;
    }

    /// The server restarts: its streams end, and its open calls stay unanswered.
    pub(crate) fn lose_server(&mut self, at: usize) {
        if self.stream == Some(at) {
            self.cut();
        }
        if let Answer::HeadRead { server, .. } | Answer::Hit { server } = self.answer
            && server == at
        {
            self.answer = Answer::None;
        }
    }

    pub(crate) fn has_pong(&self) -> bool {
        self.queue
            .iter()
            .any(|message| matches!(message, Some(Message::Pong { .. })))
    }

    pub(crate) fn push(&mut self, broken: Broken, message: Message) {
        match self.queue.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(message),
            None if broken.keeps(Rule::SlowStreamIsCut) => self.cut(),
            None => {}
        }
    }

    pub(crate) fn receive(&mut self, broken: Broken) {
        let [first, second] = self.queue;
        self.queue = [second, None];
        match first {
            Some(Message::Invalidate { thing, number }) => {
                self.seen = self.seen.max(number);
                if thing == Thing::Token {
                    self.memory.raise(number);
                    if !broken.keeps(Rule::SdkRefusesBelowSlot) {
                        self.memory.entry = None;
                    }
                }
            }
            Some(Message::Pong { lease, head }) => {
                let [named, latest] = self.pings;
                let ping = if broken.keeps(Rule::PongNamesPing) {
                    named
                } else {
                    latest.or(named)
                };
                let from_send = ping.map_or(lease, |age| age.rest_of(lease));
                self.lease.extend(if broken.keeps(Rule::SdkLeaseFromSend) {
                    from_send
                } else {
                    lease
                });
                self.pings = [latest, None];
                self.seen = self.seen.max(head);
            }
            None => {}
        }
    }

    pub(crate) fn store_answer(&mut self) {
        if let Answer::UnderWay(revision) = self.answer {
            self.memory.store(revision);
            self.answer = Answer::None;
        }
    }

    pub(crate) fn hits(&self, broken: Broken) -> bool {
        self.memory.hits(broken, Rule::SdkRefusesBelowSlot)
    }

    pub(crate) fn trusts_lease(&self, broken: Broken) -> bool {
        self.lease.runs() || !broken.keeps(Rule::SdkChecksLease)
    }

    /// Drops state that no longer has an effect, so that fewer states differ.
    pub(crate) fn forget(&mut self, broken: Broken, connects: u8, slot_only_rises: bool) {
        if self.stream.is_none() && !self.has_pong() {
            self.pings = [None; 2];
        }
        if broken.keeps(Rule::PongNamesPing) && broken.keeps(Rule::SdkLeaseFromSend) {
            self.count_from_now();
        }
        let compares = [
            Rule::EpochOnHit,
            Rule::SdkRefusesBelowSlot,
            Rule::SdkRefusesBelowStreamStart,
        ];
        if slot_only_rises && compares.into_iter().all(|rule| broken.keeps(rule)) {
            self.memory.drop_outdated();
            if let Answer::UnderWay(revision) = self.answer
                && self.memory.is_below_slot(revision)
            {
                self.answer = Answer::None;
            }
        }
        if connects == 0 {
            self.seen = 0;
        }
        if !self.may_trust(connects) && broken.keeps(Rule::SdkChecksLease) && !self.verifies {
            *self = Self::default();
        }
    }

    /// Returns whether the SDK has a lease or may get one.
    pub(crate) fn may_trust(&self, connects: u8) -> bool {
        connects > 0 || self.stream.is_some() || self.lease.runs() || self.has_pong()
    }

    /// Of a pong under way only the difference between its lease and its ping's age matters.
    fn count_from_now(&mut self) {
        for message in self.queue.iter_mut().flatten() {
            if let (Message::Pong { lease, .. }, Some(age)) = (message, &mut self.pings[0]) {
                *lease = age.rest_of(*lease);
                *age = Age(0);
            }
        }
    }
}

/// The bounds of a scenario's SDK.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SdkBounds {
    /// How often a stream may begin.
    pub(crate) connects: u8,
    /// `Thing::Other` is the key with which the SDK calls.
    pub(crate) other_is_caller: bool,
    /// Servers answer the SDK from memory, too, not only from the database.
    pub(crate) asks_memory: bool,
}

impl Scenario {
    /// Returns whether the thing is the key with which the SDK calls.
    pub(crate) fn is_caller(&self, thing: Thing) -> bool {
        thing == Thing::Other && self.sdk.is_some_and(|sdk| sdk.other_is_caller)
    }
}
