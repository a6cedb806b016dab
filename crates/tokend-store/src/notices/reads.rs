//! Reads of notices that are due.

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, JoinType, QueryFilter, QueryOrder, QueryResult, QuerySelect, QueryTrait,
    RelationTrait,
    sea_query::{Expr, ExprTrait},
};
use tokend_core::{
    name::{CallerKeyName, TokenName, WorkspaceId},
    time::Timestamp,
};

use crate::{
    callers::{row::caller_key_name, tables::caller_keys},
    error::StoreError,
    notices::tables::{
        caller_key_notices, notice_plans,
        token_notices::{Column, Entity, Relation},
    },
    store::Store,
    tokens::{row::token_name, tables::tokens},
};

/// Tokens to process, ordered by the time since which they wait.
#[derive(Debug)]
pub struct DueTokens {
    /// The tokens. A name that can't be read is an error in its place.
    pub tokens: Vec<Result<TokenName, StoreError>>,
    /// The place to continue after, if there may be more.
    pub next: Option<DueCursor>,
}

/// Caller keys to process, ordered by the time since which they wait.
#[derive(Debug)]
pub struct DueKeys {
    /// The keys. A name that can't be read is an error in its place.
    pub keys: Vec<Result<CallerKeyName, StoreError>>,
    /// The place to continue after, if there may be more.
    pub next: Option<DueCursor>,
}

/// A place in a list of tokens or keys to process, after which the next page starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueCursor {
    micros: i64,
    id: Vec<u8>,
}

impl Store {
    /// Returns tokens of which a notice may be due, at most `limit`, after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn due_notices(&self, after: Option<DueCursor>, limit: u64) -> Result<DueTokens, StoreError> {
        self.run(move |shared| async move {
            let now = shared.now(&shared.connection).await?;
            let mut query = Entity::find()
                .select_only()
                .column_as(Column::LookTime, TIME)
                .columns([tokens::Column::Workspace, tokens::Column::Id])
                .join(JoinType::InnerJoin, Relation::Token.def())
                .filter(Column::LookTime.lte(now.unix_micros()));
            if let Some(after) = after {
                query = query.filter(after.comes_first([Column::LookTime, Column::Token]));
            }
            let query = query
                .order_by_asc(Column::LookTime)
                .order_by_asc(Column::Token)
                .limit(limit);
            DueTokens::read(&shared.connection.query_all(&query.into_query()).await?, limit)
        })
        .await
    }

    /// Returns caller keys of which a notice may be due, at most `limit`, after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn due_key_notices(&self, after: Option<DueCursor>, limit: u64) -> Result<DueKeys, StoreError> {
        use caller_key_notices::{Column, Entity, Relation};
        self.run(move |shared| async move {
            let now = shared.now(&shared.connection).await?;
            let mut query = Entity::find()
                .select_only()
                .column_as(Column::LookTime, TIME)
                .columns([caller_keys::Column::Caller, caller_keys::Column::Id])
                .join(JoinType::InnerJoin, Relation::Key.def())
                .filter(Column::LookTime.lte(now.unix_micros()));
            if let Some(after) = after {
                query = query.filter(after.comes_first([Column::LookTime, Column::Key]));
            }
            let query = query
                .order_by_asc(Column::LookTime)
                .order_by_asc(Column::Key)
                .limit(limit);
            let rows = shared.connection.query_all(&query.into_query()).await?;
            Ok(DueKeys {
                keys: rows.iter().map(caller_key_name).collect(),
                next: DueCursor::after_full(&rows, limit)?,
            })
        })
        .await
    }

    /// Returns when the next of the working caller keys expires. `None` if no key works.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn next_key_expiry(&self) -> Result<Option<Timestamp>, StoreError> {
        self.run(|shared| async move {
            let now = shared.now(&shared.connection).await?;
            let query = caller_keys::Entity::find()
                .filter(caller_keys::Column::RevokeTime.is_null())
                .filter(caller_keys::Column::ExpireTime.gt(now.unix_micros()))
                .order_by_asc(caller_keys::Column::ExpireTime);
            let next = query.one(&shared.connection).await?.map(|row| row.expire_time);
            Ok(next.and_then(|micros| Timestamp::from_unix_micros(micros).ok()))
        })
        .await
    }

    /// Returns workspaces in which notices have to be planned again because a policy has changed, ordered by id: at
    /// most `limit`, after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn workspaces_to_plan(
        &self,
        after: Option<WorkspaceId>,
        limit: u64,
    ) -> Result<Vec<WorkspaceId>, StoreError> {
        self.run(move |shared| async move {
            let mut query = notice_plans::Entity::find()
                .order_by_asc(notice_plans::Column::Workspace)
                .limit(limit);
            if let Some(after) = after {
                query = query.filter(notice_plans::Column::Workspace.gt(after.as_str()));
            }
            // No workspace has an id that can't be read.
            let read = |row: notice_plans::Model| row.workspace.parse().ok();
            Ok(query
                .all(&shared.connection)
                .await?
                .into_iter()
                .filter_map(read)
                .collect())
        })
        .await
    }

    /// Returns since when the oldest notice is due. `None` if none is due.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn oldest_due_notice(&self) -> Result<Option<Timestamp>, StoreError> {
        self.run(|shared| async move {
            let now = shared.now(&shared.connection).await?;
            let query = Entity::find()
                .filter(Column::LookTime.lte(now.unix_micros()))
                .order_by_asc(Column::LookTime);
            let oldest = query.one(&shared.connection).await?.and_then(|row| row.look_time);
            Ok(oldest.and_then(|micros| Timestamp::from_unix_micros(micros).ok()))
        })
        .await
    }
}

/// The column with the time by which tokens or keys are ordered.
pub(crate) const TIME: &str = "time";

impl DueTokens {
    /// Reads rows with the columns [`TIME`], `workspace` and `id`.
    pub(crate) fn read(rows: &[QueryResult], limit: u64) -> Result<Self, StoreError> {
        Ok(Self {
            tokens: rows.iter().map(token_name).collect(),
            next: DueCursor::after_full(rows, limit)?,
        })
    }
}

impl DueCursor {
    /// Returns the place after a full page, after which there may be more.
    fn after_full(rows: &[QueryResult], limit: u64) -> Result<Option<Self>, StoreError> {
        let place = |row: &QueryResult| {
            Ok::<_, StoreError>(Self {
                micros: row.try_get("", TIME)?,
                id: row.try_get("", "id")?,
            })
        };
        let is_full = rows.len() as u64 == limit;
        rows.last().filter(|_| is_full).map(place).transpose()
    }

    /// Selects the rows after this place, in ascending order.
    pub(crate) fn comes_first<C: ColumnTrait>(self, key: [C; 2]) -> Expr {
        let place: [Expr; 2] = [self.micros.into(), self.id.into()];
        Expr::tuple(key.map(|column| Expr::col((column.entity_name(), column)))).gt(Expr::tuple(place))
    }
}
