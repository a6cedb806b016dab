//! The table of keys: every key that the installation ever had, and its state.

use sea_orm::{ConnectionTrait, EntityTrait, QueryOrder};
use tokend_core::{
    credential::Kid,
    keyring::{Fingerprint, KeyState, KnownKey},
    time::Timestamp,
};

use crate::{
    error::StoreError,
    keys::tables::keyring_keys::{Column, Entity, Model},
    row,
};

pub(crate) const TABLE: &str = "keyring_keys";

/// A key as the database stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The key and its state.
    pub key: KnownKey,
    /// When the key was added.
    pub create_time: Timestamp,
    /// When the key last became the active key; `None` if it never was.
    pub activate_time: Option<Timestamp>,
    /// When the key was retired.
    pub retire_time: Option<Timestamp>,
}

impl StoredKey {
    /// Returns whether the key was only added: nothing can have been sealed or hashed with it.
    pub(crate) fn is_new(&self) -> bool {
        self.key.state == KeyState::Verifies && self.activate_time.is_none() && self.retire_time.is_none()
    }
}

/// Returns every key and its state.
pub(crate) async fn known(connection: &impl ConnectionTrait) -> Result<Vec<KnownKey>, StoreError> {
    Ok(stored(connection).await?.into_iter().map(|stored| stored.key).collect())
}

/// Returns every key that this installation ever had, in the order in which they were added.
pub(crate) async fn stored(connection: &impl ConnectionTrait) -> Result<Vec<StoredKey>, StoreError> {
    let models = Entity::find()
        .order_by_asc(Column::CreateTime)
        .order_by_asc(Column::Kid)
        .all(connection)
        .await?;
    models.into_iter().map(read).collect()
}

fn read(model: Model) -> Result<StoredKey, StoreError> {
    let row = model.kid.clone();
    understand(model).map_err(|problem| StoreError::corrupt(TABLE, row, problem))
}

fn understand(model: Model) -> Result<StoredKey, String> {
    let Model {
        kid,
        fingerprint,
        create_time,
        state,
        activate_time,
        retire_time,
    } = model;
    let kid: Kid = row::column("kid", kid.parse())?;
    let fingerprint = fingerprint
        .try_into()
        .map_err(|_| "column fingerprint has another length")?;
    let state = KeyState::from_word(&state).ok_or("column state is none of the states")?;
    Ok(StoredKey {
        key: KnownKey {
            kid,
            fingerprint: Fingerprint::from_bytes(fingerprint),
            state,
        },
        create_time: row::time("create_time", create_time)?,
        activate_time: row::optional_time("activate_time", activate_time)?,
        retire_time: row::optional_time("retire_time", retire_time)?,
    })
}
