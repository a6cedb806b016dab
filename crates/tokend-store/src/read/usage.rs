use std::collections::BTreeMap;

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryTrait};
use tokend_core::{credential::CredentialId, time::Timestamp, usage::Usage};

use crate::{
    entity::{
        caller_key_usage,
        token_usage::{Column, Entity},
    },
    error::StoreError,
    row,
    store::{Shared, Store},
};

impl Store {
    /// What is known of the use of these tokens; nothing of those that were never used. What can't be read is logged and left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn usage_of(&self, tokens: &[CredentialId]) -> Result<BTreeMap<CredentialId, Usage>, StoreError> {
        let tokens = tokens.to_vec();
        self.run(move |shared| async move { usage_of(&shared, tokens).await }).await
    }

    /// When a caller key was used last, to a minute; nothing if it never was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn last_use_of_key(&self, key: CredentialId) -> Result<Option<Timestamp>, StoreError> {
        self.run(move |shared| async move { Ok(last_uses_of_keys(&shared, [key]).await?.remove(&key)) }).await
    }
}

pub(super) async fn usage_of(
    shared: &Shared,
    tokens: impl IntoIterator<Item = CredentialId>,
) -> Result<BTreeMap<CredentialId, Usage>, StoreError> {
    let mut keys = tokens.into_iter().map(|token| token.as_bytes().to_vec()).peekable();
    if keys.peek().is_none() {
        return Ok(BTreeMap::new());
    }
    let query = Entity::find().filter(Column::Token.is_in(keys));
    row::usage_by_token(&shared.connection.query_all(&query.into_query()).await?)
}

pub(super) async fn last_uses_of_keys(
    shared: &Shared,
    keys: impl IntoIterator<Item = CredentialId>,
) -> Result<BTreeMap<CredentialId, Timestamp>, StoreError> {
    let mut keys = keys.into_iter().map(|key| key.as_bytes().to_vec()).peekable();
    if keys.peek().is_none() {
        return Ok(BTreeMap::new());
    }
    let query = caller_key_usage::Entity::find().filter(caller_key_usage::Column::Key.is_in(keys));
    row::last_use_by_key(&shared.connection.query_all(&query.into_query()).await?)
}
