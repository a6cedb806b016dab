//! Reads the feed: what changed since a revision, under which terms memory may be trusted, and what time it is (L1).

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, JoinType, Order, QueryFilter, QueryTrait,
    sea_query::{Expr, ExprTrait, Query, SelectStatement},
};
use tokend_core::{
    feed::{FeedEntry, FeedHead, Revision},
    lease::Terms,
    row_mac::Sealed,
    rule::{self, Rule},
    time::Timestamp,
};

use crate::{
    error::StoreError,
    feed::{
        tables::{feed, feed_log},
        timeline,
    },
    row::{LEFT, RIGHT, select_columns},
    shared::Shared,
    store::Store,
    transaction::WriteTx,
};

/// The most entries that one poll reads.
const MAX_ENTRIES: u64 = 1_000;

/// The number of entries that are kept. Whoever is further behind begins anew.
const KEPT_ENTRIES: u64 = 100_000;

/// The most entries that are purged at once.
const PURGED_AT_ONCE: u64 = 1_000;

/// What a poll of the feed finds, in one snapshot.
#[derive(Clone, Debug)]
pub struct FeedPage {
    /// The revision of the last change, as clients see it.
    pub head: Revision,
    /// How long leases last and changes wait.
    pub terms: Terms,
    /// The database's own time. The test clock's offset is not in it.
    pub reported_time: Timestamp,
    /// The entries after the wanted revision, in order, and at most 1,000. If the first is not the next one, entries
    /// were purged. Their revisions have the epoch of `head`.
    pub entries: Vec<FeedEntry>,
}

impl FeedPage {
    /// Returns whether the page has every entry after `revision` up to the head. If not, there are more, or some were
    /// purged.
    #[must_use]
    pub fn is_complete_after(&self, revision: u64) -> bool {
        let up_to_head = self.entries.last().map_or(revision, |last| last.revision.number) == self.head.number;
        self.is_gapless_after(revision) && up_to_head
    }

    /// Returns whether no entry after `revision` was purged.
    #[must_use]
    pub fn is_gapless_after(&self, revision: u64) -> bool {
        if !rule::is_kept(Rule::GapResets) {
            return true;
        }
        let numbers = self.entries.iter().map(|entry| entry.revision.number);
        (revision + 1..).zip(numbers).all(|(wanted, found)| wanted == found)
            && (!self.entries.is_empty() || self.head.number <= revision)
    }
}

impl Store {
    /// Reads the head of the feed and the entries after `after`, in one statement on the primary.
    ///
    /// # Errors
    /// [`StoreError`], also for entries that fail verification.
    pub async fn poll_feed(&self, after: u64) -> Result<FeedPage, StoreError> {
        self.read(move |shared| async move { poll(&shared, after).await }).await
    }

    /// Purges entries of the feed that are older than the newest 100,000, some at a time. Returns their number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn purge_feed(&self) -> Result<u64, StoreError> {
        self.write::<_, StoreError, _>(async move |tx: &WriteTx| {
            let mut head = Query::select();
            head.expr(Expr::col(feed::Column::Revision).sub(KEPT_ENTRIES.cast_signed()))
                .from(feed::Entity);
            let mut old = Query::select();
            old.column(feed_log::Column::Revision)
                .from(feed_log::Entity)
                .and_where(Expr::col(feed_log::Column::Revision).lte(Expr::SubQuery(None, Box::new(head.into()))))
                .order_by(feed_log::Column::Revision, Order::Asc)
                .limit(PURGED_AT_ONCE);
            let delete = feed_log::Entity::delete_many().filter(feed_log::Column::Revision.in_subquery(old));
            tx.count_changed(&delete.into_query()).await
        })
        .await
    }
}

pub(crate) async fn poll(shared: &Shared, after: u64) -> Result<FeedPage, StoreError> {
    let found = shared.connection.query_all(&query(shared, after)).await?;
    let first = found
        .first()
        .ok_or_else(|| StoreError::corrupt(FeedHead::TABLE, "1".to_owned(), "the row is missing".to_owned()))?;
    let reported_time = shared.read_reported_time(first)?;
    let row_verifier = shared.row_verifier();
    let head = row_verifier.read::<FeedHead>(first, LEFT)?.into_inner();
    let timeline = if shared.is_sqlite() {
        timeline::NONE
    } else {
        timeline::read(first)?
    };
    let entry = |row| {
        let read = row_verifier.read_joined::<FeedEntry>(row, RIGHT).transpose()?;
        Some(read.map(|entry| {
            let entry = entry.into_inner();
            FeedEntry {
                revision: entry.revision.on_timeline(timeline),
                ..entry
            }
        }))
    };
    Ok(FeedPage {
        head: head.revision.on_timeline(timeline),
        terms: head.terms,
        reported_time,
        entries: found.iter().filter_map(entry).collect::<Result<_, _>>()?,
    })
}

/// Selects the feed's row and the entries after `after` of its epoch, beside database time.
fn query(shared: &Shared, after: u64) -> SelectStatement {
    let entry = |column| Expr::col((feed_log::Entity, column));
    let head = |column| Expr::col((feed::Entity, column));
    let is_later = entry(feed_log::Column::Revision)
        .gt(after.cast_signed())
        .and(entry(feed_log::Column::Epoch).eq(head(feed::Column::Epoch)));
    let mut query = Query::select();
    query
        .from(feed::Entity)
        .join(JoinType::LeftJoin, feed_log::Entity, is_later)
        .and_where(head(feed::Column::One).eq(1))
        .order_by((feed_log::Entity, feed_log::Column::Revision), Order::Asc)
        .limit(MAX_ENTRIES);
    select_columns::<feed::Entity>(&mut query, LEFT);
    select_columns::<feed_log::Entity>(&mut query, RIGHT);
    shared.select_now(&mut query);
    if !shared.is_sqlite() {
        query.expr(timeline::column());
    }
    query
}
