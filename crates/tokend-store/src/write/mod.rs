//! Changes: one transaction each, made by a closure that sees nothing but [`WriteTx`].
//!
//! ```text
//! let (token, revision) = store
//!     .write_advancing(move |tx| Box::pin(async move {
//!         let workspace = tx.lock_workspace(&name.workspace).await?.ok_or(Refusal::NotFound)?;
//!         let token = tx.token(&name).await?.ok_or(Refusal::NotFound)?;
//!         let now = tx.now().await?;              // after the locks are held
//!         tx.revoke_token(&token, Revocation { at: now, by, reason }).await?.ok_or(Refusal::Aborted)
//!     }))
//!     .await?;
//! ```
//!
//! Locks are taken in one order, so that no two writes wait for each other: the key ring, shared, with BEGIN; the caller that makes the
//! change, or the one that loses by it (`acting`); workspaces (by id), then
//! organizations, which only who changes one's policy locks alone, then tokens and what is noted of them, then callers, then heads of
//! the audit log, and the feed's row last. [`Store::write_advancing`] does the last itself, just before COMMIT: it
//! locks the feed's row and stores its next revision, so that the row's lock makes the order of revisions the order of commits, without
//! gaps.

mod acting;
pub(crate) mod audit;
mod callers;
mod endings;
mod feed;
mod key_notices;
mod keys;
mod locked;
mod notice_plans;
mod notices;
mod organizations;
mod requests;
mod tokens;
mod usage;
mod workspaces;

pub use acting::CallerHold;
pub use keys::{LiveCredentials, Renewed, RowPlace, SealedTable};
pub use locked::Locked;
pub use notices::{Duty, Noted};
pub use requests::{RecordedRequest, RequestKey};

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use sea_orm::{
    ActiveModelTrait, ConnectionTrait, Insert as InsertQuery, QueryResult, QueryTrait, StatementBuilder,
    sea_query::{OnConflict, SelectStatement},
};
use tokend_core::{
    ending::Ending,
    keyring::{KeyRing, WrongKeys},
    revision::Revision,
    row_mac::{RowMac, Sealed},
    time::Timestamp,
};
use tokio::{sync::OnceCell, time::sleep};

use crate::{
    error::{StoreError, is_locked},
    keys as known_keys,
    lane::Turn,
    pool::{Begin, Transaction},
    row::{Judge, Row},
    settings::KeysLock,
    store::{Shared, Store},
};

/// SQLite: the pause between attempts to begin while another process writes.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// What a closure given to [`Store::write`] returns.
pub type Work<'tx, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'tx>>;

/// A transaction that writes, open for the time of one closure.
pub struct WriteTx {
    shared: Arc<Shared>,
    tx: Transaction,
    /// What rows are judged and sealed with: the keys as this transaction finds them.
    judge: OnceCell<Judge>,
    /// What ended for good.
    endings: Mutex<Vec<Ending>>,
    /// SQLite: the latest time, in microseconds, that the transaction is to store.
    floor: AtomicI64,
    /// Set when a statement failed, or what it returned can't be used: then nothing may be committed.
    failed: AtomicBool,
    /// Given back after the transaction has ended.
    _turn: Turn,
}

/// What became of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Insert {
    /// The row is there.
    Done,
    /// There is one of this key already, and it stays as it is.
    Taken,
    /// What the row belongs to does not exist.
    NoParent,
}

