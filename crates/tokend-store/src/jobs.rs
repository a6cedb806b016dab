//! Background jobs that one server does for all servers.

use sea_orm::sea_query::{Expr, Query};

use crate::{error::StoreError, transaction::WriteTx};

/// A background job that one server does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Recording notices of the expiry of tokens and caller keys.
    Notices,
    /// Deleting tokens whose retention has passed.
    Retention,
}

impl WriteTx {
    /// Tries to take the lock of a job, without waiting. Returns false if another server holds it.
    ///
    /// The lock ends with the transaction, even if the server dies. It only saves work: conditional changes ensure that
    /// nothing is done twice. On SQLite there is one server, which always gets the lock.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn try_lock_job(&self, job: Job) -> Result<bool, StoreError> {
        if self.shared.is_sqlite() {
            return Ok(true);
        }
        let lock: i64 = match job {
            Job::Notices => 8_390_042_706_830_227,
            Job::Retention => 8_390_042_706_830_228,
        };
        let mut query = Query::select();
        query.expr_as(Expr::cust(format!("pg_try_advisory_xact_lock({lock})")), "taken");
        let found = self.find(&query).await?;
        Ok(found.map_or(Ok(false), |row| row.try_get("", "taken"))?)
    }
}
