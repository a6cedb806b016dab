//! A write is one transaction. An async closure does its work and sees nothing but [`WriteTx`].
//!
//! ```text
//! let (token, revision) = store
//!     .acting_as(Initiator::Caller(origin))
//!     .write_advancing(async move |tx: &WriteTx| {
//!         let workspace = tx.lock_workspace(&name.workspace).await?.ok_or(ServiceError::NotFound)?;
//!         let token = tx.token(&name).await?.ok_or(ServiceError::NotFound)?;
//!         let now = tx.now().await?;              // after the locks are held
//!         tx.revoke_token(&token, Revocation { at: now, by, reason }).await?.ok_or(ServiceError::Aborted)
//!     })
//!     .await?;
//! ```
//!
//! A method that changes a sealed row records the [`Change`](tokend_core::change::Change). Just before COMMIT the
//! transaction stores what derives from its changes: messages to the webhook, audit events, and lines of the
//! revocations file (`changes`).
//!
//! Locks are taken in one order, so that no two writes wait for each other: the key ring, shared, with BEGIN; the
//! callers that make the changes, shared (by id), or the one caller that the change affects (`acting`); workspaces
//! (by id), then organizations, which only a change of an organization's policy locks exclusively, then tokens and their
//! notices, then callers, then heads of the audit log, and the feed's row last. [`Store::write_advancing`] locks the
//! feed's row itself, just before COMMIT, and stores its next revision in the last statement, so that the row's lock
//! makes the order of revisions the order of commits, without gaps.

mod changes;

use std::{
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
    change::Initiator,
    feed::{FeedEntry, Revision},
    keyring::{KeyRing, WrongKeys},
    lease::Terms,
    row_mac::{RowMac, Sealed},
    rule::{self, Rule},
    time::{BootTime, Timestamp},
};
use tokio::{sync::OnceCell, time::sleep};

pub(crate) use self::changes::Advance;
use self::changes::ChangeLog;
use crate::{
    error::{StoreError, driver_error::is_locked},
    feed::writes::Advanced,
    keys::row as keys_row,
    pool::{Begin, Transaction, WritePermit},
    row::{Locked, Row, RowVerifier},
    settings::KeysLock,
    shared::Shared,
    store::Store,
};

/// SQLite: the pause between attempts to begin while another process writes.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The work of a transaction: an async closure that takes the open transaction.
///
/// It stands for `AsyncFnOnce(&'tx Tx) -> Result<T, E>` with a future that is `Send`, which stable Rust can't ask of an
/// `AsyncFnOnce`. Every closure with such a future implements it. In the closure, the type of the transaction must be
/// written down: `async move |tx: &WriteTx| ...`.
pub trait Work<'tx, Tx: 'tx, T, E>: FnOnce(&'tx Tx) -> Self::Future {
    /// The closure's future.
    type Future: Future<Output = Result<T, E>> + Send + 'tx;
}

impl<'tx, Tx, T, E, F, Fut> Work<'tx, Tx, T, E> for F
where
    Tx: 'tx,
    F: FnOnce(&'tx Tx) -> Fut,
    Fut: Future<Output = Result<T, E>> + Send + 'tx,
{
    type Future = Fut;
}

/// A transaction that writes, open for the time of one closure.
pub struct WriteTx {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tx: Transaction,
    /// Verifies and seals rows, with the keys as this transaction finds them.
    row_verifier: OnceCell<RowVerifier>,
    /// The changes so far, and who makes them.
    changes: Mutex<ChangeLog>,
    /// SQLite: the latest time, in microseconds, that the transaction will store.
    pub(crate) floor: AtomicI64,
    /// Set when a statement failed, or what it returned can't be used: then nothing may be committed.
    failed: AtomicBool,
    /// Released after the transaction has ended.
    permit: WritePermit,
}

/// A committed change that took a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its revision.
    pub revision: Revision,
    /// The terms of leases, as the statement that took the revision has read them.
    pub terms: Terms,
    /// When the database acknowledged the COMMIT.
    pub acknowledged: BootTime,
}

