//! A connection while somebody uses it.

use std::time::Duration;

use sea_orm::DbErr;
use tokend_core::clock::BootTime;

use super::{Connection, Pool, driver_error, is_not_primary};
use crate::error::is_of_server;

/// A connection that was unused for longer than this is checked before it is used.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// A connection that was opened longer ago than this is closed when it is given back while another is free, so that nobody has to wait
/// for the one that replaces it.
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 60);

/// A connection, and what is known of it.
pub(super) struct Pooled {
    pub(super) connection: Connection,
    pub(super) opened: BootTime,
    pub(super) used: BootTime,
    /// [`Target::generation`] when it was opened.
    pub(super) generation: u64,
}

/// A connection of a pool. It is closed when this is dropped; [`give_back`](Self::give_back) keeps it.
pub(super) struct Lease {
    pooled: Option<Pooled>,
    pool: Pool,
}

impl Lease {
    /// Lends a connection of `pool`, which has counted it.
    pub(super) const fn new(pooled: Pooled, pool: Pool) -> Self {
        Self { pooled: Some(pooled), pool }
    }

    /// Whether the connection can still be used: it is of this generation, and works.
    pub(super) async fn is_usable(&mut self) -> bool {
        let now = self.pool.inner.clock.boot_time();
        let generation = self.pool.inner.target.generation();
        let Some(pooled) = &mut self.pooled else { return false };
        if pooled.generation != generation {
            return false;
        }
        if now.saturating_since(pooled.used) <= TRUSTED_FOR {
            return true;
        }
        match pooled.connection.check().await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "a connection to the database is replaced");
                if is_not_primary(&error) {
                    self.pool.inner.target.end_generation(pooled.generation);
                }
                false
            }
        }
    }

    /// Does `work` with the connection.
    pub(super) async fn with<T>(&mut self, work: impl AsyncFnOnce(&mut Connection) -> Result<T, DbErr>) -> Result<T, DbErr> {
        let Some(pooled) = &mut self.pooled else { return Err(driver_error(sqlx::Error::PoolClosed)) };
        let done = work(&mut pooled.connection).await;
        if done.as_ref().is_err_and(is_of_server) {
            self.pool.inner.target.end_generation(pooled.generation);
        }
        done
    }

    pub(super) fn is_sqlite(&self) -> bool {
        self.pool.inner.target.is_sqlite()
    }

    /// Keeps the connection for others. Only for one that is outside of a transaction and works.
    pub(super) async fn give_back(mut self) {
        if let Some(pooled) = self.pooled.take() {
            let _ended = Ended(&self.pool);
            let used = self.pool.inner.clock.boot_time();
            let is_old = used.saturating_since(pooled.opened) > LONGEST_LIFE && self.pool.has_unused();
            let closed = if is_old { Err(pooled) } else { self.pool.keep(Pooled { used, ..pooled }) };
            if let Err(pooled) = closed {
                pooled.connection.close().await;
            }
        }
    }

    /// Closes the connection, and waits until it is closed: then nothing that was begun on it holds a lock.
    pub(super) async fn close(mut self) {
        if let Some(pooled) = self.pooled.take() {
            let _ended = Ended(&self.pool);
            pooled.connection.close().await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(pooled) = self.pooled.take() {
            drop(pooled);
            drop(Ended(&self.pool));
        }
    }
}

/// Counts, when dropped, a lease that has ended, and has its connection replaced if that was closed and is needed.
struct Ended<'a>(&'a Pool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.state().leased -= 1;
        self.0.inner.ended.notify_one();
        // Where the runtime has ended, nobody waits.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.0.open_if_needed();
        }
    }
}
