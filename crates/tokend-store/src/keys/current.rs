//! The key ring in use: the roots from the key ring file, with the state that the database gives each key.
//!
//! Reads take a snapshot, which needs no lock. A write reads the key states again inside its transaction
//! ([`WriteTx::row_verifier`](crate::WriteTx)), so that it seals rows with the key that is active then, on all servers.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokend_core::keyring::{KeyRing, KnownKey, RootKeys, WrongKeys};

/// The key ring that reads use now.
pub(crate) struct CurrentKeys(ArcSwap<Snapshot>);

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
