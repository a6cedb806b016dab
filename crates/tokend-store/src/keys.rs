//! The keys in use: the roots that the process was given, by what the database says each may do.
//!
//! Reads take a snapshot, which costs no lock. A write asks the database again, inside its transaction ([`WriteTx::judge`]): what
//! it seals is sealed by the key that is active then, on all servers.
//!
//! [`WriteTx::judge`]: crate::WriteTx

use std::sync::Arc;

use arc_swap::ArcSwap;
use sea_orm::{ConnectionTrait, EntityTrait, QueryOrder};
use tokend_core::{
    credential::Kid,
    keyring::{Fingerprint, KeyRing, KeyState, KnownKey, RootKeys, WrongKeys},
    time::Timestamp,
};

use crate::{
    entity::keyring_keys::{Column, Entity, Model},
    error::StoreError,
    row,
    store::{Shared, Store},
};

pub(crate) const TABLE: &str = "keyring_keys";

/// A key as the database knows it, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// Which, and what it may do.
    pub key: KnownKey,
    /// When it was added.
    pub create_time: Timestamp,
    /// When it was last made the active one; none if it never was.
    pub activate_time: Option<Timestamp>,
    /// When it was retired.
    pub retire_time: Option<Timestamp>,
}

impl StoredKey {
    /// Whether it was added and nothing else: nothing can have been made with it.
    fn is_new(&self) -> bool {
        self.key.state == KeyState::Verifies && self.activate_time.is_none() && self.retire_time.is_none()
    }
}

/// The snapshot that reads use.
pub(crate) struct Keys(ArcSwap<Snapshot>);

struct Snapshot {
    roots: Arc<RootKeys>,
    known: Vec<KnownKey>,
    /// The last ring that `roots` and `known` made.
    ring: Arc<KeyRing>,
    /// Why they make none any more.
    problem: Option<WrongKeys>,
}

impl Store {
    /// The key ring as it is now. Cheap; take it anew for each request.
    #[must_use]
    pub fn keys(&self) -> Arc<KeyRing> {
        self.shared().keys.ring()
    }

    /// Why this process must not serve: it can't recognize what the other servers make. None as long as it can.
    #[must_use]
    pub fn wrong_keys(&self) -> Option<WrongKeys> {
        self.shared().keys.problem()
    }

    /// Asks the database what each key may do. What is wrong then is told by [`wrong_keys`](Self::wrong_keys).
    ///
    /// # Errors
    /// [`StoreError`]; the ring stays as it was.
    pub async fn refresh_keys(&self) -> Result<(), StoreError> {
        self.run(|shared| async move {
            let known = known(&shared.connection).await?;
            shared.keys.replace(None, Some(known));
            Ok(())
        })
        .await
    }

    /// Goes on with other roots: those of the file as it is now.
    pub fn use_roots(&self, roots: Arc<RootKeys>) {
        self.shared().keys.replace(Some(roots), None);
    }

    /// Every key that this installation ever had, in the order in which they were added.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn stored_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        self.run(|shared| async move { stored(&shared.connection).await }).await
    }
}

impl Keys {
    /// What a new installation has: what the database knows is not asked yet.
    pub(crate) fn new(roots: Arc<RootKeys>) -> Result<Self, WrongKeys> {
        let known = roots.known_at_first();
        let ring = Arc::new(roots.ring(&known)?);
        Ok(Self(ArcSwap::from_pointee(Snapshot { roots, known, ring, problem: None })))
    }

    pub(crate) fn known_at_first(&self) -> Vec<KnownKey> {
        self.0.load().roots.known_at_first()
    }

    pub(crate) fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.0.load().ring)
    }

    pub(crate) fn problem(&self) -> Option<WrongKeys> {
        let snapshot = self.0.load();
        snapshot.problem.or_else(|| snapshot.ring.lacked_active().map(WrongKeys::Lacks))
    }

    /// The ring of a transaction that finds these keys.
    pub(crate) fn ring_of(&self, known: &[KnownKey]) -> Result<Arc<KeyRing>, WrongKeys> {
        let snapshot = self.0.load();
        if snapshot.problem.is_none() && snapshot.known == known {
            return Ok(Arc::clone(&snapshot.ring));
        }
        snapshot.roots.ring(known).map(Arc::new)
    }

    /// Goes on with these roots, or with what is known now. A ring that can't be made leaves the last one in use, and the reason.
    pub(crate) fn replace(&self, roots: Option<Arc<RootKeys>>, known: Option<Vec<KnownKey>>) {
        let old = self.0.load_full();
        let roots = roots.unwrap_or_else(|| Arc::clone(&old.roots));
        let known = known.unwrap_or_else(|| old.known.clone());
        let (ring, problem) = match roots.ring(&known) {
            Ok(ring) => (Arc::new(ring), None),
            Err(problem) => (Arc::clone(&old.ring), Some(problem)),
        };
        self.0.store(Arc::new(Snapshot { roots, known, ring, problem }));
    }
}

/// Reads what the database knows, and refuses a start with the wrong ring. A key that has never signed may be lacking: it was just added,
/// nothing was made with it, and [`Store::use_roots`] takes it up as soon as the file has it.
pub(crate) async fn check(shared: &Shared) -> Result<Option<WrongKeys>, StoreError> {
    let stored = stored(&shared.connection).await?;
    shared.keys.replace(None, Some(stored.iter().map(|stored| stored.key).collect()));
    let ring = shared.keys.ring();
    let lacked = stored.iter().find(|stored| ring.lacks(stored.key.kid) && !stored.is_new());
    Ok(shared.keys.problem().or(lacked.map(|stored| WrongKeys::Lacks(stored.key.kid))))
}

/// What the database knows.
pub(crate) async fn known(connection: &impl ConnectionTrait) -> Result<Vec<KnownKey>, StoreError> {
    Ok(stored(connection).await?.into_iter().map(|stored| stored.key).collect())
}

pub(crate) async fn stored(connection: &impl ConnectionTrait) -> Result<Vec<StoredKey>, StoreError> {
    let models = Entity::find().order_by_asc(Column::CreateTime).order_by_asc(Column::Kid).all(connection).await?;
    models.into_iter().map(read).collect()
}

fn read(model: Model) -> Result<StoredKey, StoreError> {
    let row = model.kid.clone();
    understand(model).map_err(|problem| StoreError::corrupt(TABLE, row, problem))
}

fn understand(model: Model) -> Result<StoredKey, String> {
    let Model { kid, fingerprint, create_time, state, activate_time, retire_time } = model;
    let kid: Kid = row::column("kid", kid.parse())?;
    let fingerprint = fingerprint.try_into().map_err(|_| "column fingerprint has another length")?;
    let state = KeyState::from_word(&state).ok_or("column state is none of the states")?;
    Ok(StoredKey {
        key: KnownKey { kid, fingerprint: Fingerprint::from_bytes(fingerprint), state },
        create_time: row::time("create_time", create_time)?,
        activate_time: row::optional_time("activate_time", activate_time)?,
        retire_time: row::optional_time("retire_time", retire_time)?,
    })
}
