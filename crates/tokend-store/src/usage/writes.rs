//! Writes usage in batches. Several servers write at once, long after the use.
//!
//! A batch is merged with the stored usage. Missing rows are inserted first, then the other rows are read under their
//! locks, both in the order of ids, so that no two batches wait for each other. No row of a token is locked, so a
//! revocation never waits for usage.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect, QueryTrait,
    sea_query::{Expr, ExprTrait, OnConflict, SelectStatement},
};
use tokend_core::{credential::CredentialId, time::Timestamp, token::usage::Usage};

use crate::{
    callers::tables::caller_keys,
    error::StoreError,
    row,
    store::Store,
    tokens::tables::tokens,
    transaction::WriteTx,
    usage::tables::{
        caller_key_usage,
        token_usage::{Column, Entity},
    },
};

/// A use of a key is not written if the stored one is less than this long ago.
const KEY_INTERVAL: Duration = Duration::from_secs(60);

impl Store {
    /// Merges usage of tokens with the stored usage in one transaction: a few hundred tokens at most. Skips tokens that
    /// were deleted. Writing the same usage again changes nothing.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was stored.
    pub async fn record_usage(&self, seen: BTreeMap<CredentialId, Usage>) -> Result<(), StoreError> {
        self.write(async move |tx: &WriteTx| tx.record_usage(&seen).await).await
    }

    /// Stores when caller keys were used last, a few hundred at most. A key that is used all the time is written once a
    /// minute. Skips keys that were deleted.
    ///
    /// # Errors
    /// As of [`record_usage`](Self::record_usage).
    pub async fn record_key_usage(&self, seen: BTreeMap<CredentialId, Timestamp>) -> Result<(), StoreError> {
        self.write(async move |tx: &WriteTx| tx.record_key_usage(&seen).await)
            .await
    }
}

impl WriteTx {
    /// Deletes the usage of tokens that are deleted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_usage(&self, tokens: &[CredentialId]) -> Result<(), StoreError> {
        let delete = Entity::delete_many().filter(Column::Token.is_in(keys(tokens)));
        self.change(&delete.into_query()).await.map(|_| ())
    }

    async fn record_usage(&self, seen: &BTreeMap<CredentialId, Usage>) -> Result<(), StoreError> {
        let query = tokens::Entity::find()
            .select_only()
            .column(tokens::Column::Id)
            .filter(tokens::Column::Id.is_in(keys(seen.keys())));
        let found = self.ids(&query.into_query()).await?;
        let there: BTreeMap<_, _> = seen
            .iter()
            .filter(|(token, _)| found.contains(*token))
            .map(|(token, usage)| (*token, usage))
            .collect();
        if there.is_empty() {
            return Ok(());
        }
        let models = || {
            there
                .iter()
                .map(|(token, usage)| super::row::usage_to_model(*token, usage))
        };
        let insert =
            Entity::insert_many(models()).on_conflict(OnConflict::column(Column::Token).do_nothing().to_owned());
        if self.count_changed(&insert.into_query()).await? == there.len() as u64 {
            return Ok(());
        }
        let query = Entity::find()
            .filter(Column::Token.is_in(keys(there.keys())))
            .order_by_asc(Column::Token)
            .lock_exclusive();
        let mut stored = super::row::usage_by_token(&self.find_all(&query.into_query()).await?)?;
        let merged: Vec<_> = there
            .into_iter()
            .filter_map(|(token, seen)| {
                // A row that can't be read is replaced.
                let known = stored.remove(&token);
                let mut merged = known.clone().unwrap_or_else(|| seen.clone());
                merged.merge(seen);
                (known.as_ref() != Some(&merged)).then(|| super::row::usage_to_model(token, &merged))
            })
            .collect();
        if merged.is_empty() {
            return Ok(());
        }
        let replace = OnConflict::column(Column::Token)
            .update_columns([Column::LastUsedTime, Column::Addresses, Column::AskedScopes])
            .to_owned();
        self.change(&Entity::insert_many(merged).on_conflict(replace).into_query())
            .await
            .map(|_| ())
    }

    async fn record_key_usage(&self, seen: &BTreeMap<CredentialId, Timestamp>) -> Result<(), StoreError> {
        use caller_key_usage::{ActiveModel, Column, Entity};

        let query = caller_keys::Entity::find()
            .select_only()
            .column(caller_keys::Column::Id);
        let found = self
            .ids(
                &query
                    .filter(caller_keys::Column::Id.is_in(keys(seen.keys())))
                    .into_query(),
            )
            .await?;
        let there = seen.iter().filter(|(key, _)| found.contains(*key));
        let models: Vec<_> = there
            .map(|(key, at)| ActiveModel {
                key: Set(key.as_bytes().to_vec()),
                last_used_time: Set(at.unix_micros()),
            })
            .collect();
        if models.is_empty() {
            return Ok(());
        }
        let a_minute_later = Expr::col((Entity, Column::LastUsedTime)).add(KEY_INTERVAL.as_micros() as i64);
        let advance = OnConflict::column(Column::Key)
            .update_column(Column::LastUsedTime)
            .action_and_where(Expr::col(("excluded", Column::LastUsedTime)).gte(a_minute_later))
            .to_owned();
        self.change(&Entity::insert_many(models).on_conflict(advance).into_query())
            .await
            .map(|_| ())
    }

    /// Returns the ids in the column `id` of a query's rows.
    async fn ids(&self, query: &SelectStatement) -> Result<BTreeSet<CredentialId>, StoreError> {
        let read = |found: &QueryResult| {
            let id: Vec<u8> = found.try_get("", "id")?;
            row::credential_id(&id)
                .map_err(|problem| StoreError::corrupt("tokens or caller_keys", row::shown_id(&id), problem))
        };
        self.find_all(query).await?.iter().map(read).collect()
    }
}

fn keys<'a>(tokens: impl IntoIterator<Item = &'a CredentialId>) -> impl Iterator<Item = Vec<u8>> {
    tokens.into_iter().map(|token| token.as_bytes().to_vec())
}
