//! The caller that makes a change is looked up inside the change's transaction, and held until its end.
//!
//! PostgreSQL runs changes side by side. There a change holds its caller together with the caller's other changes, and the revocation of a
//! caller's key, or the caller's deletion, holds it alone: it waits for the changes under way, and later changes see what it did. The hold is
//! an advisory lock rather than a row lock, because advisory locks queue fairly: with row locks, a caller that makes change after change
//! could keep its own revocation waiting. SQLite runs one change at a time, so that a plain read in the transaction is exact.

use sea_orm::sea_query::{Expr, Func, Query};
use tokend_core::name::CallerId;

use super::WriteTx;
use crate::{
    error::StoreError,
    read::{CallerNow, CallerRef, known_caller},
};

/// How a change holds a caller, until its transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerHold {
    /// Together with other changes: for the caller that makes the change.
    Shared,
    /// Alone: for a caller that loses a key, or is deleted.
    Exclusive,
}

impl WriteTx {
    /// Holds a caller. To be called before anything else is locked, and for one caller only, so that no two changes wait for each other.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn hold_caller(&self, id: &CallerId, hold: CallerHold) -> Result<(), StoreError> {
        if self.shared.is_sqlite() {
            return Ok(());
        }
        let lock = match hold {
            CallerHold::Shared => "pg_advisory_xact_lock_shared",
            CallerHold::Exclusive => "pg_advisory_xact_lock",
        };
        // If two callers have the same hash, they only wait for each other.
        let hash = Func::cust("hashtextextended").args([Expr::val(id.as_str()), Expr::val(0_i64)]);
        let mut query = Query::select();
        query.expr(Func::cust(lock).arg(hash));
        // A statement of its own: a later one sees everything that was committed before the lock was granted.
        self.count_changed(&query).await.map(|_| ())
    }

    /// Looks up a caller that authenticated before. Hold it first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn known_caller(&self, by: &CallerRef) -> Result<CallerNow, StoreError> {
        let mut query = known_caller::query(by);
        self.shared.select_now(&mut query);
        let missing = || StoreError::corrupt("feed", "1".to_owned(), "the row is missing".to_owned());
        let found = self.find(&query).await?.ok_or_else(|| self.failing(missing()))?;
        let now = self.shared.read_now(&found)?;
        known_caller::read(self.judge().await?, &found, by, now)
    }
}
