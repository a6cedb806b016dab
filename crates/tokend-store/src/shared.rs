//! The state that all work on one work pool shares: connections, keys, permits to write, and database time.

use std::{
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use sea_orm::{
    ConnectionTrait, DbBackend, JoinType, QueryResult, Statement,
    sea_query::{Expr, ExprTrait, Query, SelectStatement},
};
use tokend_core::{
    feed::{FeedHead, Revision},
    keyring::KeyRing,
    time::{Clock, Timestamp},
};
use tokio::sync::RwLockReadGuard;

use crate::{
    error::StoreError,
    feed::{tables::feed, timeline},
    keys::current::CurrentKeys,
    pool::{ConnectionPool, WriteAheadLog, WritePermit, WritePermits},
    row::{self, RefusedRows, RowVerifier},
    settings::StoreSettings,
    transaction::CommitObserver,
};

/// The column with database time that [`Shared::select_now`] adds.
const NOW: &str = "now";
/// PostgreSQL: the column that says whether the server is a standby or accepts no writes.
const NO_WRITES: &str = "no_writes";
/// The prefix of the columns that [`Shared::select_revision`] adds.
const FEED: &str = "feed_";

/// The state that the work on one work pool shares. It does not hold the pool's runtime, so that work in progress does
/// not keep the runtime from stopping.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) connection: ConnectionPool,
    pub(crate) keys: Arc<CurrentKeys>,
    pub(crate) refused: Arc<RefusedRows>,
    /// The database as shown to people: a path, or server and name. Never contains a password.
    pub(crate) database: String,
    pub(crate) settings: StoreSettings,
    pub(crate) clock: Clock,
    /// SQLite: the highest time known to be stored, in microseconds.
    pub(crate) time_floor: Arc<AtomicI64>,
    pub(crate) write_permits: WritePermits,
    /// SQLite: learns of changes, if the process answers from memory.
    pub(crate) commit_observer: Arc<OnceLock<Weak<dyn CommitObserver>>>,
    /// SQLite, in the pool for lists: keeps the write-ahead log short.
    pub(crate) log: Option<Arc<WriteAheadLog>>,
}

impl Shared {
    pub(crate) fn is_sqlite(&self) -> bool {
        self.connection.get_database_backend() == DbBackend::Sqlite
    }

    /// Returns the verifier of rows that are read outside of a transaction.
    pub(crate) fn row_verifier(&self) -> RowVerifier {
        self.row_verifier_with(self.keys.ring())
    }

    pub(crate) fn row_verifier_with(&self, ring: Arc<KeyRing>) -> RowVerifier {
        RowVerifier::new(ring, Arc::clone(&self.refused))
    }

    pub(crate) const fn settings(&self) -> &StoreSettings {
        &self.settings
    }

    pub(crate) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// PostgreSQL: returns whether its connections are encrypted, or local and so need no encryption.
    pub(crate) async fn is_encrypted(&self) -> Result<bool, StoreError> {
        let query = "SELECT inet_client_addr() IS NULL OR EXISTS \
                     (SELECT FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl) AS is_encrypted";
        let found = self
            .connection
            .query_one_raw(Statement::from_string(DbBackend::Postgres, query))
            .await?;
        Ok(found
            .map(|row| row.try_get("", "is_encrypted"))
            .transpose()?
            .unwrap_or(false))
    }

    /// Waits for the permit to write, at most `wait`.
    pub(crate) async fn write_permit(&self, wait: Duration) -> Result<WritePermit, StoreError> {
        self.write_permits.acquire(wait).await
    }

