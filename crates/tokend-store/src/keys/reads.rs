//! The keys in use, as servers and commands read them.

use std::sync::Arc;

use tokend_core::keyring::{KeyRing, RootKeys, WrongKeys};

use crate::{
    error::StoreError,
    keys::{
        current::KeysInUse,
        row::{StoredKey, known, stored},
    },
    shared::Shared,
    store::Store,
};

impl Store {
    /// Returns the current key ring. This is cheap; call it for each request.
    #[must_use]
    pub fn keys(&self) -> Arc<KeyRing> {
        self.shared().keys.ring()
    }

    /// Returns the current key ring for one call that waits for nothing. It is cheaper than [`keys`](Self::keys) where
    /// every call needs it.
    #[must_use]
    pub fn keys_in_use(&self) -> KeysInUse {
        self.shared().keys.in_use()
    }

    /// Returns why this process must not serve: it can't verify what other servers seal. `None` while it can.
    #[must_use]
    pub fn wrong_keys(&self) -> Option<WrongKeys> {
        self.shared().keys.problem()
    }

    /// Reads the state of each key from the database. [`wrong_keys`](Self::wrong_keys) reports a problem with them.
    ///
    /// # Errors
    /// [`StoreError`]; the ring stays unchanged.
    pub async fn refresh_keys(&self) -> Result<(), StoreError> {
        self.run(|shared| async move {
            let known = known(&shared.connection).await?;
            shared.keys.replace(None, Some(known));
            Ok(())
        })
        .await
    }

    /// Replaces the roots with those of the current key ring file.
    pub fn use_roots(&self, roots: Arc<RootKeys>) {
        self.shared().keys.replace(Some(roots), None);
    }

    /// Returns every key that this installation ever had, in the order in which they were added.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn stored_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        self.run(|shared| async move { stored(&shared.connection).await }).await
    }
}

/// Reads the keys of the database and returns what is wrong with this process's ring, if anything. The ring may lack a
/// key that was just added: nothing was sealed with it, and [`Store::use_roots`] adds it as soon as the file has it.
pub(crate) async fn check(shared: &Shared) -> Result<Option<WrongKeys>, StoreError> {
    let stored = stored(&shared.connection).await?;
    shared
        .keys
        .replace(None, Some(stored.iter().map(|stored| stored.key).collect()));
    let ring = shared.keys.ring();
    let lacked = stored
        .iter()
        .find(|stored| ring.is_missing(stored.key.kid) && !stored.is_new());
    Ok(shared
        .keys
        .problem()
        .or(lacked.map(|stored| WrongKeys::Missing(stored.key.kid))))
}
