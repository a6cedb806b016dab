//! The memory of a server or an SDK for the token.
//!
//! One slot and one entry are enough. Slots are independent of each other: the change of something else matters only
//! because it takes a revision and a place in queues. Two things whose hashes share a slot invalidate each other, which
//! only causes misses.

use crate::rule::{Broken, Rule};

/// The things that a change may revoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Thing {
    /// The token that is verified. It also stands for its workspace and organization.
    Token,
    /// Another token; or, in some scenarios, the key with which the SDK calls.
    Other,
}

/// A point in the feed. Numbers of different epochs can't be compared. Epochs begin with 1: the default precedes all
/// revisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Revision {
    pub(crate) epoch: u8,
    pub(crate) number: u8,
}

/// The token's slot, and its entry: the revision of a snapshot in which the token was alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Memory {
    pub(crate) slot: Revision,
    pub(crate) entry: Option<Revision>,
}

impl Memory {
    /// Returns whether a look-up hits, and so allows. `compares` is the rule by which the slot is compared.
    pub(crate) fn hits(&self, broken: Broken, compares: Rule) -> bool {
        self.entry.is_some_and(|entry| {
            (!broken.keeps(compares) || entry.number >= self.slot.number)
                && (!broken.keeps(Rule::EpochOnHit) || entry.epoch == self.slot.epoch)
        })
    }

    pub(crate) fn raise(&mut self, number: u8) {
        self.slot.number = self.slot.number.max(number);
    }

    /// Stores an answer. A late one never replaces a newer one of its epoch.
    pub(crate) fn store(&mut self, new: Revision) {
        let outdated = self
            .entry
            .is_some_and(|old| old.epoch == new.epoch && old.number > new.number);
        if !outdated {
            self.entry = Some(new);
        }
    }

    pub(crate) fn is_below_slot(&self, entry: Revision) -> bool {
        entry.epoch == self.slot.epoch && entry.number < self.slot.number
    }

    /// Drops an entry that can never be hit again while the slot only rises, so that fewer states differ.
    pub(crate) fn drop_outdated(&mut self) {
        if self.entry.is_some_and(|entry| self.is_below_slot(entry)) {
            self.entry = None;
        }
    }
}
