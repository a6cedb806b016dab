use std::collections::BTreeMap;

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryTrait};
use tokend_core::{credential::CredentialId, time::Timestamp, token::usage::Usage};

use crate::{
    error::StoreError,
    shared::Shared,
    store::Store,
    usage::tables::{
        caller_key_usage,
        token_usage::{Column, Entity},
    },
};

impl Store {
    /// Returns the recorded usage of these tokens. Leaves out tokens that were never used, and rows that can't be read,
    /// which are logged.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn usage_of(&self, tokens: &[CredentialId]) -> Result<BTreeMap<CredentialId, Usage>, StoreError> {
        let tokens = tokens.to_vec();
        self.run(move |shared| async move { usage_of(&shared, tokens).await })
            .await
    }

    /// Returns when a caller key was used last, to a minute. `None` if it was never used.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn last_use_of_key(&self, key: CredentialId) -> Result<Option<Timestamp>, StoreError> {
        self.run(move |shared| async move { Ok(last_uses_of_keys(&shared, [key]).await?.remove(&key)) })
            .await
    }
}

pub(crate) async fn usage_of(
    shared: &Shared,
    tokens: impl IntoIterator<Item = CredentialId>,
) -> Result<BTreeMap<CredentialId, Usage>, StoreError> {
    let mut keys = tokens.into_iter().map(|token| token.as_bytes().to_vec()).peekable();
    if keys.peek().is_none() {
        return Ok(BTreeMap::new());
    }
    let query = Entity::find().filter(Column::Token.is_in(keys));
    super::row::usage_by_token(&shared.connection.query_all(&query.into_query()).await?)
}

pub(crate) async fn last_uses_of_keys(
    shared: &Shared,
    keys: impl IntoIterator<Item = CredentialId>,
) -> Result<BTreeMap<CredentialId, Timestamp>, StoreError> {
    let mut keys = keys.into_iter().map(|key| key.as_bytes().to_vec()).peekable();
    if keys.peek().is_none() {
        return Ok(BTreeMap::new());
    }
    let query = caller_key_usage::Entity::find().filter(caller_key_usage::Column::Key.is_in(keys));
    super::row::last_use_by_key(&shared.connection.query_all(&query.into_query()).await?)
}
