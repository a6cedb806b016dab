//! Looks up a caller again after it has authenticated, and holds it while its change runs.
//!
//! A change looks up its caller inside its own transaction and holds it until the end. PostgreSQL runs changes in
//! parallel. There the changes of one caller share the hold. Revoking a key of the caller, or deleting the caller,
//! takes the hold exclusively: it waits for the changes in progress, and later changes see its effect. The hold is an
//! advisory lock, not a row lock, because advisory locks queue fairly: with row locks, a caller that makes change after
//! change could delay its own revocation forever. SQLite runs one change at a time, so a plain read in the transaction
//! is exact.

use sea_orm::{
    ConnectionTrait, EntityTrait, JoinType, QueryResult,
    sea_query::{Expr, ExprTrait, Func, FunctionCall, Query, SelectStatement},
};
use tokend_core::{
    caller::{Caller, CallerKey},
    credential::CredentialId,
    name::CallerId,
    time::Timestamp,
};

use crate::{
    callers::tables::{caller_keys, callers},
    error::StoreError,
    feed::tables::feed,
    row::{Locked, RowVerifier, select_columns},
    store::Store,
    transaction::WriteTx,
};

/// The prefixes of the columns that [`join`] adds.
const CALLER: &str = "caller_";
const KEY: &str = "caller_key_";
/// The column that says whether a caller is held.
const HELD: &str = "held";

/// A caller that has authenticated. They are ordered by the caller, which is the order in which they are held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallerRef {
    /// The caller.
    pub caller: CallerId,
    /// The key with which it authenticated. `None` if it used a client certificate.
    pub key: Option<CredentialId>,
}

/// A caller that has authenticated, as the database stores it now, read in one snapshot. The server decides whether the
/// caller is still served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentCaller {
    /// The caller. `None` if it was deleted.
    pub caller: Option<Caller>,
    /// The key. `None` if it was deleted or if the caller used a client certificate.
    pub key: Option<CallerKey>,
    /// Database time.
    pub now: Timestamp,
}

/// How a transaction holds a caller until it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerHold {
    /// Shared with other changes: for the caller that makes the change.
    Shared,
    /// Exclusive: for a caller that loses a key or is deleted.
    Exclusive,
}

impl Store {
    /// Reads a caller that has authenticated again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn current_caller(&self, by: &CallerRef) -> Result<CurrentCaller, StoreError> {
        let by = by.clone();
        self.run(move |shared| async move {
            let mut query = query(&by);
            shared.select_now(&mut query);
            let found = shared.connection.query_one(&query).await?;
            let found =
                found.ok_or_else(|| StoreError::corrupt("feed", "1".to_owned(), "the row is missing".to_owned()))?;
            read(&shared.row_verifier(), &found, &by, shared.read_now(&found)?)
        })
        .await
    }
}

impl WriteTx {
    /// Holds a caller. Call this before any other lock, so that no two changes wait for each other: exclusively for one
    /// caller only, shared for several in the order of their ids.
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
        let mut query = Query::select();
        query.expr(lock_function(lock, id));
        // A separate statement: the next one sees everything that was committed before the lock was granted.
        self.count_changed(&query).await.map(|_| ())
    }

    /// Holds a caller, shared, unless that would have to wait for another transaction. Returns whether it is held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn try_hold_caller(&self, id: &CallerId) -> Result<bool, StoreError> {
        if self.shared.is_sqlite() {
            return Ok(true);
        }
        let mut query = Query::select();
        query.expr_as(lock_function("pg_try_advisory_xact_lock_shared", id), HELD);
        let found = self.find(&query).await?;
        self.noting_failure(found.map_or(Ok(false), |row| row.try_get("", HELD)))
    }

    /// Reads a caller that has authenticated again. Call [`hold_caller`](Self::hold_caller) first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn current_caller(&self, by: &CallerRef) -> Result<CurrentCaller, StoreError> {
        let mut query = query(by);
        self.shared.select_now(&mut query);
        let missing = || StoreError::corrupt("feed", "1".to_owned(), "the row is missing".to_owned());
        let found = self.find(&query).await?.ok_or_else(|| self.failing(missing()))?;
        let now = self.shared.read_now(&found)?;
        read(self.row_verifier().await?, &found, by, now)
    }
}

/// Returns the call of a function that locks a caller. If two callers have the same hash, they only wait for each other.
fn lock_function(lock: &'static str, id: &CallerId) -> FunctionCall {
    let hash = Func::cust("hashtextextended").args([Expr::val(id.as_str()), Expr::val(0_i64)]);
    Func::cust(lock).arg(hash)
}

/// Selects the caller alone. Always finds one row.
pub(crate) fn query(by: &CallerRef) -> SelectStatement {
    let mut query = Query::select();
    query
        .from(feed::Entity)
        .and_where(Expr::col((feed::Entity, feed::Column::One)).eq(1));
    join(&mut query, by);
    query
}

/// Adds the caller and its key, if they exist, to each row of a query.
pub(crate) fn join(query: &mut SelectStatement, by: &CallerRef) {
    let is_caller = Expr::col((callers::Entity, callers::Column::Id)).eq(by.caller.as_str());
    add::<callers::Entity>(query, CALLER, is_caller);
    if let Some(key) = by.key {
        let is_key = Expr::col((caller_keys::Entity, caller_keys::Column::Id)).eq(key.as_bytes().to_vec());
        let is_callers = Expr::col((caller_keys::Entity, caller_keys::Column::Caller)).eq(by.caller.as_str());
        add::<caller_keys::Entity>(query, KEY, is_key.and(is_callers));
    }
}

fn add<E: EntityTrait>(query: &mut SelectStatement, prefix: &str, on: Expr) {
    query.join(JoinType::LeftJoin, E::default(), on);
    select_columns::<E>(query, prefix);
}

/// Reads the caller and its key from a row of such a query.
pub(crate) fn read(
    row_verifier: &RowVerifier,
    found: &QueryResult,
    by: &CallerRef,
    now: Timestamp,
) -> Result<CurrentCaller, StoreError> {
    let caller = row_verifier.read_joined(found, CALLER)?.map(Locked::into_inner);
    let key = if by.key.is_some() {
        row_verifier.read_joined(found, KEY)?.map(Locked::into_inner)
    } else {
        None
    };
    Ok(CurrentCaller { caller, key, now })
}