    /// Waits until a statement may read many rows, for as long as the guard is held. On SQLite this first writes the
    /// write-ahead log back if lists have let it grow too long.
    pub(crate) async fn read_much(&self) -> Option<RwLockReadGuard<'_, ()>> {
        match &self.log {
            Some(log) => Some(
                log.read(&self.connection, &self.write_permits, self.settings.write_wait)
                    .await,
            ),
            None => None,
        }
    }

    /// Reads database time in a statement of its own.
    pub(crate) async fn now(&self, connection: &impl ConnectionTrait) -> Result<Timestamp, StoreError> {
        let mut query = Query::select();
        self.select_now(&mut query);
        let row = connection.query_one(&query).await?;
        self.read_now(
            &row.ok_or_else(|| StoreError::corrupt("feed", "1".to_owned(), "time could not be read".to_owned()))?,
        )
    }

    /// Adds to a statement the columns that [`read_now`](Self::read_now) needs: on PostgreSQL the clock (not the start
    /// of the transaction) and whether the server accepts writes, on SQLite the stored time floor.
    pub(crate) fn select_now(&self, query: &mut SelectStatement) {
        if self.is_sqlite() {
            let mut floor = Query::select();
            floor
                .expr(ExprTrait::max(Expr::col(feed::Column::TimeFloor)))
                .from(feed::Entity);
            query.expr_as(
                Expr::cust_with_exprs("coalesce(?, 0)", [Expr::SubQuery(None, Box::new(floor.into()))]),
                NOW,
            );
        } else {
            query.expr_as(
                Expr::cust("(extract(epoch from clock_timestamp()) * 1000000)::bigint"),
                NOW,
            );
            let no_writes = "(pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean)";
            query.expr_as(Expr::cust(no_writes), NO_WRITES);
        }
    }

    /// Reads database time from a row of a statement to which [`select_now`](Self::select_now) was applied. Fails if
    /// the server accepts no writes: nothing can be revoked there, and its rows may be long out of date.
    pub(crate) fn read_now(&self, row: &QueryResult) -> Result<Timestamp, StoreError> {
        if !self.is_sqlite() && self.connection.is_for_writing() && row.try_get("", NO_WRITES)? {
            return Err(self.connection.server_takes_no_writes().into());
        }
        let micros: i64 = row.try_get("", NOW)?;
        let time = Timestamp::from_unix_micros(micros)
            .map_err(|error| StoreError::corrupt("feed", "1".to_owned(), format!("column time_floor {error}")))?;
        if self.is_sqlite() {
            self.note_stored_time(time);
            Ok(self.clock.wall_time().max(self.time_floor()))
        } else {
            Ok(self.clock.database_time(time))
        }
    }

    /// Adds to a statement the columns that [`read_revision`](Self::read_revision) needs, from the same snapshot (V3). The
    /// statement finds nothing if the feed's row is missing.
    pub(crate) fn select_revision(&self, query: &mut SelectStatement) {
        query.join(
            JoinType::InnerJoin,
            feed::Entity,
            Expr::col((feed::Entity, feed::Column::One)).eq(1),
        );
        row::select_columns::<feed::Entity>(query, FEED);
        if !self.is_sqlite() {
            query.expr(timeline::column());
        }
    }

    /// Reads the revision up to which the rows of a statement, to which [`select_revision`](Self::select_revision) was
    /// applied, include every change. Its epoch is the one that clients see.
    pub(crate) fn read_revision(&self, row: &QueryResult) -> Result<Revision, StoreError> {
        // The seal is verified: with a higher revision, what is kept in memory would never become outdated.
        let head = self.row_verifier().read::<FeedHead>(row, FEED)?;
        let timeline = if self.is_sqlite() {
            timeline::NONE
        } else {
            timeline::read(row)?
        };
        Ok(head.revision.on_timeline(timeline))
    }

    /// Reads database time as the database reports it, without the offset of a test clock. On SQLite that is the stored
    /// time floor.
    pub(crate) fn read_reported_time(&self, row: &QueryResult) -> Result<Timestamp, StoreError> {
        // Fails on a server that takes no writes.
        self.read_now(row)?;
        Timestamp::from_unix_micros(row.try_get("", NOW)?)
            .map_err(|error| StoreError::corrupt("feed", "1".to_owned(), format!("column time_floor {error}")))
    }

    /// Returns who learns of changes on SQLite.
    pub(crate) fn commit_observer(&self) -> Option<Arc<dyn CommitObserver>> {
        self.commit_observer.get().and_then(Weak::upgrade)
    }

    /// Remembers that `time` is stored as the time floor.
    pub(crate) fn note_stored_time(&self, time: Timestamp) {
        self.time_floor.fetch_max(time.unix_micros(), Ordering::AcqRel);
    }

    /// SQLite: returns the highest time known to be stored.
    pub(crate) fn time_floor(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.time_floor.load(Ordering::Acquire)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}
