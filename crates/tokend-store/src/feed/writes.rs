//! Writes the feed's row, which is the last lock of every change that may change an allow verdict to a deny. The row is
//! sealed, and a change updates it only if its seal is valid.

use std::sync::atomic::Ordering;

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, QueryFilter, QuerySelect, QueryTrait,
    sea_query::{Expr, Query, UpdateStatement},
};
use tokend_core::{
    audit::{Chain, Head},
    change::{Change, RestoreSummary},
    feed::{FeedEntry, FeedHead, Revision},
    lease::Terms,
    row_mac::{RowMac, Sealed},
};

use crate::{
    error::StoreError,
    feed::{
        tables::{feed, feed_log},
        timeline,
    },
    row::{Locked, Row},
    transaction::{Advance, WriteTx},
};

/// The key of the feed's one row.
const ONE: &str = "1";

/// A revision that was taken and not yet committed.
pub(crate) struct Advanced {
    /// The revision as clients see it.
    pub(crate) revision: Revision,
    /// The terms that the statement that took the revision has read (C4).
    pub(crate) terms: Terms,
    pub(crate) entry: FeedEntry,
}

impl WriteTx {
    /// Takes the next revision, stores its entry of the feed and its lines of the revocations file. The row's lock is held
    /// until COMMIT, so that revisions and lines have the order of commits. The row is updated last, so that no other
    /// statement is sent while all other writes wait.
    pub(crate) async fn advance(&self, advance: Advance) -> Result<Advanced, StoreError> {
        let Advance {
            records,
            subjects,
            finishes_restore,
        } = advance;
        let read = self.lock_feed().await?;
        let head = (*read).clone().advanced(records.len() as u64);
        let head = FeedHead {
            is_restoring: head.is_restoring && !finishes_restore,
            ..head
        };
        self.store_revocations(head.revision.epoch, read.last_revocation, &records)
            .await?;
        let entry = FeedEntry::new(head.revision, subjects);
        self.insert_entry(&entry).await?;
        let timeline = self.update_feed(&head, Some(&read)).await?;
        Ok(Advanced {
            revision: head.revision.on_timeline(timeline),
            terms: head.terms,
            entry,
        })
    }

    async fn insert_entry(&self, entry: &FeedEntry) -> Result<(), StoreError> {
        let mac = self.seal(entry).await?;
        let row = feed_log::ActiveModel {
            revision: Set(entry.revision.number.cast_signed()),
            epoch: Set(entry.revision.epoch.cast_signed()),
            body: Set(entry.body()),
            mac: Set(mac.to_bytes().to_vec()),
        };
        let insert = feed_log::Entity::insert(row).into_query();
        self.count_changed(&insert).await.map(drop)
    }

    /// Changes how long leases last and changes wait. `terms` follow from `read`.
    pub(crate) async fn set_terms(&self, read: &Locked<FeedHead>, terms: Terms) -> Result<(), StoreError> {
        let head = FeedHead {
            terms,
            ..(**read).clone()
        };
        self.update_feed(&head, Some(read)).await.map(drop)
    }

    /// SQLite: stores the time of this transaction, so that time never falls below it again.
    pub(crate) async fn store_time(&self) -> Result<(), StoreError> {
        if self.shared.is_sqlite() {
            let mut update = feed::Entity::update_many().into_query();
            self.raise_floor_in(&mut update).await?;
            self.change(&update).await?;
        }
        Ok(())
    }

    /// Begins a restore. Sets a new epoch, in which revisions that were returned before have no meaning, and a mark
    /// that prevents all servers from starting until [`finish_restore`](Self::finish_restore). Seals the row again,
    /// even if its seal was invalid.
    ///
    /// # Errors
    /// [`StoreError`]; [`Tampered`](StoreError::Tampered) if someone else has written to the audit log.
    pub async fn begin_restore(&self, epoch: u64) -> Result<(), StoreError> {
        self.note_seal().await?;
        let last_revocation = self.last_position().await?;
        let (number, terms) = match self.lock_feed().await {
            Ok(read) => (read.revision.number, read.terms),
            // A row with an invalid seal has nothing worth keeping.
            Err(StoreError::Tampered { .. } | StoreError::Corrupt { .. }) => (0, Terms::default()),
            Err(error) => return Err(error),
        };
        // Entries of the old epoch mean nothing in the new one.
        self.count_changed(&feed_log::Entity::delete_many().into_query())
            .await?;
        // PostgreSQL and SQLite have no unsigned numbers.
        let revision = Revision {
            epoch: epoch >> 1,
            number,
        };
        self.update_feed(
            &FeedHead {
                revision,
                last_revocation,
                is_restoring: true,
                terms,
            },
            None,
        )
        .await
        .map(drop)
    }

