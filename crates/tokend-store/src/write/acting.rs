//! Who makes a change: looked up once more inside its transaction, and held there.
//!
//! PostgreSQL makes changes side by side. There a change holds its caller, together with the other changes of that caller, and whoever
//! revokes a key of a caller, or deletes it, holds the caller alone: it waits for the changes that are under way, and those that come later
//! see what it did. The hold is an advisory lock, not a lock on a row, because these queue fairly: a caller that makes change after change
//! can't keep its revocation waiting. SQLite makes one change at a time, so that a plain read in the transaction is exact.

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
    /// Together with other changes: of the caller that makes the change.
    Shared,
    /// Alone: of a caller that loses something it could do.
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
        // Two callers of one hash only wait for each other.
        let hash = Func::cust("hashtextextended").args([Expr::val(id.as_str()), Expr::val(0_i64)]);
        let mut query = Query::select();
        query.expr(Func::cust(lock).arg(hash));
        // A statement of its own: what is read after it is what was committed before the lock was had.
        self.count_changed(&query).await.map(|_| ())
    }

    /// What there is of a caller that authenticated before. Hold it first.
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
