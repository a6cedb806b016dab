//! Limits the connections on which nobody has authenticated yet, in total and for each source.
//!
//! At the limit a new connection is accepted and the oldest unauthenticated one is closed: the oldest of the same
//! source if that is at its limit. An honest client authenticates with its first call, so a peer that opens connections
//! and sends nothing evicts only its own. If new connections were refused instead, such a peer could lock out
//! everybody.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::source::Source;

/// All connections on which nobody has authenticated.
#[derive(Debug)]
pub(super) struct UnauthenticatedConnections {
    most: usize,
    most_per_source: usize,
    present: Mutex<Present>,
}

/// The connections by number. Numbers grow, so that the lowest is the oldest.
#[derive(Debug, Default)]
struct Present {
    last: u64,
    by_age: BTreeMap<u64, (Source, CancellationToken)>,
    by_source: HashMap<Source, BTreeSet<u64>>,
}

/// A connection's place among the unauthenticated ones, released on drop.
#[derive(Debug)]
pub(super) struct UnauthenticatedPlace {
    all: Arc<UnauthenticatedConnections>,
    number: u64,
    evicted: CancellationToken,
}

impl UnauthenticatedConnections {
    pub(super) fn new(most: usize, most_per_source: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_per_source,
            present: Mutex::default(),
        })
    }

    /// Adds a connection, and evicts another if there are too many.
    pub(super) fn add(self: &Arc<Self>, source: Source) -> UnauthenticatedPlace {
        let evicted = CancellationToken::new();
        let mut present = self.lock();
        let of_source = present
            .by_source
            .get(&source)
            .filter(|numbers| numbers.len() >= self.most_per_source);
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
        present.by_age.insert(number, (source, evicted.clone()));
        present.by_source.entry(source).or_default().insert(number);
        drop(present);
        UnauthenticatedPlace {
            all: Arc::clone(self),
            number,
            evicted,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Present {
    fn remove(&mut self, number: u64) -> Option<CancellationToken> {
        let (source, evicted) = self.by_age.remove(&number)?;
        if let Some(numbers) = self.by_source.get_mut(&source) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_source.remove(&source);
            }
        }
        Some(evicted)
    }
}

impl UnauthenticatedPlace {
    /// Returns the signal that the connection must close.
    pub(super) fn evicted(&self) -> CancellationToken {
        self.evicted.clone()
    }
}

impl Drop for UnauthenticatedPlace {
    fn drop(&mut self) {
        self.all.lock().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn source(last: u8) -> Source {
        IpAddr::from([192, 0, 2, last]).into()
    }

    fn gone(places: &[UnauthenticatedPlace]) -> Vec<bool> {
        places.iter().map(|place| place.evicted.is_cancelled()).collect()
    }

    #[test]
    fn the_oldest_of_a_source_that_has_too_many_makes_room() {
        let unauthenticated = UnauthenticatedConnections::new(100, 2);
        let mut here = vec![unauthenticated.add(source(9))];
        here.extend((0..3).map(|_| unauthenticated.add(source(1))));
        assert_eq!(gone(&here), [false, true, false, false]);
    }

    #[test]
    fn the_oldest_of_all_makes_room_when_there_are_too_many() {
        let unauthenticated = UnauthenticatedConnections::new(3, 2);
        let here: Vec<_> = (0..5).map(|last| unauthenticated.add(source(last))).collect();
        assert_eq!(gone(&here), [true, true, false, false, false]);
    }

    #[test]
    fn whoever_is_known_or_gone_takes_no_room_and_no_memory() {
        let unauthenticated = UnauthenticatedConnections::new(2, 2);
        let first = unauthenticated.add(source(1));
        for _ in 0..10 {
            drop(unauthenticated.add(source(1)));
        }
        assert!(!first.evicted.is_cancelled());
        drop(first);
        let present = unauthenticated.lock();
        assert!(present.by_age.is_empty() && present.by_source.is_empty());
    }
}
