//! Connections on which nobody has authenticated yet: few in all, and few from one source.
//!
//! Who comes too late is not turned away: the oldest stranger goes instead, the oldest from the same source if that has too many.
//! An honest client is a stranger for as long as its first call takes. Whoever opens connections and says nothing therefore crowds
//! out nobody but itself, whereas turning newcomers away would hand it the door.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::source::Source;

/// All strangers.
#[derive(Debug)]
pub(super) struct Strangers {
    most: usize,
    most_per_source: usize,
    present: Mutex<Present>,
}

/// Numbers grow, so that the lowest is the oldest.
#[derive(Debug, Default)]
struct Present {
    last: u64,
    by_age: BTreeMap<u64, (Source, CancellationToken)>,
    by_source: HashMap<Source, BTreeSet<u64>>,
}

/// A connection's place among the strangers, given back on drop.
#[derive(Debug)]
pub(super) struct Stranger {
    strangers: Arc<Strangers>,
    number: u64,
    told_to_go: CancellationToken,
}

impl Strangers {
    pub(super) fn new(most: usize, most_per_source: usize) -> Arc<Self> {
        Arc::new(Self { most, most_per_source, present: Mutex::default() })
    }

    /// Takes in a new connection; whoever has to make room for it is told to go.
    pub(super) fn take_in(self: &Arc<Self>, source: Source) -> Stranger {
        let told_to_go = CancellationToken::new();
        let mut present = self.lock();
        let of_source = present.by_source.get(&source).filter(|numbers| numbers.len() >= self.most_per_source);
        let leaving = match of_source {
            Some(numbers) => numbers.first().copied(),
            None if present.by_age.len() >= self.most => present.by_age.keys().next().copied(),
            None => None,
        };
        if let Some(leaving) = leaving.and_then(|number| present.remove(number)) {
            leaving.cancel();
        }
        present.last += 1;
        let number = present.last;
        present.by_age.insert(number, (source, told_to_go.clone()));
        present.by_source.entry(source).or_default().insert(number);
        drop(present);
        Stranger { strangers: Arc::clone(self), number, told_to_go }
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Present {
    fn remove(&mut self, number: u64) -> Option<CancellationToken> {
        let (source, told_to_go) = self.by_age.remove(&number)?;
        if let Some(numbers) = self.by_source.get_mut(&source) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_source.remove(&source);
            }
        }
        Some(told_to_go)
    }
}

impl Stranger {
    /// Cancelled when the connection has to make room.
    pub(super) fn told_to_go(&self) -> CancellationToken {
        self.told_to_go.clone()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.strangers.lock().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn source(last: u8) -> Source {
        IpAddr::from([192, 0, 2, last]).into()
    }

    fn gone(strangers: &[Stranger]) -> Vec<bool> {
        strangers.iter().map(|stranger| stranger.told_to_go.is_cancelled()).collect()
    }

    #[test]
    fn the_oldest_of_a_source_that_has_too_many_makes_room() {
        let strangers = Strangers::new(100, 2);
        let mut here = vec![strangers.take_in(source(9))];
        here.extend((0..3).map(|_| strangers.take_in(source(1))));
        assert_eq!(gone(&here), [false, true, false, false]);
    }

    #[test]
    fn the_oldest_of_all_makes_room_when_there_are_too_many() {
        let strangers = Strangers::new(3, 2);
        let here: Vec<_> = (0..5).map(|last| strangers.take_in(source(last))).collect();
        assert_eq!(gone(&here), [true, true, false, false, false]);
    }

    #[test]
    fn whoever_is_known_or_gone_takes_no_room_and_no_memory() {
        let strangers = Strangers::new(2, 2);
        let first = strangers.take_in(source(1));
        for _ in 0..10 {
            drop(strangers.take_in(source(1)));
        }
        assert!(!first.told_to_go.is_cancelled());
        drop(first);
        let present = strangers.lock();
        assert!(present.by_age.is_empty() && present.by_source.is_empty());
    }
}
