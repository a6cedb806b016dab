//! A caller that authenticated before is looked up again.

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, IdenStatic, Iterable, JoinType, QueryResult,
    sea_query::{Alias, Expr, ExprTrait, Query, SelectStatement},
};
use tokend_core::{
    caller::{Caller, CallerKey},
    credential::CredentialId,
    name::CallerId,
    time::Timestamp,
};

use crate::{
    entity::{caller_keys, callers, feed},
    error::StoreError,
    row::Judge,
    store::Store,
    write::Locked,
};

/// The prefixes of the columns that [`join`] adds.
const CALLER: &str = "caller_";
const KEY: &str = "caller_key_";

/// A caller that authenticated, to be looked up again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerRef {
    /// The caller.
    pub caller: CallerId,
    /// The key by which it authenticated; `None` if by a client certificate.
    pub key: Option<CredentialId>,
}

/// What the database has of such a caller now, from one snapshot. The server decides whether the caller is still served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerNow {
    /// The caller; `None` if there is none of that id any more.
    pub caller: Option<Caller>,
    /// The key; `None` if it was deleted, or if the caller authenticated by a client certificate.
    pub key: Option<CallerKey>,
    /// Database time.
    pub now: Timestamp,
}

impl Store {
    /// Looks up a caller that authenticated before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn known_caller(&self, by: &CallerRef) -> Result<CallerNow, StoreError> {
        let by = by.clone();
        self.run(move |shared| async move {
            let mut query = query(&by);
            shared.select_now(&mut query);
            let found = shared.connection.query_one(&query).await?;
            let found = found.ok_or_else(|| StoreError::corrupt("feed", "1".to_owned(), "the row is missing".to_owned()))?;
            read(&shared.judge(), &found, &by, shared.read_now(&found)?)
        })
        .await
    }
}

/// A query for the caller alone. It always finds one row.
pub(crate) fn query(by: &CallerRef) -> SelectStatement {
    let mut query = Query::select();
    query.from(feed::Entity).and_where(Expr::col((feed::Entity, feed::Column::One)).eq(1));
    join(&mut query, by);
    query
}

/// Adds the caller and its key, if they are there, to each row of a query.
pub(super) fn join(query: &mut SelectStatement, by: &CallerRef) {
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
    for column in E::Column::iter() {
        query.expr_as(Expr::col(column.as_column_ref()), Alias::new(format!("{prefix}{}", column.as_str())));
    }
}

/// Reads both from a row that such a query found.
pub(crate) fn read(judge: &Judge, found: &QueryResult, by: &CallerRef, now: Timestamp) -> Result<CallerNow, StoreError> {
    let caller = judge.read_joined(found, CALLER)?.map(Locked::into_inner);
    let key = if by.key.is_some() { judge.read_joined(found, KEY)?.map(Locked::into_inner) } else { None };
    Ok(CallerNow { caller, key, now })
}