/// Learns what each change on SQLite is about, when its COMMIT has answered and before the next write begins.
pub trait CommitObserver: Send + Sync {
    /// Invalidates memory. `is_acknowledged` is false if the outcome of COMMIT is not known.
    fn committed(&self, entry: &FeedEntry, is_acknowledged: bool);
}

/// The result of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Insert {
    /// The row was inserted.
    Done,
    /// A row with this key exists, and is unchanged.
    Taken,
    /// The parent of the row does not exist.
    NoParent,
}

impl Store {
    /// Runs `work` in one transaction and commits it on `Ok`. Rejects changes that may turn an allow verdict into a
    /// deny, see [`write_advancing`](Self::write_advancing). Dropping the future does not cancel the transaction.
    ///
    /// # Errors
    /// What `work` returns, or a [`StoreError`] of beginning and committing.
    pub fn write<T, E, F>(&self, work: F) -> impl Future<Output = Result<T, E>> + Send
    where
        F: for<'tx> Work<'tx, WriteTx, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.write_holding(KeysLock::Shared, work)
    }

    /// Like [`write`](Self::write), but takes the next revision in the last statement before COMMIT. Use it for changes
    /// that may turn an allow verdict into a deny, and for their repetitions.
    ///
    /// # Errors
    /// As of [`write`](Self::write).
    pub fn write_advancing<T, E, F>(&self, work: F) -> impl Future<Output = Result<(T, Committed), E>> + Send
    where
        F: for<'tx> Work<'tx, WriteTx, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let initiator = self.initiator().clone();
        self.run(|shared| async move {
            let (value, tx) = WriteTx::perform(shared, initiator, KeysLock::Shared, work).await?;
            let done = tx.store_changes_and_advance().await;
            let (advanced, tx) = tx.unless_failed(done).await?;
            Ok((value, tx.commit_advanced(advanced).await?))
        })
    }

    /// Runs `work` like [`write`](Self::write), and rolls it back: a dry run with the same result as the write. It
    /// accepts changes that need a revision, but takes none.
    ///
    /// # Errors
    /// As of [`write`](Self::write).
    pub fn preview<T, E, F>(&self, work: F) -> impl Future<Output = Result<T, E>> + Send
    where
        F: for<'tx> Work<'tx, WriteTx, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let initiator = self.initiator().clone();
        self.run(|shared| async move {
            let (value, tx) = WriteTx::perform(shared, initiator, KeysLock::Shared, work).await?;
            let done = tx.store_changes().await;
            let (_, tx) = tx.unless_failed(done).await?;
            tx.roll_back().await?;
            Ok(value)
        })
    }

    /// Changes the states of keys. Like [`write`](Self::write), but no other write runs meanwhile, on any server: a
    /// write that seals rows with a key has ended before that key's state changes.
    ///
    /// # Errors
    /// As of [`write`](Self::write).
    pub fn write_keys<T, E, F>(&self, work: F) -> impl Future<Output = Result<T, E>> + Send
    where
        F: for<'tx> Work<'tx, WriteTx, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.write_holding(KeysLock::Exclusive, work)
    }

    fn write_holding<T, E, F>(&self, keys: KeysLock, work: F) -> impl Future<Output = Result<T, E>> + Send
    where
        F: for<'tx> Work<'tx, WriteTx, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let initiator = self.initiator().clone();
        self.run(move |shared| async move {
            let (value, tx) = WriteTx::perform(shared, initiator, keys, work).await?;
            let done = tx.store_changes_without_wait().await;
            match tx.unless_failed(done).await? {
                (Some(advanced), tx) => tx.commit_advanced(advanced).await.map(drop)?,
                (None, tx) => tx.store_time_and_commit().await?,
            }
            Ok(value)
        })
    }
}

