//! A room limits how much many holders may take together and how much each of them may take. It can keep a reserve for
//! some of them.
//!
//! Nobody waits for room. A call that finds none is refused at once, and the error says when to retry. That costs less
//! than keeping the call, and helps its client more than silence.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokend_core::caller::Caller;

use crate::transport::Source;

/// How much room there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// In all.
    pub(crate) all: usize,
    /// For one holder.
    pub(crate) each: usize,
    /// How much of it is kept for those who may use the reserve.
    pub(crate) reserve: usize,
}

/// The holder that room is counted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// A caller that authenticated.
    Caller(SameCaller),
    /// A peer that has not authenticated, by its address.
    Source(Source),
}

/// A caller that is compared by its id.
#[derive(Clone, Debug)]
pub(crate) struct SameCaller(Arc<Caller>);

/// The room, and how much each holder has taken.
#[derive(Debug)]
pub(crate) struct Room {
    sizes: Sizes,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Never 0.
    by_holder: HashMap<Holder, usize>,
}

/// Room that a holder has taken. Dropping it gives the room back.
#[derive(Debug)]
pub(crate) struct Place {
    room: Arc<Room>,
    holder: Holder,
    size: usize,
}

/// The room of a call, which gives it back early if it waits for something that needs none.
#[derive(Clone, Debug, Default)]
pub(crate) struct RoomOfCall(Arc<Mutex<Option<Place>>>);

impl RoomOfCall {
    pub(crate) fn new(place: Option<Place>) -> Self {
        Self(Arc::new(Mutex::new(place)))
    }

    /// Gives the room back.
    pub(crate) fn release(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Sizes {
    /// Limits each holder and not all of them together.
    pub(crate) const fn shares_of(each: usize) -> Self {
        Self {
            all: usize::MAX,
            each,
            reserve: 0,
        }
    }
}

impl Holder {
    pub(crate) fn caller(caller: &Arc<Caller>) -> Self {
        Self::Caller(SameCaller(Arc::clone(caller)))
    }
}

impl Room {
    pub(crate) fn new(sizes: Sizes) -> Arc<Self> {
        Arc::new(Self {
            sizes,
            taken: Mutex::default(),
        })
    }

    /// Takes room of this size, or the whole share if that is smaller. Returns `None` if the share or the room has less
    /// than that left.
    pub(crate) fn take(self: &Arc<Self>, holder: Holder, size: usize, may_use_reserve: bool) -> Option<Place> {
        let Sizes { all, each, reserve } = self.sizes;
        let size = size.min(each);
        let most = if may_use_reserve {
            all
        } else {
            all.saturating_sub(reserve)
        };
        let mut taken = self.lock();
        let of_holder = taken.by_holder.get(&holder).copied().unwrap_or(0);
        if size > each.saturating_sub(of_holder) || size > most.saturating_sub(taken.all) {
            return None;
        }
        taken.all += size;
        taken.by_holder.insert(holder.clone(), of_holder + size);
        drop(taken);
        Some(Place {
            room: Arc::clone(self),
            holder,
            size,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.room.lock();
        taken.all -= self.size;
        if let Some(of_holder) = taken.by_holder.get_mut(&self.holder) {
            *of_holder -= self.size;
            if *of_holder == 0 {
                taken.by_holder.remove(&self.holder);
            }
        }
    }
}

impl PartialEq for SameCaller {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for SameCaller {}

impl Hash for SameCaller {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn holder(number: u32) -> Holder {
        Holder::Source(IpAddr::from(Ipv4Addr::from_bits(number)).into())
    }

    #[test]
    fn nobody_has_more_than_a_share() {
        let room = Room::new(Sizes {
            all: 10,
            each: 3,
            reserve: 0,
        });
        let taken: Vec<_> = (0..5).map(|_| room.take(holder(1), 1, false)).collect();
        assert_eq!(taken.iter().flatten().count(), 3);
        assert!(
            room.take(holder(2), 3, false).is_some(),
            "another has a share of its own"
        );
        drop(taken);
        assert!(room.take(holder(1), 3, false).is_some(), "it was given back");
    }

    #[test]
    fn the_reserve_is_for_those_who_may_use_it() {
        let room = Room::new(Sizes {
            all: 10,
            each: 10,
            reserve: 2,
        });
        let _taken = room.take(holder(1), 8, false).expect("there is room");
        assert!(room.take(holder(2), 1, false).is_none());
        let _reserved = room.take(holder(2), 2, true).expect("there is the reserve");
        assert!(room.take(holder(3), 1, true).is_none(), "it has its end, too");
    }

    #[test]
    fn what_is_larger_than_a_share_takes_all_of_it() {
        let room = Room::new(Sizes {
            all: 10,
            each: 2,
            reserve: 0,
        });
        let _taken = room.take(holder(1), 4, false).expect("it fits in an empty share");
        assert!(room.take(holder(1), 1, false).is_none());
    }

    #[test]
    fn whoever_is_gone_takes_no_memory() {
        let room = Room::new(Sizes::shares_of(1));
        for number in 0..100 {
            drop(room.take(holder(number), 1, false).expect("there is room"));
        }
        let taken = room.lock();
        assert!(taken.by_holder.is_empty() && taken.all == 0);
    }
}
