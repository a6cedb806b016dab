//! The key ring in use: the roots from the key ring file, with the state that the database gives each key.
//!
//! Reads take a snapshot, which needs no lock. A write reads the key states again inside its transaction
//! ([`WriteTx::row_verifier`](crate::WriteTx)), so that it seals rows with the key that is active then, on all servers.

use std::{
    ops::Deref,
    sync::{Arc, Weak},
};

use arc_swap::{ArcSwap, Guard};
use tokend_core::keyring::{KeyRing, KnownKey, RootKeys, WrongKeys};

/// The key ring that reads use now.
pub(crate) struct CurrentKeys(ArcSwap<Snapshot>);

/// The key ring as one call uses it. Unlike a clone of the [`Arc`], it writes to no memory that other threads use.
#[derive(Debug)]
pub struct KeysInUse(Guard<Arc<Snapshot>>);

#[derive(Debug)]
struct Snapshot {
    roots: Arc<RootKeys>,
    known: Vec<KnownKey>,
    /// The last valid ring of roots and known keys.
    ring: Arc<KeyRing>,
    /// Why the current `roots` and `known` make no valid ring.
    problem: Option<WrongKeys>,
}

impl CurrentKeys {
    /// Creates the ring of a new installation. The database has not been read yet.
    pub(crate) fn new(roots: Arc<RootKeys>) -> Result<Self, WrongKeys> {
        let known = roots.initial_keys();
        let ring = Arc::new(roots.ring(&known)?);
        Ok(Self(ArcSwap::from_pointee(Snapshot {
            roots,
            known,
            ring,
            problem: None,
        })))
    }

    pub(crate) fn initial_keys(&self) -> Vec<KnownKey> {
        self.0.load().roots.initial_keys()
    }

    pub(crate) fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.0.load().ring)
    }

    pub(crate) fn in_use(&self) -> KeysInUse {
        KeysInUse(self.0.load())
    }

    pub(crate) fn problem(&self) -> Option<WrongKeys> {
        let snapshot = self.0.load();
        snapshot
            .problem
            .or_else(|| snapshot.ring.missing_active_key().map(WrongKeys::Missing))
    }

    /// Returns the ring for a transaction that has read these keys.
    pub(crate) fn ring_of(&self, known: &[KnownKey]) -> Result<Arc<KeyRing>, WrongKeys> {
        let snapshot = self.0.load();
        if snapshot.problem.is_none() && snapshot.known == known {
            return Ok(Arc::clone(&snapshot.ring));
        }
        snapshot.roots.ring(known).map(Arc::new)
    }

    /// Replaces the roots, the known keys, or both. If they make no valid ring, keeps the last one in use and records
    /// the problem.
    pub(crate) fn replace(&self, roots: Option<Arc<RootKeys>>, known: Option<Vec<KnownKey>>) {
        let old = self.0.load_full();
        let roots = roots.unwrap_or_else(|| Arc::clone(&old.roots));
        let known = known.unwrap_or_else(|| old.known.clone());
        // The ring stays the same one until something changes: what was remembered with it stays, too.
        if Arc::ptr_eq(&roots, &old.roots) && known == old.known {
            return;
        }
        let (ring, problem) = match roots.ring(&known) {
            Ok(ring) => (Arc::new(ring), None),
            Err(problem) => (Arc::clone(&old.ring), Some(problem)),
        };
        self.0.store(Arc::new(Snapshot {
            roots,
            known,
            ring,
            problem,
        }));
    }
}

impl KeysInUse {
    /// Returns a mark of the ring, which [`is`](Self::is) recognizes. It keeps no key in memory.
    #[must_use]
    pub fn mark(&self) -> Weak<KeyRing> {
        Arc::downgrade(&self.0.ring)
    }

    /// Returns whether this is the ring that the mark is of.
    #[must_use]
    pub fn is(&self, mark: &Weak<KeyRing>) -> bool {
        // While the mark is there, no other ring takes the place in memory.
        Weak::as_ptr(mark) == Arc::as_ptr(&self.0.ring)
    }
}

impl Deref for KeysInUse {
    type Target = KeyRing;

    fn deref(&self) -> &KeyRing {
        &self.0.ring
    }
}
