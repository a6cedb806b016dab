//! SQLite's write-ahead log, and how lists keep it short.
//!
//! The log can start over only when all of it has been written back to the database file, and no read still needs the state before that.
//! Short reads leave such moments all the time; lists that overlap leave none, and then the log grows with every write. So before a
//! list goes on, it looks at the log, and if that has grown too long, keeps all lists from reading, and everyone from writing, until the
//! log has been written back.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use sea_orm::{DbBackend, Statement};
use sqlx::AssertSqlSafe;
use tokio::sync::{RwLock, RwLockReadGuard};

use crate::{error::StoreError, store::Shared};

/// How long the log may grow, in bytes, before lists have it written back. SQLite itself tries from 4 MiB on.
const LONG: u64 = 8 << 20;
/// How much the log grows before the next try, if one has failed.
const RETRY: u64 = 1 << 20;
/// How long to wait for reads of other connections. Nobody can write meanwhile.
const WAIT: Duration = Duration::from_millis(50);

/// The log of one database file.
pub(crate) struct WriteAheadLog {
    path: PathBuf,
    /// How long the connections wait for locks otherwise.
    busy_timeout: Duration,
    /// The length from which the log is to be written back.
    long: AtomicU64,
    /// Held by each list while it reads much, and alone by the one that has the log written back.
    reading: RwLock<()>,
}

impl WriteAheadLog {
    pub(crate) const fn new(path: PathBuf, busy_timeout: Duration) -> Self {
        Self { path, busy_timeout, long: AtomicU64::new(LONG), reading: RwLock::const_new(()) }
    }

    /// Waits until a list may read, as long as it holds what is returned. Before that, has the log written back if it is too long.
    /// Failing that, another list tries again when the log has grown by [`RETRY`].
    pub(crate) async fn read(&self, shared: &Shared) -> RwLockReadGuard<'_, ()> {
        if self.is_long() {
            let _alone = self.reading.write().await;
            // Another list may have done it meanwhile.
            if self.is_long() {
                if let Err(error) = self.write_back(shared).await {
                    tracing::warn!(%error, "the write-ahead log could not be written back");
                }
                let length = self.length();
                self.long.store(if length < LONG { LONG } else { length + RETRY }, Ordering::Relaxed);
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

    async fn write_back(&self, shared: &Shared) -> Result<(), StoreError> {
        let _turn = shared.turn(shared.settings().write_wait).await?;
        let checkpoint = |mode| Statement::from_string(DbBackend::Sqlite, format!("PRAGMA wal_checkpoint({mode})"));
        let wait_at_most = |ms: u128| AssertSqlSafe(format!("PRAGMA busy_timeout = {ms}"));
        let done = shared.connection.once(async |connection| {
            // Without waiting for anybody. What can't be written back is behind what another connection still reads.
            let Some(row) = connection.query_one(checkpoint("PASSIVE")).await? else { return Ok(()) };
            let (frames, written): (i64, i64) = (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
            if written < frames {
                return Ok(());
            }
            // A connection on which one of these fails is closed.
            connection.run(wait_at_most(WAIT.as_millis())).await?;
            connection.query_one(checkpoint("TRUNCATE")).await?;
            connection.run(wait_at_most(self.busy_timeout.as_millis())).await?;
            Ok(())
        });
        Ok(done.await?)
    }
}
