//! Stores each permanent revocation as a line, in the transaction of the revocation, so that exports are complete.

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, QueryFilter, QueryTrait,
    sea_query::{Expr, OnConflict, Query},
};
use tokend_core::{
    feed::FeedHead,
    revocation::{Place, RevocationRecord},
};

use crate::{
    error::StoreError,
    revocations::{reads::StoredRevocation, tables::endings},
    transaction::WriteTx,
};

const TABLE: &str = "endings";

impl WriteTx {
    /// Stores lines of a file again, at their positions in the file. Replaces all lines from the position of the first
    /// one on. Use it in [`Store::write_advancing`](crate::Store::write_advancing).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn import_revocations(&self, lines: Vec<StoredRevocation>) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
            return Ok(());
        };
        let (first, last_revocation) = (first.place.position, last.place.position);
        let read = self.lock_feed().await?;
        let replaced = endings::Entity::delete_many().filter(endings::Column::Position.gte(first.cast_signed()));
        self.change(&replaced.into_query()).await?;
        self.insert_lines(lines).await?;
        self.update_feed(
            &FeedHead {
                last_revocation,
                ..(*read).clone()
            },
            Some(&read),
        )
        .await
        .map(drop)
    }

    /// Stores revocations after the position `last`. Requires the lock of the feed's row, so that positions have the
    /// order of commits, without gaps.
    pub(crate) async fn store_revocations(
        &self,
        epoch: u64,
        last: u64,
        endings: &[RevocationRecord],
    ) -> Result<(), StoreError> {
        if endings.is_empty() {
            return Ok(());
        }
        let ring = self.ring().await?;
        let line = |(ending, position)| {
            let place = Place { epoch, position };
            StoredRevocation {
                place,
                line: ring.write_revocation(place, ending),
            }
        };
        self.insert_lines(endings.iter().zip(last + 1..).map(line).collect())
            .await
    }

    /// Returns the last position in the table; 0 if it is empty.
    pub(crate) async fn last_position(&self) -> Result<u64, StoreError> {
        let mut last = Query::select();
        last.expr_as(Expr::cust("coalesce(max(position), 0)"), "last")
            .from(endings::Entity);
        let last: i64 = self.find(&last).await?.map_or(Ok(0), |row| row.try_get("", "last"))?;
        Ok(last.unsigned_abs())
    }

    async fn insert_lines(&self, lines: Vec<StoredRevocation>) -> Result<(), StoreError> {
        let (count, last) = (lines.len() as u64, lines.last().map_or(0, |last| last.place.position));
        let rows = lines.into_iter().map(
            |StoredRevocation {
                 place: Place { epoch, position },
                 line,
             }| endings::ActiveModel {
                position: Set(position.cast_signed()),
                epoch: Set(epoch.cast_signed()),
                line: Set(line),
            },
        );
        let insert = endings::Entity::insert_many(rows).on_conflict(OnConflict::new().do_nothing().to_owned());
        if self.count_changed(&insert.into_query()).await? == count {
            return Ok(());
        }
        // Someone else has stored a line after the last one that the feed's row counts.
        Err(StoreError::corrupt(
            TABLE,
            last.to_string(),
            "it, or one before it, is there already".to_owned(),
        ))
    }
}
