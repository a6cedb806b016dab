use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QueryResult, QuerySelect,
    QueryTrait,
};
use tokend_core::audit::{Chain, Head, Record};

use crate::{
    audit::{
        row as audit,
        tables::{audit_chains, audit_events},
    },
    error::StoreError,
    row::cut,
    shared::Shared,
    store::Store,
};

/// A page of a chain of the audit log, newest first.
#[derive(Debug)]
pub struct RecordPage {
    /// The records. A record that fails verification is an error in its place.
    pub records: Vec<Result<Record, StoreError>>,
    /// The sequence number before which the next page starts, if there is one.
    pub next: Option<u64>,
}

impl Store {
    /// Returns where a chain begins and ends. `None` if it does not exist.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn audit_head(&self, chain: &Chain) -> Result<Option<Head>, StoreError> {
        let chain = chain.clone();
        self.run(move |shared| async move { head(&shared, &chain).await }).await
    }

    /// Lists a chain's records, newest first: at most `limit`, before the sequence number `before`. Empty for a chain
    /// that does not exist.
    ///
    /// # Errors
    /// [`StoreError`] of the chain or the whole list; those of single records are in the page.
    pub async fn list_audit(&self, chain: &Chain, before: Option<u64>, limit: u64) -> Result<RecordPage, StoreError> {
        let chain = chain.clone();
        self.list(move |shared| async move { list(&shared, &chain, before, limit).await })
            .await
    }

    /// Returns a chain's records after the sequence number `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`], also if a single record fails: a reader that follows a chain must not miss one.
    pub async fn audit_after(&self, chain: &Chain, after: u64, limit: u64) -> Result<Vec<Record>, StoreError> {
        let chain = chain.clone();
        self.run(move |shared| async move { following(&shared, &chain, after, limit).await })
            .await
    }
}

pub(crate) async fn head(shared: &Shared, chain: &Chain) -> Result<Option<Head>, StoreError> {
    let found = audit_chains::Entity::find_by_id(chain.as_str())
        .one(&shared.connection)
        .await?;
    found.map(|model| audit::head(&shared.keys.ring(), model)).transpose()
}

async fn list(shared: &Shared, chain: &Chain, before: Option<u64>, limit: u64) -> Result<RecordPage, StoreError> {
    let Some(head) = head(shared, chain).await? else {
        return Ok(RecordPage {
            records: Vec::new(),
            next: None,
        });
    };
    // Records that retention has truncated but not deleted yet are not listed.
    let kept = audit_events::Column::Sequence.gt(head.base_sequence.cast_signed());
    let mut query = audit_events::Entity::find()
        .filter(audit_events::Column::Chain.eq(chain.as_str()))
        .filter(kept);
    if let Some(before) = before {
        query = query.filter(audit_events::Column::Sequence.lt(before.cast_signed()));
    }
    let query = query
        .order_by_desc(audit_events::Column::Sequence)
        .limit(limit.saturating_add(1));
    page(shared, shared.connection.query_all(&query.into_query()).await?, limit)
}

/// Returns the page of these rows, which may be one more than `limit`.
pub(crate) fn page(shared: &Shared, mut rows: Vec<QueryResult>, limit: u64) -> Result<RecordPage, StoreError> {
    let next = cut(&mut rows, limit, |row| {
        Ok(row.try_get::<i64>("", "sequence")?.cast_unsigned())
    })?;
    let read = |row| audit::intact_record(&shared.keys.ring(), audit_events::Model::from_query_result(row, "")?);
    Ok(RecordPage {
        records: rows.iter().map(read).collect(),
        next,
    })
}

async fn following(shared: &Shared, chain: &Chain, after: u64, limit: u64) -> Result<Vec<Record>, StoreError> {
    let query = audit_events::Entity::find()
        .filter(audit_events::Column::Chain.eq(chain.as_str()))
        .filter(audit_events::Column::Sequence.gt(after.cast_signed()))
        .order_by_asc(audit_events::Column::Sequence)
        .limit(limit);
    let records = query.all(&shared.connection).await?;
    records
        .into_iter()
        .map(|model| audit::intact_record(&shared.keys.ring(), model))
        .collect()
}
