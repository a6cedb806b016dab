//! What ended for good is kept as a line, in the transaction that ended it, so that it can be exported without a loss.

use std::sync::PoisonError;

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, QueryFilter, QueryTrait,
    sea_query::{Expr, OnConflict, Query},
};
use tokend_core::{
    ending::{Ending, Place},
    feed::FeedHead,
};

use super::WriteTx;
use crate::{entity::endings, error::StoreError, read::StoredEnding};

const TABLE: &str = "endings";

impl WriteTx {
    /// Stores lines of a file again, at the positions that they have there; what stands at or behind the first of them is replaced. For
    /// [`Store::write_advancing`](crate::Store::write_advancing).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn import_endings(&self, lines: Vec<StoredEnding>) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Ok(()) };
        let (first, last_ending) = (first.place.position, last.place.position);
        let read = self.lock_feed().await?;
        let replaced = endings::Entity::delete_many().filter(endings::Column::Position.gte(first.cast_signed()));
        self.change(&replaced.into_query()).await?;
        self.insert_lines(lines).await?;
        self.update_feed(&FeedHead { last_ending, ..(*read).clone() }, Some(&read)).await
    }

    /// Stores no lines of what this transaction has ended so far: they are imported.
    pub fn leave_endings_to_import(&self) {
        drop(self.take_endings());
    }

    /// Notes what ended; it is stored with the revision.
    pub(super) fn ends(&self, ending: Ending) {
        self.endings.lock().unwrap_or_else(PoisonError::into_inner).push(ending);
    }

    /// Whether something ended that is not stored.
    pub(super) fn has_endings(&self) -> bool {
        !self.endings.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(super) fn take_endings(&self) -> Vec<Ending> {
        std::mem::take(&mut *self.endings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Stores what ended, behind the position `last`. The feed's row is locked: its lock makes the order of positions that of commits,
    /// without gaps.
    pub(super) async fn store_endings(&self, epoch: u64, last: u64, endings: &[Ending]) -> Result<(), StoreError> {
        if endings.is_empty() {
            return Ok(());
        }
        let ring = self.ring().await?;
        let line = |(ending, position)| {
            let place = Place { epoch, position };
            StoredEnding { place, line: ring.write_ending(place, ending) }
        };
        self.insert_lines(endings.iter().zip(last + 1..).map(line).collect()).await
    }

    /// The last position in the table; 0 if it is empty.
    pub(super) async fn last_position(&self) -> Result<u64, StoreError> {
        let mut last = Query::select();
        last.expr_as(Expr::cust("coalesce(max(position), 0)"), "last").from(endings::Entity);
        let last: i64 = self.find(&last).await?.map_or(Ok(0), |row| row.try_get("", "last"))?;
        Ok(last.unsigned_abs())
    }

    async fn insert_lines(&self, lines: Vec<StoredEnding>) -> Result<(), StoreError> {
        let (count, last) = (lines.len() as u64, lines.last().map_or(0, |last| last.place.position));
        let rows = lines.into_iter().map(|StoredEnding { place: Place { epoch, position }, line }| endings::ActiveModel {
            position: Set(position.cast_signed()),
            epoch: Set(epoch.cast_signed()),
            line: Set(line),
        });
        let insert = endings::Entity::insert_many(rows).on_conflict(OnConflict::new().do_nothing().to_owned());
        if self.count_changed(&insert.into_query()).await? == count {
            return Ok(());
        }
        // Somebody else has written behind the last that the feed's row knows of.
        Err(StoreError::corrupt(TABLE, last.to_string(), "it, or one before it, is there already".to_owned()))
    }
}
