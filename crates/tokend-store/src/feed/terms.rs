//! Reads and changes how long leases last and changes wait, while servers run (L3).

use std::time::Duration;

use sea_orm::{ConnectionTrait, EntityTrait, QueryTrait};
use tokend_core::{
    feed::FeedHead,
    lease::{Terms, TermsOutOfRange},
    rule::{self, Rule},
};

use crate::{error::StoreError, feed::tables::feed, store::Store, transaction::WriteTx};

/// Why the wait was not lowered.
#[derive(Debug, thiserror::Error)]
pub enum LowerLeaseError {
    /// Someone else has changed the lease in the meantime.
    #[error("the lease was changed by someone else in the meantime; run `tokend lease show` to see it")]
    ChangedMeanwhile,
    /// A fault of the database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the lease was not changed.
#[derive(Debug, thiserror::Error)]
pub enum SetLeaseError {
    /// The duration is out of its range.
    #[error(transparent)]
    OutOfRange(#[from] TermsOutOfRange),
    /// A fault of the database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A lease that was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseChange {
    /// The terms now.
    pub terms: Terms,
    /// Leases of the former terms have ended after this time. Then call [`Store::lower_wait`], if changes still wait
    /// longer than leases last.
    pub former_leases_end_within: Duration,
}

impl Store {
    /// Returns how long leases last and changes wait.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lease_terms(&self) -> Result<Terms, StoreError> {
        self.run(|shared| async move {
            let query = feed::Entity::find().into_query();
            let found = shared.connection.query_one(&query).await?;
            let found =
                found.ok_or_else(|| StoreError::corrupt("feed", "1".to_owned(), "the row is missing".to_owned()))?;
            let head = shared.row_verifier().read::<FeedHead>(&found, "")?.into_inner();
            Ok(head.terms)
        })
        .await
    }

    /// Makes leases last for `lease` from now on, and changes wait at least as long. If that shortens leases, changes go
    /// on waiting for the former ones.
    ///
    /// # Errors
    /// [`SetLeaseError`].
    pub async fn set_lease(&self, lease: Duration) -> Result<LeaseChange, SetLeaseError> {
        Terms::check(lease)?;
        self.write(async move |tx: &WriteTx| {
            let read = tx.lock_feed().await?;
            let former = read.terms;
            let terms = former.with_lease(lease);
            tx.set_terms(&read, terms).await?;
            Ok(LeaseChange {
                terms,
                former_leases_end_within: former.full_wait(),
            })
        })
        .await
    }

    /// Makes changes wait no longer than leases last. `terms` are those of [`set_lease`](Self::set_lease), and its time has
    /// passed.
    ///
    /// # Errors
    /// [`LowerLeaseError`].
    pub async fn lower_wait(&self, terms: Terms) -> Result<Terms, LowerLeaseError> {
        self.write(async move |tx: &WriteTx| {
            let read = tx.lock_feed().await?;
            if read.terms != terms && rule::is_kept(Rule::LowerIsGuarded) {
                return Err(LowerLeaseError::ChangedMeanwhile);
            }
            let lowered = terms.with_wait_of_lease();
            tx.set_terms(&read, lowered).await?;
            Ok(lowered)
        })
        .await
    }
}
