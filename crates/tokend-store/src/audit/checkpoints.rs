//! Checkpoints of the audit log, and deleting records that are older than they have to be kept.

use std::collections::HashMap;

use sea_orm::{
    ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::{Expr, ExprTrait, Query},
};
use tokend_core::{
    audit::{Chain, Checkpoint, Head},
    time::Timestamp,
};

use crate::{
    audit::{
        row as audit,
        tables::{audit_chains, audit_checkpoints, audit_events},
    },
    error::StoreError,
    store::Store,
    transaction::WriteTx,
};

/// The number of heads that are read, and of records that are deleted, at once.
const AT_ONCE: u64 = 500;

impl Store {
    /// Returns the heads of some chains, ordered by their keys, after the key `after`, and the key to continue after. A
    /// head that fails verification is an error in its place.
    ///
    /// # Errors
    /// [`StoreError`] of the whole list.
    pub async fn audit_heads(
        &self,
        after: Option<String>,
    ) -> Result<(Vec<Result<Head, StoreError>>, Option<String>), StoreError> {
        self.run(move |shared| async move {
            let mut query = audit_chains::Entity::find()
                .order_by_asc(audit_chains::Column::Chain)
                .limit(AT_ONCE);
            if let Some(after) = after {
                query = query.filter(audit_chains::Column::Chain.gt(after));
            }
            let models = query.all(&shared.connection).await?;
            let next = models
                .last()
                .filter(|_| models.len() as u64 == AT_ONCE)
                .map(|last| last.chain.clone());
            Ok((
                models
                    .into_iter()
                    .map(|model| audit::head(&shared.keys.ring(), model))
                    .collect(),
                next,
            ))
        })
        .await
    }

    /// Returns for each chain, by its key, the sequence number of its newest checkpoint in the database.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn last_checkpoints(&self) -> Result<HashMap<String, u64>, StoreError> {
        self.run(|shared| async move {
            let last = audit_checkpoints::Entity::find()
                .select_only()
                .column(audit_checkpoints::Column::Chain)
                .column_as(audit_checkpoints::Column::Sequence.max(), "last")
                .group_by(audit_checkpoints::Column::Chain)
                .into_tuple::<(String, i64)>();
            let last = last.all(&shared.connection).await?;
            Ok(last
                .into_iter()
                .map(|(chain, sequence)| (chain, sequence.cast_unsigned()))
                .collect())
        })
        .await
    }

    /// Stores checkpoints in the database. A checkpoint of the same record that another server has stored stays.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn store_checkpoints(&self, checkpoints: Vec<Checkpoint>) -> Result<(), StoreError> {
        self.write(async move |tx: &WriteTx| {
            for checkpoint in &checkpoints {
                // Whether the row was inserted or existed makes no difference.
                let _ = tx
                    .insert(audit_checkpoints::Entity::insert(audit::checkpoint_to_model(
                        checkpoint,
                    )))
                    .await?;
            }
            Ok(())
        })
        .await
    }

    /// Deletes records that are older than `keep_since`: of each chain, those up to its newest checkpoint before that
    /// time, so that the rest can still be verified. Deletes a few at a time, under the lock of the chain's head, so
    /// that one of several servers does it and none waits long. Returns the number of chains that were truncated.
    ///
    /// # Errors
    /// [`StoreError`]; nothing of a chain that fails verification is deleted.
    pub async fn truncate_audit(&self, keep_since: Timestamp) -> Result<u64, StoreError> {
        let chains = self.run(move |shared| async move {
            let old = audit_checkpoints::Entity::find()
                .select_only()
                .column(audit_checkpoints::Column::Chain)
                .filter(audit_checkpoints::Column::Time.lte(keep_since.unix_micros()))
                .distinct();
            Ok::<_, StoreError>(old.into_tuple::<String>().all(&shared.connection).await?)
        });
        let mut cut = 0;
        for chain in chains.await?.iter().filter_map(|key| Chain::from_key(key)) {
            let delete_some =
                |chain: Chain| self.write(async move |tx: &WriteTx| tx.delete_some(&chain, keep_since).await);
            let mut was_cut = false;
            while delete_some(chain.clone()).await? {
                was_cut = true;
            }
            cut += u64::from(was_cut);
        }
        Ok(cut)
    }
}

impl WriteTx {
    /// Moves the beginning of the chain, if that was not done before, and deletes some of the records before it.
    /// Returns false if none was left.
    async fn delete_some(&self, chain: &Chain, keep_since: Timestamp) -> Result<bool, StoreError> {
        let Some(head) = self.lock_head(chain).await? else {
            return Ok(false);
        };
        let newest = audit_checkpoints::Entity::find()
            .filter(audit_checkpoints::Column::Chain.eq(chain.as_str()))
            .filter(audit_checkpoints::Column::Time.lte(keep_since.unix_micros()))
            .order_by_desc(audit_checkpoints::Column::Sequence)
            .limit(1);
        let base = match self.find(&newest.into_query()).await? {
            None => head.base_sequence,
            Some(found) => {
                let checkpoint = audit::checkpoint(audit_checkpoints::Model::from_query_result(&found, "")?)?;
                self.truncate_at(head, &checkpoint).await?
            }
        };
        let mut some = Query::select();
        some.column(audit_events::Column::Sequence)
            .from(audit_events::Entity)
            .and_where(audit_events::Column::Chain.eq(chain.as_str()))
            .and_where(audit_events::Column::Sequence.lte(base.cast_signed()))
            .order_by(audit_events::Column::Sequence, sea_orm::Order::Asc)
            .limit(AT_ONCE);
        let delete = audit_events::Entity::delete_many()
            .filter(audit_events::Column::Chain.eq(chain.as_str()))
            .filter(Expr::col(audit_events::Column::Sequence).in_subquery(some));
        let over = audit_checkpoints::Entity::delete_many()
            .filter(audit_checkpoints::Column::Chain.eq(chain.as_str()))
            .filter(audit_checkpoints::Column::Sequence.lt(base.cast_signed()));
        self.change(&over.into_query()).await?;
        self.change(&delete.into_query()).await
    }

    /// Makes the chain begin after `checkpoint`, unless it begins there or later. Returns where it begins.
    async fn truncate_at(&self, head: Head, checkpoint: &Checkpoint) -> Result<u64, StoreError> {
        let (chain, sequence) = (head.chain.as_str().to_owned(), checkpoint.sequence);
        if sequence <= head.base_sequence {
            return Ok(head.base_sequence);
        }
        let key = format!("{chain}/{sequence}");
        let record = audit_events::Entity::find_by_id((chain, sequence.cast_signed()));
        let record = self.find(&record.into_query()).await?;
        let record = record
            .map(|found| audit::record(audit_events::Model::from_query_result(&found, "")?))
            .transpose()?;
        let ring = self.ring().await?;
        let is_as_told = record.is_some_and(|record| record.hash == checkpoint.hash && record.is_intact(ring));
        match head.cut_at(checkpoint, ring) {
            // Deleting records must not hide that the log was tampered with.
            Some(head) if is_as_told && checkpoint.is_intact(ring) => {
                self.update_head(&head).await?;
                Ok(head.base_sequence)
            }
            _ => Err(StoreError::tampered("audit_checkpoints", key)),
        }
    }
}
