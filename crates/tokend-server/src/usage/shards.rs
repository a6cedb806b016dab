use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokend_core::credential::CredentialId;

/// So many that the threads that serve seldom meet. A power of two.
const SHARDS: usize = 16;

/// A map of bounded size by credential, in pieces with a lock each.
pub(super) struct Shards<V> {
    shards: [Mutex<HashMap<CredentialId, V>>; SHARDS],
    /// Most entries of a piece.
    max: usize,
}

/// How much is left for further entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Enough.
    Plenty,
    /// Half of a piece is taken: it should be emptied.
    Scarce,
    /// None, not even for this entry, which was left out.
    None,
}

impl<V> Shards<V> {
    /// With room for about `max` entries: ids are random, so that the pieces fill up alike.
    pub(super) fn new(max: usize) -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), max: max.div_ceil(SHARDS) }
    }

    /// Changes the entry, or makes the first one.
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
        if shard.len() > self.max / 2 { Room::Scarce } else { Room::Plenty }
    }

    /// Takes all entries, a piece at a time. An empty map with as much room takes the place of each, so that it need not grow again.
    pub(super) fn take(&self) -> impl Iterator<Item = HashMap<CredentialId, V>> {
        self.shards.iter().map(|shard| {
            // Made outside of the lock; what comes in between is few.
            let capacity = lock(shard).len();
            let empty = HashMap::with_capacity(capacity);
            std::mem::replace(&mut *lock(shard), empty)
        })
    }
}

/// A map is whole whenever its lock is free, even if its holder panicked.
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
        // Four to a piece; those of one piece.
        let shards = Shards::new(4 * SHARDS);
        let of_one_piece: Vec<_> = (0..6).map(|number| number * 256).collect();
        let room: Vec<_> = of_one_piece.iter().map(|number| add(&shards, *number)).collect();
        assert_eq!(room, [Room::Plenty, Room::Plenty, Room::Scarce, Room::Scarce, Room::None, Room::None]);
        assert_eq!(add(&shards, 0), Room::Plenty, "what is there goes on");
        assert_eq!(add(&shards, 1), Room::Plenty, "so do the other pieces");
        assert_eq!(taken(&shards).len(), 5);
        assert_eq!(add(&shards, 1_024), Room::Plenty, "there is room again");
    }
}
