use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::rule::{self, Rule};

/// The newest revision at which something changed, for everything at once, in bounded memory.
///
/// Subjects share slots by their hash. An entry that was read at a revision below that of its slot is outdated (V2).
/// Two subjects that share a slot cost each other a look-up, never a wrong answer. The revisions are of one epoch: for
/// another one there are other slots.
#[derive(Debug)]
pub struct Slots {
    revisions: Box<[AtomicU64]>,
}

/// Where a subject's slot is. Compute it once and keep it with the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotKey(u32);

impl SlotKey {
    pub(super) fn of(kind: u8, name: impl Hash) -> Self {
        // The default hasher is the same in every process. Someone who chooses names so that they collide only makes
        // entries outdated sooner.
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(kind);
        name.hash(&mut hasher);
        let [a, b, c, d, ..] = hasher.finish().to_be_bytes();
        Self(u32::from_be_bytes([a, b, c, d]))
    }
}

impl Slots {
    /// Creates slots, rounded up to a power of two, of 8 bytes each. What was read before `revision` is outdated.
    #[must_use]
    pub fn since(revision: u64, count: usize) -> Self {
        let count = count.clamp(1, 1 << 30).next_power_of_two();
        Self {
            revisions: (0..count).map(|_| AtomicU64::new(revision)).collect(),
        }
    }

    /// Makes everything in the slot outdated that was read before `revision`. A slot is never lowered.
    pub fn raise(&self, slot: SlotKey, revision: u64) {
        if let Some(newest) = self.slot(slot) {
            newest.fetch_max(revision, Ordering::Release);
        }
    }

    /// Makes everything outdated that was read before `revision`.
    pub fn raise_all(&self, revision: u64) {
        for newest in &self.revisions {
            newest.fetch_max(revision, Ordering::Release);
        }
    }

    /// Returns whether what was read at `revision` is up to date.
    #[must_use]
    pub fn admits(&self, slot: SlotKey, revision: u64) -> bool {
        self.slot(slot)
            .is_some_and(|newest| revision >= newest.load(Ordering::Acquire) || !rule::is_kept(Rule::SlotOnHit))
    }

    fn slot(&self, SlotKey(key): SlotKey) -> Option<&AtomicU64> {
        // The length is a power of two.
        self.revisions.get(key as usize & (self.revisions.len() - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raised_slot_makes_older_entries_outdated() {
        let slots = Slots::since(3, 1000);
        let slot = SlotKey::of(0, "acme");
        assert!(slots.admits(slot, 3) && !slots.admits(slot, 2));
        slots.raise(slot, 7);
        slots.raise(slot, 5);
        assert!(slots.admits(slot, 7) && !slots.admits(slot, 6));
        let other = (0..).map(|n| SlotKey::of(0, n)).find(|other| slots.admits(*other, 3));
        let other = other.expect("another slot was not raised");
        slots.raise_all(9);
        assert!(!slots.admits(other, 8) && slots.admits(other, 9));
    }
}
