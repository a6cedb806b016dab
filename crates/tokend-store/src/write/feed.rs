//! The feed's row: the last lock of every change that may end a verdict. Whatever is stored in it is sealed, and only what was sealed is
//! built on.

use std::sync::atomic::Ordering;

use sea_orm::{
    ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QuerySelect, QueryTrait,
    sea_query::{Expr, UpdateStatement},
};
use tokend_core::{
    audit::{Chain, Head},
    feed::FeedHead,
    revision::Revision,
    row_mac::{RowMac, Sealed},
};

use super::{Locked, WriteTx};
use crate::{
    entity::feed,
    error::StoreError,
    installation::GRANT,
    row::{self, Row},
};

/// The key of the feed's one row.
const ONE: &str = "1";

impl WriteTx {
    /// Takes the next revision and stores what ended in it: the row's lock, held until COMMIT, makes the order of revisions and of
    /// endings the order of commits.
    pub(super) async fn advance(&self) -> Result<Revision, StoreError> {
        let read = self.lock_feed().await?;
        let endings = self.take_endings();
        let head = (*read).clone().advanced(endings.len() as u64);
        self.update_feed(&head, Some(&read)).await?;
        self.store_endings(head.revision.epoch, read.last_ending, &endings).await?;
        Ok(head.revision)
    }

    /// SQLite: stores the time of this transaction, so that time never falls below it again.
    pub(super) async fn store_time(&self) -> Result<(), StoreError> {
        if self.shared.is_sqlite() {
            let mut update = feed::Entity::update_many().into_query();
            self.raise_floor_in(&mut update).await?;
            self.change(&update).await?;
        }
        Ok(())
    }

    /// Begins a restore: another epoch, in which no revision that was returned before means anything, and a mark that keeps every server
    /// from starting until [`finish_restore`](Self::finish_restore). The row is sealed anew, whoever wrote it last.
    ///
    /// # Errors
    /// [`StoreError`]; [`Tampered`](StoreError::Tampered) if somebody else has written to the audit log.
    pub async fn begin_restore(&self, epoch: u64) -> Result<(), StoreError> {
        self.note_seal().await?;
        let last_ending = self.last_position().await?;
        let (number, grant, wait) = match self.lock_feed().await {
            Ok(read) => (read.revision.number, read.grant, read.wait),
            // Nothing that it says is worth keeping.
            Err(StoreError::Tampered { .. } | StoreError::Corrupt { .. }) => (0, GRANT, GRANT),
            Err(error) => return Err(error),
        };
        // PostgreSQL and SQLite have no unsigned numbers.
        let revision = Revision { epoch: epoch >> 1, number };
        self.update_feed(&FeedHead { revision, last_ending, is_restoring: true, grant, wait }, None).await
    }

    /// Takes the mark of a restore away: servers may start.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn finish_restore(&self) -> Result<(), StoreError> {
        let read = self.lock_feed().await?;
        self.update_feed(&FeedHead { is_restoring: false, ..(*read).clone() }, Some(&read)).await
    }

    /// Seals the row of an installation that an older tokend made, if that was never done. A row that lost its seal stays as it is: it is
    /// refused.
    pub(crate) async fn seal_feed_once(&self) -> Result<(), StoreError> {
        if !self.note_seal().await? {
            return Ok(());
        }
        let query = feed::Entity::find().lock_exclusive();
        let found = self.find(&query.into_query()).await?.ok_or_else(missing)?;
        let model = feed::Model::from_query_result(&found, "")?;
        if model.mac.is_some() {
            // Only a head of the chain that was put back, or a chain that was deleted and begun again, does not know of a seal.
            return Err(chain_gone());
        }
        let head = FeedHead::from_model(model).map_err(corrupt)?;
        self.update_feed(&head, None).await
    }

    /// Has the installation's chain say that the feed is sealed. Whether it did not before.
    pub(crate) async fn note_seal(&self) -> Result<bool, StoreError> {
        let head = self.lock_head(&Chain::Installation).await?.ok_or_else(chain_gone)?;
        if head.is_feed_sealed {
            return Ok(false);
        }
        self.update_head(&Head { is_feed_sealed: true, kid: self.ring().await?.active_kid(), ..head }).await?;
        Ok(true)
    }

    /// Reads the row under its lock.
    pub(super) async fn lock_feed(&self) -> Result<Locked<FeedHead>, StoreError> {
        self.read_one(&feed::Entity::find().lock_exclusive().into_query()).await?.ok_or_else(missing)
    }

    /// Stores `head` in place of the row that was read, or of whatever is there.
    pub(super) async fn update_feed(&self, head: &FeedHead, read: Option<&Locked<FeedHead>>) -> Result<(), StoreError> {
        let mac = self.seal(head).await?;
        let is_read = |mac: &RowMac| feed::Column::Mac.eq(mac.to_bytes().to_vec());
        let mut update = feed::Entity::update_many()
            .set(row::feed_to_model(head, &mac))
            .filter(feed::Column::One.eq(1))
            .filter(sea_orm::Condition::all().add_option(read.map(|read| is_read(&read.mac))))
            .into_query();
        if self.shared.is_sqlite() {
            self.raise_floor_in(&mut update).await?;
        }
        match self.change(&update).await? {
            true => Ok(()),
            false => Err(StoreError::tampered(FeedHead::TABLE, ONE.to_owned())),
        }
    }

    async fn raise_floor_in(&self, update: &mut UpdateStatement) -> Result<(), StoreError> {
        self.raise_time_floor(self.now().await?);
        let floor = self.floor.load(Ordering::Relaxed);
        update.value(feed::Column::TimeFloor, Expr::cust_with_values("max(time_floor, ?)", [floor]));
        Ok(())
    }
}

fn chain_gone() -> StoreError {
    StoreError::tampered("audit_chains", Chain::INSTALLATION.to_owned())
}

fn missing() -> StoreError {
    corrupt("the row is missing".to_owned())
}

fn corrupt(problem: String) -> StoreError {
    StoreError::corrupt(FeedHead::TABLE, ONE.to_owned(), problem)
}