impl WriteTx {
    /// Returns the database's time. Read it after taking the locks, so that times have the order of the changes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn now(&self) -> Result<Timestamp, StoreError> {
        self.noting_failure(self.shared.now(&self.tx).await)
    }

    /// Begins a transaction, runs `work`, and rolls back if that fails.
    async fn perform<T, E, F>(
        shared: Arc<Shared>,
        initiator: Initiator,
        keys: KeysLock,
        work: F,
    ) -> Result<(T, Self), E>
    where
        F: for<'tx> Work<'tx, Self, T, E>,
        E: From<StoreError>,
    {
        let patience = shared.settings().write_wait;
        let tx = Self::begin(shared, initiator, keys, patience).await?;
        let done = work(&tx).await;
        tx.unless_failed(done).await
    }

    /// Returns the open transaction if `done` is `Ok`, and rolls it back otherwise.
    async fn unless_failed<T, E>(self, done: Result<T, E>) -> Result<(T, Self), E> {
        match done {
            Ok(value) => Ok((value, self)),
            Err(error) => {
                self.tx.rollback().await;
                Err(error)
            }
        }
    }

    /// Begins a transaction. Waits at most `patience` for other writes of this process and, on SQLite, of others.
    pub(crate) async fn begin(
        shared: Arc<Shared>,
        initiator: Initiator,
        keys: KeysLock,
        patience: Duration,
    ) -> Result<Self, StoreError> {
        let waits_since = shared.clock().boot_time();
        let permit = shared.write_permit(patience).await?;
        let tx = loop {
            let postgres = shared.settings().postgres_transaction(keys);
            match shared.connection.begin(Begin::Write { postgres }).await {
                Err(error)
                    if is_locked(&error) && shared.clock().boot_time().saturating_since(waits_since) < patience =>
                {
                    sleep(LOCK_PAUSE).await;
                }
                begun => break begun?,
            }
        };
        Ok(Self {
            shared,
            tx,
            row_verifier: OnceCell::new(),
            changes: ChangeLog::of(initiator),
            floor: AtomicI64::new(i64::MIN),
            failed: AtomicBool::new(false),
            permit,
        })
    }

    /// Commits a write that takes no revision.
    pub(crate) async fn store_time_and_commit(self) -> Result<(), StoreError> {
        let done = self.store_time().await;
        let ((), tx) = self.unless_failed(done).await?;
        tx.commit().await
    }

    /// SQLite: makes the transaction store `floor`, if it is later than now.
    pub(crate) fn raise_time_floor(&self, floor: Timestamp) {
        self.floor.fetch_max(floor.unix_micros(), Ordering::Relaxed);
    }

    async fn commit(self) -> Result<(), StoreError> {
        self.commit_holding_permit().await.0
    }

    async fn commit_holding_permit(self) -> (Result<(), StoreError>, WritePermit) {
        let Self {
            shared,
            tx,
            floor,
            failed,
            permit,
            ..
        } = self;
        let commit = async {
            if failed.into_inner() {
                tx.rollback().await;
                return Err(StoreError::refused(FailureIgnored));
            }
            tx.commit().await.map_err(|error| StoreError::from(error).of_commit())?;
            // The time is stored only now.
            if let Ok(floor) = Timestamp::from_unix_micros(floor.into_inner()) {
                shared.note_stored_time(floor);
            }
            Ok(())
        };
        (commit.await, permit)
    }

    /// Commits a write that has taken a revision.
    ///
    /// On SQLite one process writes, and its memory is invalidated whatever COMMIT answered, before the next write begins:
    /// the write permit is held until then.
    async fn commit_advanced(self, advanced: Advanced) -> Result<Committed, StoreError> {
        let Advanced { revision, terms, entry } = advanced;
        let shared = Arc::clone(&self.shared);
        let observer = shared.commit_observer().filter(|_| shared.is_sqlite());
        // A test that leaves out one of these rules makes COMMIT or the invalidation late, so that the loss shows.
        let mut before = None;
        if !rule::is_kept(Rule::WaitFromAcknowledgement) {
            before = Some(shared.clock().boot_time());
            sleep(rule::WINDOW).await;
        }
        let (committed, permit) = self.commit_holding_permit().await;
        let permit = rule::is_kept(Rule::InvalidateBeforeNextWrite).then_some(permit);
        if permit.is_none() && !entry.subjects.is_empty() {
            sleep(rule::WINDOW).await;
        }
        if let Some(observer) = observer {
            observer.committed(&entry, committed.is_ok());
        }
        committed?;
        Ok(Committed {
            revision,
            terms,
            acknowledged: before.unwrap_or_else(|| shared.clock().boot_time()),
        })
    }

    /// Rolls back a transaction in which nothing failed.
    async fn roll_back(self) -> Result<(), StoreError> {
        self.tx.rollback().await;
        if self.failed.into_inner() {
            Err(StoreError::refused(FailureIgnored))
        } else {
            Ok(())
        }
    }

    pub(crate) fn noting_failure<T, E: Into<StoreError>>(&self, result: Result<T, E>) -> Result<T, StoreError> {
        result.map_err(|error| self.failing(error.into()))
    }

    pub(crate) fn failing(&self, error: StoreError) -> StoreError {
        self.failed.store(true, Ordering::Relaxed);
        error
    }

    /// Returns whether a statement failed, so that nothing of this transaction can be committed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Returns the key ring as this transaction finds it. It does not change before the transaction ends.
    ///
    /// # Errors
    /// [`StoreError::WrongKeys`] if this process does not have the active key.
    pub async fn ring(&self) -> Result<&KeyRing, StoreError> {
        let ring = self.row_verifier().await?.ring();
        match ring.missing_active_key() {
            Some(kid) => Err(self.failing(StoreError::wrong_keys(WrongKeys::Missing(kid)))),
            None => Ok(ring),
        }
    }

    /// Returns the MAC to store with `row`, by the key that is active in this transaction.
    pub(crate) async fn seal<T: Sealed>(&self, row: &T) -> Result<RowMac, StoreError> {
        Ok(self.ring().await?.seal(row))
    }

    pub(crate) async fn row_verifier(&self) -> Result<&RowVerifier, StoreError> {
        let find = async || {
            let known = keys_row::known(&self.tx).await?;
            let ring = self.shared.keys.ring_of(&known).map_err(StoreError::wrong_keys)?;
            Ok::<_, StoreError>(self.shared.row_verifier_with(ring))
        };
        self.noting_failure(self.row_verifier.get_or_try_init(find).await)
    }

    /// Inserts a row unless a row with that key exists.
    pub(crate) async fn insert<A: ActiveModelTrait>(&self, insert: InsertQuery<A>) -> Result<Insert, StoreError> {
        let query = insert
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .into_query();
        Ok(if self.change(&query).await? {
            Insert::Done
        } else {
            Insert::Taken
        })
    }

    /// Runs a statement and returns whether it changed a row.
    pub(crate) async fn change(&self, statement: &impl StatementBuilder) -> Result<bool, StoreError> {
        Ok(self.count_changed(statement).await? > 0)
    }

    /// Runs a statement and returns the number of changed rows.
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
        let Some(found) = self.find(query).await? else {
            return Ok(None);
        };
        self.row_verifier().await?.read(&found, "").map(Some)
    }

    /// Reads each of the sealed rows that a query finds.
    pub(crate) async fn read_all<T: Row>(
        &self,
        query: &SelectStatement,
    ) -> Result<Vec<Result<Locked<T>, StoreError>>, StoreError> {
        let found = self.find_all(query).await?;
        let row_verifier = self.row_verifier().await?;
        Ok(found.iter().map(|columns| row_verifier.read(columns, "")).collect())
    }
}

/// A statement failed, and the work of the transaction ignored its error.
#[derive(Debug, thiserror::Error)]
#[error("a statement failed, and the transaction was to be committed nevertheless")]
struct FailureIgnored;

impl std::fmt::Debug for WriteTx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WriteTx")
    }
}
