//! What ended for good is kept as a line, in the transaction that ended it, so that it can be exported without a loss.

use std::sync::PoisonError;

use sea_orm::{
    ActiveValue::Set,
    EntityTrait,
    sea_query::{Expr, ExprTrait, Query},
};
use tokend_core::ending::{Ending, Place};

use super::{Insert, WriteTx};
use crate::{
    entity::{endings, feed},
    error::StoreError,
};

const TABLE: &str = "endings";

impl WriteTx {
    /// Begins another epoch: positions and revisions told before stand for nothing any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn begin_epoch(&self, epoch: u64) -> Result<(), StoreError> {
        // PostgreSQL and SQLite have no unsigned numbers.
        let epoch = (epoch >> 1).cast_signed();
        let mut update = Query::update();
        update.table(feed::Entity).value(feed::Column::Epoch, epoch).and_where(Expr::col(feed::Column::One).eq(1));
        self.change(&update).await.map(|_| ())
    }

    /// Notes what ended; it is stored with the revision.
    pub(super) fn ends(&self, ending: Ending) {
        self.endings.lock().unwrap_or_else(PoisonError::into_inner).push(ending);
    }

    /// Whether something ended that is not stored.
    pub(super) fn has_endings(&self) -> bool {
        !self.endings.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Stores what ended, behind the feed's row: its lock makes the order of positions that of commits, without gaps.
    pub(super) async fn store_endings(&self, epoch: u64) -> Result<(), StoreError> {
        let endings = std::mem::take(&mut *self.endings.lock().unwrap_or_else(PoisonError::into_inner));
        if endings.is_empty() {
            return Ok(());
        }
        let mut last = Query::select();
        last.expr_as(Expr::cust("coalesce(max(position), 0)"), "last").from(endings::Entity);
        let last: i64 = self.find(&last).await?.map_or(Ok(0), |row| row.try_get("", "last"))?;
        for (ending, position) in endings.iter().zip(last + 1..) {
            let place = Place { epoch, position: position.unsigned_abs() };
            let row = endings::ActiveModel {
                position: Set(position),
                epoch: Set(epoch.cast_signed()),
                line: Set(self.ring().await?.write_ending(place, ending)),
            };
            if self.insert(endings::Entity::insert(row)).await? != Insert::Done {
                return Err(StoreError::corrupt(TABLE, position.to_string(), "it is there already".to_owned()));
            }
        }
        Ok(())
    }
}
