//! Usage is written in batches, by several servers at once, long after it was seen.
//!
//! A batch is merged with what is stored. Rows that are missing are inserted first, then the others are read under their locks: both in the
//! order of ids, so that no two batches wait for each other. No row of a token is locked: a revocation never waits for usage.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect, QueryTrait,
    sea_query::{Expr, ExprTrait, OnConflict, SelectStatement},
};
use tokend_core::{credential::CredentialId, time::Timestamp, usage::Usage};

use super::WriteTx;
use crate::{
    entity::{
        caller_key_usage, caller_keys,
        token_usage::{Column, Entity},
        tokens,
    },
    error::StoreError,
    row,
    store::Store,
};

/// Uses of a key that are closer to the one that is stored are not written.
const KEY_INTERVAL: Duration = Duration::from_secs(60);

impl Store {
    /// Merges what was seen of tokens' use into what is stored, in one transaction: some hundred tokens at most. Tokens that are gone
    /// are passed over. Writing the same again changes nothing.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was stored.
    pub async fn record_usage(&self, seen: BTreeMap<CredentialId, Usage>) -> Result<(), StoreError> {
        self.write(move |tx: &WriteTx| Box::pin(async move { tx.record_usage(&seen).await })).await
    }

    /// Notes when caller keys were used last, some hundred at most. A key that is used all the time is written once in a minute; those
    /// that are gone are passed over.
    ///
    /// # Errors
    /// As of [`record_usage`](Self::record_usage).
    pub async fn record_key_usage(&self, seen: BTreeMap<CredentialId, Timestamp>) -> Result<(), StoreError> {
        self.write(move |tx: &WriteTx| Box::pin(async move { tx.record_key_usage(&seen).await })).await
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
        let query =
            tokens::Entity::find().select_only().column(tokens::Column::Id).filter(tokens::Column::Id.is_in(keys(seen.keys())));
        let found = self.ids(&query.into_query()).await?;
        let there: BTreeMap<_, _> =
            seen.iter().filter(|(token, _)| found.contains(*token)).map(|(token, usage)| (*token, usage)).collect();
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

    async fn record_key_usage(&self, seen: &BTreeMap<CredentialId, Timestamp>) -> Result<(), StoreError> {
        use caller_key_usage::{ActiveModel, Column, Entity};

        let query = caller_keys::Entity::find().select_only().column(caller_keys::Column::Id);
        let found = self.ids(&query.filter(caller_keys::Column::Id.is_in(keys(seen.keys()))).into_query()).await?;
        let there = seen.iter().filter(|(key, _)| found.contains(*key));
        let models: Vec<_> = there
            .map(|(key, at)| ActiveModel { key: Set(key.as_bytes().to_vec()), last_used_time: Set(at.unix_micros()) })
            .collect();
        if models.is_empty() {
            return Ok(());
        }
        let a_minute_later = Expr::col((Entity, Column::LastUsedTime)).add(KEY_INTERVAL.as_micros() as i64);
        let advance = OnConflict::column(Column::Key)
            .update_column(Column::LastUsedTime)
            .action_and_where(Expr::col(("excluded", Column::LastUsedTime)).gte(a_minute_later))
            .to_owned();
        self.change(&Entity::insert_many(models).on_conflict(advance).into_query()).await.map(|_| ())
    }

    /// The ids that a query finds in its column `id`.
    async fn ids(&self, query: &SelectStatement) -> Result<BTreeSet<CredentialId>, StoreError> {
        let read = |found: &QueryResult| {
            let id: Vec<u8> = found.try_get("", "id")?;
            row::credential_id(&id).map_err(|problem| StoreError::corrupt("tokens or caller_keys", row::shown_id(&id), problem))
        };
        self.find_all(query).await?.iter().map(read).collect()
    }
}

fn keys<'a>(tokens: impl IntoIterator<Item = &'a CredentialId>) -> impl Iterator<Item = Vec<u8>> {
    tokens.into_iter().map(|token| token.as_bytes().to_vec())
}