impl Store {
    /// Makes changes that end no verdict (one that does is refused): `work` in one transaction, committed if it returns `Ok`, rolled back if not. Dropping the
    /// returned future stops nothing.
    ///
    /// # Errors
    /// What `work` returns, or a [`StoreError`] of beginning and committing.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: for<'tx> FnOnce(&'tx WriteTx) -> Work<'tx, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.run(|shared| async move {
            let (value, tx) = WriteTx::perform(shared, KeysLock::Shared, work).await?;
            let done = if tx.has_endings() { Err(StoreError::refused(EndingWithoutRevision)) } else { Ok(()) };
            let ((), tx) = tx.unless_failed(done).await?;
            tx.store_time_and_commit().await?;
            Ok(value)
        })
        .await
    }

    /// Makes changes that may end a verdict, or repeats the news of one: as [`write`](Self::write), and takes the next revision in
    /// its last statement before COMMIT.
    ///
    /// # Errors
    /// As of [`write`](Self::write).
    pub async fn write_advancing<T, E, F>(&self, work: F) -> Result<(T, Revision), E>
    where
        F: for<'tx> FnOnce(&'tx WriteTx) -> Work<'tx, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.run(|shared| async move {
            let (value, tx) = WriteTx::perform(shared, KeysLock::Shared, work).await?;
            let done = tx.advance().await;
            let (revision, tx) = tx.unless_failed(done).await?;
            tx.commit().await?;
            Ok((value, revision))
        })
        .await
    }

    /// Changes what keys may do: as [`write`](Self::write), but no other write goes on meanwhile, on any server. A write that sealed
    /// rows with a key has ended before that key's state changes.
    ///
    /// # Errors
    /// As of [`write`](Self::write).
    pub async fn write_keys<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: for<'tx> FnOnce(&'tx WriteTx) -> Work<'tx, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.run(|shared| async move {
            let (value, tx) = WriteTx::perform(shared, KeysLock::Exclusive, work).await?;
            tx.store_time_and_commit().await?;
            Ok(value)
        })
        .await
    }
}

