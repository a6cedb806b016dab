//! Usage is written in batches, by several servers at once, long after it was seen.
//!
//! A batch is merged with what is stored. Rows that are missing are inserted first, then the others are read under their locks: both in the
//! order of ids, so that no two batches wait for each other. No row of a token is locked: a revocation never waits for usage.

use std::collections::BTreeMap;

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, sea_query::OnConflict};
use tokend_core::{credential::CredentialId, usage::Usage};

use super::WriteTx;
use crate::{
    entity::{
        token_usage::{Column, Entity},
        tokens,
    },
    error::StoreError,
    row,
    store::Store,
};

impl Store {
    /// Merges what was seen of tokens' use into what is stored, in one transaction: some hundred tokens at most. Tokens that are gone
    /// are passed over. Writing the same again changes nothing.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was stored.
    pub async fn record_usage(&self, seen: BTreeMap<CredentialId, Usage>) -> Result<(), StoreError> {
        self.write(move |tx: &WriteTx| Box::pin(async move { tx.record_usage(&seen).await })).await
    }
}

impl WriteTx {
    /// Deletes what is known of the use of tokens that are deleted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_usage(&self, tokens: &[CredentialId]) -> Result<(), StoreError> {
        let delete = Entity::delete_many().filter(Column::Token.is_in(keys(tokens)));
        self.change(&delete.into_query()).await.map(|_| ())
    }

    async fn record_usage(&self, seen: &BTreeMap<CredentialId, Usage>) -> Result<(), StoreError> {
        let there: BTreeMap<_, _> = self.tokens_there(seen).await?;
        if there.is_empty() {
            return Ok(());
        }
        let models = || there.iter().map(|(token, usage)| row::usage_to_model(*token, usage));
        let insert = Entity::insert_many(models()).on_conflict(OnConflict::column(Column::Token).do_nothing().to_owned());
        if self.count_changed(&insert.into_query()).await? == there.len() as u64 {
            return Ok(());
        }
        let query = Entity::find().filter(Column::Token.is_in(keys(there.keys()))).order_by_asc(Column::Token).lock_exclusive();
        let mut stored = row::usage_by_token(&self.find_all(&query.into_query()).await?)?;
        let merged: Vec<_> = there
            .into_iter()
            .filter_map(|(token, seen)| {
                // What can't be read is written anew.
                let known = stored.remove(&token);
                let mut merged = known.clone().unwrap_or_else(|| seen.clone());
                merged.merge(seen);
                (known.as_ref() != Some(&merged)).then(|| row::usage_to_model(token, &merged))
            })
            .collect();
        if merged.is_empty() {
            return Ok(());
        }
        let replace = OnConflict::column(Column::Token)
            .update_columns([Column::LastUsedTime, Column::Addresses, Column::AskedScopes])
            .to_owned();
        self.change(&Entity::insert_many(merged).on_conflict(replace).into_query()).await.map(|_| ())
    }

    /// Those of whose tokens there is a row, which is not locked.
    async fn tokens_there<'a>(
        &self,
        seen: &'a BTreeMap<CredentialId, Usage>,
    ) -> Result<BTreeMap<CredentialId, &'a Usage>, StoreError> {
        let query =
            tokens::Entity::find().select_only().column(tokens::Column::Id).filter(tokens::Column::Id.is_in(keys(seen.keys())));
        let mut there = BTreeMap::new();
        for found in self.find_all(&query.into_query()).await? {
            let id: Vec<u8> = found.try_get("", "id")?;
            let id = row::credential_id(&id).map_err(|problem| StoreError::corrupt("tokens", row::shown_id(&id), problem))?;
            there.extend(seen.get(&id).map(|usage| (id, usage)));
        }
        Ok(there)
    }
}

fn keys<'a>(tokens: impl IntoIterator<Item = &'a CredentialId>) -> impl Iterator<Item = Vec<u8>> {
    tokens.into_iter().map(|token| token.as_bytes().to_vec())
}
