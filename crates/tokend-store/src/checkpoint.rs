//! Checkpoints of the audit log, and the cut of what is older than it has to be kept.

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
    entity::{audit_chains, audit_checkpoints, audit_events},
    error::StoreError,
    row::audit,
    store::Store,
    write::WriteTx,
};

/// Heads read, and records deleted, at once.
const AT_ONCE: u64 = 500;

impl Store {
    /// Where the chains end, ordered by their key, some at a time and after the key `after`; and the key to go on after. What was
    /// tampered with is an error in its place.
    ///
    /// # Errors
    /// [`StoreError`] of the whole list.
    pub async fn audit_heads(&self, after: Option<String>) -> Result<(Vec<Result<Head, StoreError>>, Option<String>), StoreError> {
        self.run(move |shared| async move {
            let mut query = audit_chains::Entity::find().order_by_asc(audit_chains::Column::Chain).limit(AT_ONCE);
            if let Some(after) = after {
                query = query.filter(audit_chains::Column::Chain.gt(after));
            }
            let models = query.all(&shared.connection).await?;
            let next = models.last().filter(|_| models.len() as u64 == AT_ONCE).map(|last| last.chain.clone());
            Ok((models.into_iter().map(|model| audit::head(&shared.keys.ring(), model)).collect(), next))
        })
        .await
    }

    /// The last record of each chain that a checkpoint in the database tells of, by the chain's key.
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
            Ok(last.into_iter().map(|(chain, sequence)| (chain, sequence.cast_unsigned())).collect())
        })
        .await
    }

    /// Keeps checkpoints in the database; one that another server has made of the same record stays.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_checkpoints(&self, checkpoints: Vec<Checkpoint>) -> Result<(), StoreError> {
        self.write(move |tx: &WriteTx| {
            Box::pin(async move {
                for checkpoint in &checkpoints {
                    // There is one already, or there is now.
                    let _ = tx.insert(audit_checkpoints::Entity::insert(audit::checkpoint_to_model(checkpoint))).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Deletes the records that are older than `keep_since`, each chain up to its newest checkpoint from before that: from there on
    /// the chain can still be verified. A few at a time, each time under the lock of the chain's head, so that of several servers
    /// one does it and none waits long. Returns how many chains were cut.
    ///
    /// # Errors
    /// [`StoreError`]; of a chain that was tampered with nothing is deleted.
    pub async fn cut_audit(&self, keep_since: Timestamp) -> Result<u64, StoreError> {
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
            let cut_some =
                |chain: Chain| self.write(move |tx: &WriteTx| Box::pin(async move { tx.cut_some(&chain, keep_since).await }));
            let mut was_cut = false;
            while cut_some(chain.clone()).await? {
                was_cut = true;
            }
            cut += u64::from(was_cut);
        }
        Ok(cut)
    }
}

impl WriteTx {
    /// Cuts the chain, if that was not done before, and deletes some of what is cut off. False if there was nothing left.
    async fn cut_some(&self, chain: &Chain, keep_since: Timestamp) -> Result<bool, StoreError> {
        let Some(head) = self.lock_head(chain).await? else { return Ok(false) };
        let newest = audit_checkpoints::Entity::find()
            .filter(audit_checkpoints::Column::Chain.eq(chain.as_str()))
            .filter(audit_checkpoints::Column::Time.lte(keep_since.unix_micros()))
            .order_by_desc(audit_checkpoints::Column::Sequence)
            .limit(1);
        let base = match self.find(&newest.into_query()).await? {
            None => head.base_sequence,
            Some(found) => {
                let checkpoint = audit::checkpoint(audit_checkpoints::Model::from_query_result(&found, "")?)?;
                self.cut_at(head, &checkpoint).await?
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

    /// Has the chain begin behind `checkpoint`, if it does not begin there or later; returns where it begins.
    async fn cut_at(&self, head: Head, checkpoint: &Checkpoint) -> Result<u64, StoreError> {
        let (chain, sequence) = (head.chain.as_str().to_owned(), checkpoint.sequence);
        if sequence <= head.base_sequence {
            return Ok(head.base_sequence);
        }
        let key = format!("{chain}/{sequence}");
        let record = audit_events::Entity::find_by_id((chain, sequence.cast_signed()));
        let record = self.find(&record.into_query()).await?;
        let record = record.map(|found| audit::record(audit_events::Model::from_query_result(&found, "")?)).transpose()?;
        let ring = self.ring().await?;
        let is_as_told = record.is_some_and(|record| record.hash == checkpoint.hash && record.is_intact(ring));
        match head.cut_at(checkpoint, ring) {
            // A cut must not hide what was done to the log.
            Some(head) if is_as_told && checkpoint.is_intact(ring) => {
                self.update_head(&head).await?;
                Ok(head.base_sequence)
            }
            _ => Err(StoreError::tampered("audit_checkpoints", key)),
        }
    }
}