impl WriteTx {
    /// Database time. Read it after the locks are held: then times stand in the order of the changes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn now(&self) -> Result<Timestamp, StoreError> {
        self.noting_failure(self.shared.now(&self.tx).await)
    }

    /// Begins, and does `work`; on its error rolls back.
    async fn perform<T, E, F>(shared: Arc<Shared>, keys: KeysLock, work: F) -> Result<(T, Self), E>
    where
        F: for<'tx> FnOnce(&'tx Self) -> Work<'tx, T, E>,
        E: From<StoreError>,
    {
        let patience = shared.settings().write_wait;
        let tx = Self::begin(shared, keys, patience).await?;
        let done = work(&tx).await;
        tx.unless_failed(done).await
    }

    /// Goes on with the transaction if something succeeded in it, and rolls back if not.
    async fn unless_failed<T, E>(self, done: Result<T, E>) -> Result<(T, Self), E> {
        match done {
            Ok(value) => Ok((value, self)),
            Err(error) => {
                self.tx.rollback().await;
                Err(error)
            }
        }
    }

    /// Begins, after waiting at most `patience` for other writes of this process and then, on SQLite, of others.
    pub(crate) async fn begin(shared: Arc<Shared>, keys: KeysLock, patience: Duration) -> Result<Self, StoreError> {
        let waits_since = shared.clock().boot_time();
        let turn = shared.turn(patience).await?;
        let tx = loop {
            let postgres = shared.settings().postgres_transaction(keys);
            match shared.connection.begin(Begin::Write { postgres }).await {
                Err(error) if is_locked(&error) && shared.clock().boot_time().saturating_since(waits_since) < patience => {
                    sleep(LOCK_PAUSE).await;
                }
                begun => break begun?,
            }
        };
        Ok(Self {
            shared,
            tx,
            judge: OnceCell::new(),
            endings: Mutex::default(),
            floor: AtomicI64::new(i64::MIN),
            failed: AtomicBool::new(false),
            _turn: turn,
        })
    }

    /// Commits a change that ends no verdict.
    pub(crate) async fn store_time_and_commit(self) -> Result<(), StoreError> {
        let done = self.store_time().await;
        let ((), tx) = self.unless_failed(done).await?;
        tx.commit().await
    }

    /// SQLite: has the transaction store `floor`, if it is later than now.
    pub(crate) fn raise_time_floor(&self, floor: Timestamp) {
        self.floor.fetch_max(floor.unix_micros(), Ordering::Relaxed);
    }

    async fn commit(self) -> Result<(), StoreError> {
        if self.failed.into_inner() {
            self.tx.rollback().await;
            return Err(StoreError::refused(FailureIgnored));
        }
        self.tx.commit().await?;
        // Only now is it stored.
        if let Ok(floor) = Timestamp::from_unix_micros(self.floor.into_inner()) {
            self.shared.note_stored_time(floor);
        }
        Ok(())
    }

    fn noting_failure<T, E: Into<StoreError>>(&self, result: Result<T, E>) -> Result<T, StoreError> {
        result.map_err(|error| self.failing(error.into()))
    }

    fn failing(&self, error: StoreError) -> StoreError {
        self.failed.store(true, Ordering::Relaxed);
        error
    }

    /// The key ring as this transaction finds it; nobody changes it before the transaction ends.
    ///
    /// # Errors
    /// [`StoreError::WrongKeys`] if this process does not have the active key.
    pub async fn ring(&self) -> Result<&KeyRing, StoreError> {
        let ring = self.judge().await?.ring();
        match ring.lacked_active() {
            Some(kid) => Err(self.failing(StoreError::wrong_keys(WrongKeys::Lacks(kid)))),
            None => Ok(ring),
        }
    }

    /// The MAC to store beside `row`, by the key that is active in this transaction.
    pub(crate) async fn seal<T: Sealed>(&self, row: &T) -> Result<RowMac, StoreError> {
        Ok(self.ring().await?.seal(row))
    }

    pub(crate) async fn judge(&self) -> Result<&Judge, StoreError> {
        let find = async || {
            let known = known_keys::known(&self.tx).await?;
            let ring = self.shared.keys.ring_of(&known).map_err(StoreError::wrong_keys)?;
            Ok::<_, StoreError>(self.shared.judge_with(ring))
        };
        self.noting_failure(self.judge.get_or_try_init(find).await)
    }

    /// Inserts unless there is a row of that key.
    pub(crate) async fn insert<A: ActiveModelTrait>(&self, insert: InsertQuery<A>) -> Result<Insert, StoreError> {
        let query = insert.on_conflict(OnConflict::new().do_nothing().to_owned()).into_query();
        Ok(if self.change(&query).await? { Insert::Done } else { Insert::Taken })
    }

    /// Runs a change; whether it met a row.
    pub(crate) async fn change(&self, statement: &impl StatementBuilder) -> Result<bool, StoreError> {
        Ok(self.count_changed(statement).await? > 0)
    }

    /// Runs a change; how many rows it met.
    pub(crate) async fn count_changed(&self, statement: &impl StatementBuilder) -> Result<u64, StoreError> {
        Ok(self.noting_failure(self.tx.execute(statement).await)?.rows_affected())
    }

    /// Runs a query for one row.
    pub(crate) async fn find(&self, query: &SelectStatement) -> Result<Option<QueryResult>, StoreError> {
        self.noting_failure(self.tx.query_one(query).await)
    }

    /// Runs a query for many rows.
    pub(crate) async fn find_all(&self, query: &SelectStatement) -> Result<Vec<QueryResult>, StoreError> {
        self.noting_failure(self.tx.query_all(query).await)
    }

    /// Reads the sealed row that a query finds, if any.
    pub(crate) async fn read_one<T: Row>(&self, query: &SelectStatement) -> Result<Option<Locked<T>>, StoreError> {
        let Some(found) = self.find(query).await? else { return Ok(None) };
        self.judge().await?.read(&found, "").map(Some)
    }

    /// Reads each of the sealed rows that a query finds.
    pub(crate) async fn read_all<T: Row>(&self, query: &SelectStatement) -> Result<Vec<Result<Locked<T>, StoreError>>, StoreError> {
        let found = self.find_all(query).await?;
        let judge = self.judge().await?;
        Ok(found.iter().map(|columns| judge.read(columns, "")).collect())
    }
}

/// The error of a statement was not passed on.
#[derive(Debug, thiserror::Error)]
#[error("a statement failed, and the transaction was to be committed nevertheless")]
struct FailureIgnored;

/// Others would not learn of it.
#[derive(Debug, thiserror::Error)]
#[error("a verdict was to be ended without a revision")]
struct EndingWithoutRevision;

impl std::fmt::Debug for WriteTx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WriteTx")
    }
}