    /// Finishes a restore: records what was restored, and makes the next revision remove the mark, so that servers may
    /// start. Use it in [`Store::write_advancing`](crate::Store::write_advancing).
    pub fn finish_restore(&self, summary: RestoreSummary) {
        self.record(Change::InstallationRestored(summary));
    }

    /// Seals the row of an installation that an older tokend created, if it was never sealed. A row that lost its seal
    /// stays as it is, and is rejected.
    pub(crate) async fn seal_feed_once(&self) -> Result<(), StoreError> {
        if !self.note_seal().await? {
            return Ok(());
        }
        let query = feed::Entity::find().lock_exclusive();
        let found = self.find(&query.into_query()).await?.ok_or_else(missing)?;
        let model = feed::Model::from_query_result(&found, "")?;
        if model.mac.is_some() {
            // The chain's head does not know of the seal: an older head was restored, or the chain was deleted and
            // started again.
            return Err(chain_gone());
        }
        let head = FeedHead::from_model(model).map_err(corrupt)?;
        self.update_feed(&head, None).await.map(drop)
    }

    /// Records in the head of the installation's chain that the feed is sealed. Returns false if that was recorded
    /// before.
    pub(crate) async fn note_seal(&self) -> Result<bool, StoreError> {
        let head = self.lock_head(&Chain::Installation).await?.ok_or_else(chain_gone)?;
        if head.is_feed_sealed {
            return Ok(false);
        }
        self.update_head(&Head {
            is_feed_sealed: true,
            kid: self.ring().await?.active_kid(),
            ..head
        })
        .await?;
        Ok(true)
    }

    /// Reads the row under its lock.
    pub(crate) async fn lock_feed(&self) -> Result<Locked<FeedHead>, StoreError> {
        self.read_one(&feed::Entity::find().lock_exclusive().into_query())
            .await?
            .ok_or_else(missing)
    }

    /// Replaces the row that was read, or any row if `read` is `None`, with `head`. Returns the timeline on which that is
    /// committed.
    pub(crate) async fn update_feed(
        &self,
        head: &FeedHead,
        read: Option<&Locked<FeedHead>>,
    ) -> Result<u32, StoreError> {
        let mac = self.seal(head).await?;
        let is_read = |mac: &RowMac| feed::Column::Mac.eq(mac.to_bytes().to_vec());
        let mut update = feed::Entity::update_many()
            .set(super::row::to_model(head, &mac))
            .filter(feed::Column::One.eq(1))
            .filter(sea_orm::Condition::all().add_option(read.map(|read| is_read(&read.mac))))
            .into_query();
        let replaced = if self.shared.is_sqlite() {
            self.raise_floor_in(&mut update).await?;
            self.change(&update).await?.then_some(timeline::NONE)
        } else {
            update.returning(Query::returning().expr(timeline::column()));
            let row = self.noting_failure(self.tx.query_one(&update).await)?;
            row.map(|row| timeline::read(&row)).transpose()?
        };
        replaced.ok_or_else(|| StoreError::tampered(FeedHead::TABLE, ONE.to_owned()))
    }

    async fn raise_floor_in(&self, update: &mut UpdateStatement) -> Result<(), StoreError> {
        self.raise_time_floor(self.now().await?);
        let floor = self.floor.load(Ordering::Relaxed);
        update.value(
            feed::Column::TimeFloor,
            Expr::cust_with_values("max(time_floor, ?)", [floor]),
        );
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
