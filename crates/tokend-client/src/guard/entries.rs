//! The store of cached tokens: bounded by bytes, and found by a keyed hash of the secret.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use tokend_core::{lease::SlotKey, time::BootTime};

use super::{VerifiedToken, uses::PendingUses};

/// What a secret is found by: its hash, keyed with a key that only this process has. The secret is not kept.
pub(super) type Key = [u8; 32];

/// Shards let several threads insert at once.
const SHARDS: usize = 16;
/// What an entry takes besides its token.
const OVERHEAD: usize = 256;

/// A token that the service allowed something.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) token: VerifiedToken,
    pub(super) slots: [SlotKey; 2],
    /// The number of the revision that the answer was based on.
    pub(super) revision: u64,
    /// When the token expires, counted from when the request was sent; `None` for never.
    pub(super) expires: Option<BootTime>,
    /// Until when the answer may be used without a stream.
    pub(super) cacheable_until: BootTime,
    pub(super) uses: PendingUses,
    /// Whether the entry was used since the hand last passed it.
    is_used: AtomicBool,
    bytes: usize,
}

/// Entries, at most as many as fit into the limit. If there is no room, those leave that have not been used for
/// longest, about: a hand goes round, takes the mark of use from each entry, and removes the first one without (the
/// CLOCK algorithm).
#[derive(Debug)]
pub(super) struct Entries {
    shards: [RwLock<Shard>; SHARDS],
    bytes_of_shard: usize,
}

#[derive(Debug, Default)]
struct Shard {
    by_key: HashMap<Key, Arc<Entry>>,
    /// The keys of `by_key`, in the order in which the hand passes them.
    hand: VecDeque<Key>,
    bytes: usize,
}

impl Entry {
    pub(super) fn new(
        token: VerifiedToken,
        slots: [SlotKey; 2],
        revision: u64,
        expires: Option<BootTime>,
        cacheable_until: BootTime,
    ) -> Self {
        Self {
            bytes: OVERHEAD + token.bytes(),
            uses: PendingUses::default(),
            token,
            slots,
            revision,
            expires,
            cacheable_until,
            is_used: AtomicBool::new(false),
        }
    }

    pub(super) fn mark_used(&self) {
        self.is_used.store(true, Ordering::Relaxed);
    }
}

impl Entries {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            shards: Default::default(),
            bytes_of_shard: max_bytes / SHARDS,
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        let shard = self.shard(key).read().unwrap_or_else(PoisonError::into_inner);
        shard.by_key.get(key).cloned()
    }

    /// Inserts an entry in place of the one with the same key. Returns how many others had to leave.
    pub(super) fn insert(&self, key: Key, entry: Entry) -> u64 {
        if entry.bytes > self.bytes_of_shard {
            return 0;
        }
        let mut shard = self.shard(&key).write().unwrap_or_else(PoisonError::into_inner);
        let mut evicted = 0;
        while shard.bytes_with(&key, &entry) > self.bytes_of_shard && shard.evict() {
            evicted += 1;
        }
        shard.bytes = shard.bytes_with(&key, &entry);
        if shard.by_key.insert(key, Arc::new(entry)).is_none() {
            shard.hand.push_back(key);
        }
        evicted
    }

    /// Returns the number of entries, and about how many bytes they take.
    pub(super) fn size(&self) -> (usize, usize) {
        let shards = self.shards.iter();
        shards.fold((0, 0), |(count, bytes), shard| {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            (count + shard.by_key.len(), bytes + shard.bytes)
        })
    }

    fn shard(&self, key: &Key) -> &RwLock<Shard> {
        &self.shards[usize::from(key[0]) % SHARDS]
    }
}

impl Shard {
    /// Returns the bytes that the shard has once `entry` is inserted.
    fn bytes_with(&self, key: &Key, entry: &Entry) -> usize {
        let replaced = self.by_key.get(key).map_or(0, |before| before.bytes);
        self.bytes - replaced + entry.bytes
    }

    /// Removes an entry. Returns whether there was one.
    fn evict(&mut self) -> bool {
        // After one round, no entry has its mark.
        while let Some(key) = self.hand.pop_front() {
            let is_spared = self
                .by_key
                .get(&key)
                .is_some_and(|entry| entry.is_used.swap(false, Ordering::Relaxed));
            if is_spared {
                self.hand.push_back(key);
            } else if let Some(entry) = self.by_key.remove(&key) {
                self.bytes -= entry.bytes;
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use tokend_core::time::Clock;

    use super::*;
    use crate::guard::token::tests::message;

    fn entry() -> Entry {
        let token = VerifiedToken::new(message());
        let slots = token.slots().expect("slots");
        Entry::new(token, slots, 1, None, Clock::system().boot_time())
    }

    /// All keys in one shard.
    fn key(number: u8) -> Key {
        let mut key = [0; 32];
        key[31] = number;
        key
    }

    #[test]
    fn entries_that_are_not_used_leave_first() {
        let entries = Entries::new(3 * entry().bytes * SHARDS);
        for number in 0..3 {
            assert_eq!(entries.insert(key(number), entry()), 0);
        }
        entries.get(&key(0)).expect("an entry").mark_used();
        assert_eq!(entries.insert(key(3), entry()), 1);
        let left: Vec<_> = (0..4).filter(|number| entries.get(&key(*number)).is_some()).collect();
        assert_eq!(left, [0, 2, 3]);
        assert_eq!(entries.size(), (3, 3 * entry().bytes));
    }

    #[test]
    fn a_flood_of_tokens_does_not_exceed_the_bound() {
        let entries = Entries::new(100 * entry().bytes);
        for number in 0..10_000_u32 {
            let key = *blake3::hash(&number.to_be_bytes()).as_bytes();
            entries.insert(key, entry());
            if let Some(entry) = entries.get(&key) {
                entry.mark_used();
            }
        }
        let (count, bytes) = entries.size();
        assert!(
            bytes <= 100 * entry().bytes && count > 50,
            "{count} entries of {bytes} bytes"
        );
    }

    #[test]
    fn a_key_that_is_inserted_again_counts_once() {
        let entries = Entries::new(1 << 20);
        for _ in 0..5 {
            entries.insert(key(1), entry());
        }
        assert_eq!(entries.size(), (1, entry().bytes));
        assert_eq!(entries.shard(&key(1)).read().expect("a shard").hand.len(), 1);
        assert_eq!(Entries::new(SHARDS).insert(key(1), entry()), 0);
    }
}
