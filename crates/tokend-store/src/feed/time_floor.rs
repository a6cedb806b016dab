//! SQLite: the time floor, a column of the feed row below which database time never falls.

use tokend_core::{change::Initiator, time::Timestamp};

use crate::{error::StoreError, settings::KeysLock, store::Store, transaction::WriteTx};

/// How many times the connection wait an answer waits for the time floor. An answer that is read waits that long, too.
const TIME_FLOOR_WAITS: u32 = 2;

impl Store {
    /// SQLite: stores `floor` so that database time never falls below it again, not even after a restart with the clock
    /// set back. Call this with the expiry before answering EXPIRED. It writes once for each expiry and does nothing if
    /// the floor is high enough already. On PostgreSQL, whose clock is one for all servers, it does nothing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; then the answer must not be given.
    pub async fn raise_time_floor(&self, floor: Timestamp) -> Result<(), StoreError> {
        let shared = self.shared();
        if !shared.is_sqlite() || shared.time_floor() >= floor {
            return Ok(());
        }
        self.run(move |shared| async move {
            let wait = TIME_FLOOR_WAITS * shared.settings().pool_wait;
            let tx = WriteTx::begin(shared, Initiator::System, KeysLock::Shared, wait).await?;
            tx.raise_time_floor(floor);
            tx.store_time_and_commit().await
        })
        .await
    }
}
