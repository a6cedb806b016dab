//! Keeps SQLite's write-ahead log short while lists run.
//!
//! SQLite can restart the log only when the whole log has been written back to the database file and no read still
//! needs an older state. Between short reads there are such moments all the time. Lists that overlap leave none, and
//! the log grows with every write. So before a list goes on reading, it checks the length of the log. If the log is too
//! long, it blocks all lists and all writes until the log has been written back.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use sea_orm::{DbBackend, Statement};
use sqlx::AssertSqlSafe;
use tokio::sync::{RwLock, RwLockReadGuard};

use super::{connection_pool::ConnectionPool, write_permits::WritePermits};
use crate::error::StoreError;

/// The length of the log, in bytes, from which lists have it written back. SQLite itself tries from 4 MiB on.
const LONG: u64 = 8 << 20;
/// How many bytes the log grows before the next try after one has failed.
const RETRY: u64 = 1 << 20;
/// How long to wait for reads of other connections. Nobody can write meanwhile.
const WAIT: Duration = Duration::from_millis(50);

/// The write-ahead log of one database file.
pub(crate) struct WriteAheadLog {
    path: PathBuf,
    /// How long the connections wait for locks in all other cases.
    busy_timeout: Duration,
    /// The length, in bytes, from which the log is written back.
    long: AtomicU64,
    /// Each list holds a read guard while it reads. Writing the log back takes the write guard.
    reading: RwLock<()>,
}

impl WriteAheadLog {
    pub(crate) const fn new(path: PathBuf, busy_timeout: Duration) -> Self {
        Self {
            path,
            busy_timeout,
            long: AtomicU64::new(LONG),
            reading: RwLock::const_new(()),
        }
    }

    /// Waits until a list may read, for as long as it holds the guard. If the log is too long, writes it back first. If
    /// that fails, the next list tries again when the log has grown by [`RETRY`]. `write_wait` limits the wait for the
    /// permit to write.
    pub(crate) async fn read(
        &self,
        connection: &ConnectionPool,
        permits: &WritePermits,
        write_wait: Duration,
    ) -> RwLockReadGuard<'_, ()> {
        if self.is_long() {
            let _alone = self.reading.write().await;
            // Another list may have written it back while this one waited.
            if self.is_long() {
                if let Err(error) = self.write_back(connection, permits, write_wait).await {
                    tracing::warn!(%error, "the write-ahead log could not be written back");
                }
                let length = self.length();
                self.long
                    .store(if length < LONG { LONG } else { length + RETRY }, Ordering::Relaxed);
            }
        }
        self.reading.read().await
    }

    fn is_long(&self) -> bool {
        self.length() >= self.long.load(Ordering::Relaxed)
    }

    fn length(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    async fn write_back(
        &self,
        connection: &ConnectionPool,
        permits: &WritePermits,
        write_wait: Duration,
    ) -> Result<(), StoreError> {
        let _permit = permits.acquire(write_wait).await?;
        let checkpoint = |mode| Statement::from_string(DbBackend::Sqlite, format!("PRAGMA wal_checkpoint({mode})"));
        let wait_at_most = |ms: u128| AssertSqlSafe(format!("PRAGMA busy_timeout = {ms}"));
        let done = connection.once(async |connection| {
            // PASSIVE waits for nobody. Frames that it leaves are still needed by a read of another connection.
            let Some(row) = connection.query_one(checkpoint("PASSIVE")).await? else {
                return Ok(());
            };
            let (frames, written): (i64, i64) = (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
            if written < frames {
                return Ok(());
            }
            // If one of these fails, the connection is closed, so no other call sees the shorter timeout.
            connection.run(wait_at_most(WAIT.as_millis())).await?;
            connection.query_one(checkpoint("TRUNCATE")).await?;
            connection.run(wait_at_most(self.busy_timeout.as_millis())).await?;
            Ok(())
        });
        Ok(done.await?)
    }
}
