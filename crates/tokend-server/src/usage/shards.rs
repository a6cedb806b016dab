use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;
use tokend_core::credential::CredentialId;

/// The number of shards: enough that serving threads seldom wait for each other. A power of two.
const SHARDS: usize = 16;

/// Entries by credential. Ids are random, so that nobody chooses which of them collide.
pub(super) type ByCredential<V> = HashMap<CredentialId, V, RandomState>;

/// A map by credential with a bounded size, in shards that each have a lock.
pub(super) struct Shards<V> {
    shards: [Mutex<ByCredential<V>>; SHARDS],
    /// The maximum number of entries in a shard.
    max: usize,
}

/// The room that is left for further entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// At least half of the shard is free.
    Plenty,
    /// More than half of the shard is taken: it should be flushed.
    Scarce,
    /// The shard is full, and this entry was dropped.
    None,
}

impl<V> Shards<V> {
    /// Creates a map with room for about `max` entries. Ids are random, so that the shards fill up evenly.
    pub(super) fn new(max: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            max: max.div_ceil(SHARDS),
        }
    }

    /// Changes the entry, or inserts `first`.
    pub(super) fn upsert(&self, id: CredentialId, first: impl FnOnce() -> V, change: impl FnOnce(&mut V)) -> Room {
        let mut shard = lock(&self.shards[usize::from(id.as_bytes()[0]) % SHARDS]);
        if let Some(value) = shard.get_mut(&id) {
            change(value);
            return Room::Plenty;
        }
        if shard.len() >= self.max {
            return Room::None;
        }
        shard.insert(id, first());
        if shard.len() > self.max / 2 {
            Room::Scarce
        } else {
            Room::Plenty
        }
    }

    /// Takes all entries, one shard at a time. The empty map that replaces a shard has the same capacity, so that it
    /// need not grow again.
    pub(super) fn take(&self) -> impl Iterator<Item = ByCredential<V>> {
        self.shards.iter().map(|shard| {
            // Allocated without the lock. Few entries are added in between.
            let capacity = lock(shard).len();
            let empty = ByCredential::with_capacity_and_hasher(capacity, RandomState::default());
            std::mem::replace(&mut *lock(shard), empty)
        })
    }
}

/// Locks a map. It is consistent whenever its lock is free, even if a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> CredentialId {
        let mut bytes = [0; CredentialId::BYTES];
        bytes[..2].copy_from_slice(&number.to_le_bytes());
        CredentialId::from_bytes(bytes)
    }

    fn add(shards: &Shards<u32>, number: u16) -> Room {
        shards.upsert(id(number), || 1, |count| *count += 1)
    }

    fn taken(shards: &Shards<u32>) -> Vec<(CredentialId, u32)> {
        let mut all: Vec<_> = shards.take().flatten().collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn entries_are_changed_and_taken_once() {
        let shards = Shards::new(1_024);
        for number in [1, 2, 1, 300, 1] {
            assert_eq!(add(&shards, number), Room::Plenty);
        }
        let mut wanted = vec![(id(1), 3), (id(2), 1), (id(300), 1)];
        wanted.sort_unstable();
        assert_eq!(taken(&shards), wanted);
        assert_eq!(taken(&shards), []);
    }

    #[test]
    fn what_goes_over_is_left_out_and_told() {
        // Four entries in each shard; ids of one shard.
        let shards = Shards::new(4 * SHARDS);
        let of_one_shard: Vec<_> = (0..6).map(|number| number * 256).collect();
        let room: Vec<_> = of_one_shard.iter().map(|number| add(&shards, *number)).collect();
        assert_eq!(
            room,
            [
                Room::Plenty,
                Room::Plenty,
                Room::Scarce,
                Room::Scarce,
                Room::None,
                Room::None
            ]
        );
        assert_eq!(add(&shards, 0), Room::Plenty, "what is there goes on");
        assert_eq!(add(&shards, 1), Room::Plenty, "so do the other shards");
        assert_eq!(taken(&shards).len(), 5);
        assert_eq!(add(&shards, 1_024), Room::Plenty, "there is room again");
    }
}
