//! Lists of audit records that match a filter.
//!
//! The database applies the filter as far as it can, and `tokend-core` decides. Each call and each statement reads a
//! bounded number of records. Sequence numbers have no gaps, so arithmetic limits the range of a statement.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};
use tokend_core::{audit::Chain, filter::EventFilter};

use crate::{
    audit::{
        filter_sql::EventFilterSql,
        reads::{RecordPage, head, page},
        tables::audit_events::{Column, Entity},
    },
    error::StoreError,
    shared::Shared,
    store::Store,
};

/// The maximum number of records that a statement reads.
const AT_ONCE: u64 = 1_000;

/// The maximum number of records that one page of a filtered list reads.
pub const MAX_EXAMINED_RECORDS: u64 = 10_000;

impl Store {
    /// Lists a chain's records that match `filter`, newest first: at most `limit`, before the sequence number `before`.
    /// Reads at most [`MAX_EXAMINED_RECORDS`], so a page may be short or empty and still have a next page. Empty for a
    /// chain that does not exist.
    ///
    /// # Errors
    /// As of [`list_audit`](Self::list_audit).
    pub async fn filtered_audit(
        &self,
        chain: &Chain,
        filter: EventFilter,
        before: Option<u64>,
        limit: u64,
    ) -> Result<RecordPage, StoreError> {
        let chain = chain.clone();
        self.list(move |shared| async move { filtered(&shared, &chain, &filter, before, limit).await })
            .await
    }
}

async fn filtered(
    shared: &Shared,
    chain: &Chain,
    filter: &EventFilter,
    before: Option<u64>,
    limit: u64,
) -> Result<RecordPage, StoreError> {
    let Some(head) = head(shared, chain).await? else {
        return Ok(RecordPage {
            records: Vec::new(),
            next: None,
        });
    };
    let end = head.sequence.saturating_add(1);
    let mut before = before.unwrap_or(end).min(end);
    // Records that retention has truncated but not deleted yet are not listed.
    let last = before
        .saturating_sub(1)
        .saturating_sub(MAX_EXAMINED_RECORDS)
        .max(head.base_sequence);
    let mut records = Vec::new();
    let next = loop {
        let examined_after = before.saturating_sub(1).saturating_sub(AT_ONCE).max(last);
        let query = Entity::find()
            .filter(Column::Chain.eq(chain.as_str()))
            .filter(Column::Sequence.gt(examined_after.cast_signed()))
            .filter(Column::Sequence.lt(before.cast_signed()))
            .filter(
                EventFilterSql {
                    is_sqlite: shared.is_sqlite(),
                }
                .of(filter),
            )
            .order_by_desc(Column::Sequence);
        let room = limit.saturating_sub(records.len() as u64);
        let reading = shared.read_much().await;
        let rows = shared
            .connection
            .query_all(&query.limit(room.saturating_add(1)).into_query())
            .await?;
        drop(reading);
        let mut page = page(shared, rows, room)?;
        page.records
            .retain(|record| record.as_ref().map_or(true, |record| filter.matches(record)));
        records.append(&mut page.records);
        before = page.next.unwrap_or(examined_after + 1);
        if records.len() as u64 >= limit || before <= last + 1 {
            // The next page continues with the records before.
            break (before > head.base_sequence + 1).then_some(before);
        }
    };
    Ok(RecordPage { records, next })
}
