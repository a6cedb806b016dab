//! Changes of the keys' states: adding, activating and retiring a key.

use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryTrait, sea_query::UpdateStatement};
use tokend_core::{
    change::Change,
    credential::{Credential, Kid},
    keyring::{KeyState, KnownKey, WrongKeys},
    row_mac::{RowMac, Sealed},
};

use crate::{
    error::StoreError,
    keys::{
        row::{StoredKey, stored},
        tables::keyring_keys,
    },
    transaction::{Insert, WriteTx},
};

impl WriteTx {
    /// Returns every key that this installation ever had, in the order in which they were added.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn stored_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        self.noting_failure(stored(&self.tx).await)
    }

    /// Adds a key to the installation. Returns [`Insert::Taken`] if it has a key with that id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_key(&self, key: &KnownKey) -> Result<Insert, StoreError> {
        let inserted = self.insert_first_key(key).await?;
        if inserted == Insert::Done {
            self.record(Change::RingKeyAdded(key.kid));
        }
        Ok(inserted)
    }

    /// Adds a key of a new installation. The key is not recorded, because the new installation is.
    pub(crate) async fn insert_first_key(&self, key: &KnownKey) -> Result<Insert, StoreError> {
        let KnownKey {
            kid,
            fingerprint,
            state,
        } = key;
        let now = self.now().await?.unix_micros();
        let row = keyring_keys::ActiveModel {
            kid: Set(kid.to_string()),
            fingerprint: Set(fingerprint.as_bytes().to_vec()),
            create_time: Set(now),
            state: Set(state.as_str().to_owned()),
            activate_time: Set((*state == KeyState::Active).then_some(now)),
            retire_time: Set((*state == KeyState::Retired).then_some(now)),
        };
        self.insert(keyring_keys::Entity::insert(row)).await
    }

    /// Makes `kid` the active key instead of the current one. Returns false if the state of `kid` is not `VERIFIES`.
    /// Call this in [`Store::write_keys`](crate::Store::write_keys).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn activate_key(&self, kid: Kid) -> Result<bool, StoreError> {
        if !self
            .stored_keys()
            .await?
            .iter()
            .any(|stored| stored.key.kid == kid && stored.key.state == KeyState::Verifies)
        {
            return Ok(false);
        }
        // The change is recorded under the key that signs until now.
        self.ring().await?;
        // First the old key, so that two keys are never active at once.
        let active = keyring_keys::ActiveModel {
            state: Set(KeyState::Verifies.as_str().to_owned()),
            ..Default::default()
        };
        let step_down = keyring_keys::Entity::update_many()
            .set(active)
            .filter(keyring_keys::Column::State.eq(KeyState::Active.as_str()))
            .filter(keyring_keys::Column::Kid.ne(kid.to_string()));
        self.change(&step_down.into_query()).await?;
        let now = self.now().await?.unix_micros();
        let key = keyring_keys::ActiveModel {
            state: Set(KeyState::Active.as_str().to_owned()),
            activate_time: Set(Some(now)),
            ..Default::default()
        };
        let activated = self.change(&from_verifying(kid, key)).await?;
        if activated {
            self.record(Change::RingKeyActivated(kid));
        }
        Ok(activated)
    }

    /// Retires `kid` permanently. Returns false if its state is not `VERIFIES`. Call this in
    /// [`Store::write_keys`](crate::Store::write_keys), after checking that nothing needs the key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn retire_key(&self, kid: Kid) -> Result<bool, StoreError> {
        let now = self.now().await?.unix_micros();
        let key = keyring_keys::ActiveModel {
            state: Set(KeyState::Retired.as_str().to_owned()),
            retire_time: Set(Some(now)),
            ..Default::default()
        };
        let retired = self.change(&from_verifying(kid, key)).await?;
        if retired {
            self.record(Change::RingKeyRetired(kid));
        }
        Ok(retired)
    }

    /// Returns the MAC of a new credential's row. Fails if the credential was made with a key that was retired
    /// meanwhile: it would never work.
    pub(crate) async fn seal_credential<T: Credential + Sealed>(&self, row: &T) -> Result<RowMac, StoreError> {
        let (ring, kid) = (self.ring().await?, row.digest().kid());
        if ring.verifies(kid) {
            Ok(ring.seal(row))
        } else {
            Err(self.failing(StoreError::wrong_keys(WrongKeys::Retired(kid))))
        }
    }

    /// Returns the keys of a new installation.
    pub(crate) fn keys_at_first(&self) -> Vec<KnownKey> {
        self.shared.keys.initial_keys()
    }
}

fn from_verifying(kid: Kid, key: keyring_keys::ActiveModel) -> UpdateStatement {
    keyring_keys::Entity::update_many()
        .set(key)
        .filter(keyring_keys::Column::Kid.eq(kid.to_string()))
        .filter(keyring_keys::Column::State.eq(KeyState::Verifies.as_str()))
        .into_query()
}
