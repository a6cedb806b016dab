//! What every call counts: each thread into a part of its own, so that threads do not wait for each other's cache lines.
//! The parts are summed up when somebody scrapes.

use std::{
    array,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// The number of parts. Beyond so many threads some share one.
const PARTS: usize = 16;

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % PARTS;
}

/// A value for each of some threads.
#[derive(Debug)]
pub(crate) struct Striped<T>([Part<T>; PARTS]);

/// Two cache lines, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Part<T>(T);

/// A counter that every call raises. Clones are the same counter.
#[derive(Clone, Debug, Default)]
pub(crate) struct BusyCounter(Arc<Striped<AtomicU64>>);

impl<T> Striped<T> {
    /// Returns the part of this thread.
    pub(crate) fn own(&self) -> &T {
        &self.0[OWN.with(|own| *own)].0
    }

    /// Returns all parts.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|Part(part)| part)
    }
}

impl<T: Default> Default for Striped<T> {
    fn default() -> Self {
        Self(array::from_fn(|_| Part::default()))
    }
}

impl BusyCounter {
    /// Adds one.
    pub(crate) fn increment(&self) {
        self.0.own().fetch_add(1, Ordering::Relaxed);
    }

    /// Returns what all threads have counted.
    pub(crate) fn total(&self) -> u64 {
        self.0.all().map(|part| part.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn all_threads_count() {
        let counter = BusyCounter::default();
        thread::scope(|scope| {
            for _ in 0..2 * PARTS {
                scope.spawn(|| (0..1_000).for_each(|_| counter.increment()));
            }
        });
        assert_eq!(counter.total(), 2_000 * u64::try_from(PARTS).expect("a number"));
    }
}
