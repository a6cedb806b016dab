//! Reads for retention: tokens whose end is old enough to delete them.

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, JoinType, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    RelationTrait, sea_query::SelectStatement,
};
use tokend_core::{name::WorkspaceId, time::Timestamp};

use crate::{
    error::StoreError,
    notices::{
        reads::{DueCursor, DueTokens, TIME},
        tables::token_notices,
    },
    row,
    store::Store,
    tokens::tables::tokens,
    workspaces::{row::DELETED, tables::workspaces},
};

/// What ended a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// Its revocation.
    Revocation,
    /// Its expiry, after that was recorded.
    Expiry,
    /// The deletion of this workspace.
    DeletionOf(WorkspaceId),
}

impl Store {
    /// Returns tokens whose end was recorded at `until` or before, ordered by that time: at most `limit`, after
    /// `after`. Of a deleted workspace it returns all remaining tokens, ordered by creation.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ended_tokens(
        &self,
        by: EndCause,
        until: Timestamp,
        after: Option<DueCursor>,
        limit: u64,
    ) -> Result<DueTokens, StoreError> {
        self.run(move |shared| async move {
            let query = match by {
                EndCause::Revocation => revoked(until, after, limit),
                EndCause::Expiry => expired(until, after, limit),
                EndCause::DeletionOf(workspace) => left_in(&workspace, after, limit),
            };
            DueTokens::read(&shared.connection.query_all(&query).await?, limit)
        })
        .await
    }

    /// Returns workspaces that were deleted at `until` or before and still have tokens, ordered by id: at most `limit`,
    /// after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn deleted_workspaces(
        &self,
        until: Timestamp,
        after: Option<WorkspaceId>,
        limit: u64,
    ) -> Result<Vec<WorkspaceId>, StoreError> {
        self.run(move |shared| async move {
            let mut query = workspaces::Entity::find()
                .select_only()
                .column(workspaces::Column::Id)
                .filter(workspaces::Column::State.eq(DELETED))
                .filter(workspaces::Column::TokenCount.gt(0))
                .filter(workspaces::Column::StateTime.lte(until.unix_micros()));
            if let Some(after) = after {
                query = query.filter(workspaces::Column::Id.gt(after.as_str()));
            }
            let query = query.order_by_asc(workspaces::Column::Id).limit(limit);
            let found = query.into_tuple::<String>().all(&shared.connection).await?;
            let read = |id: String| {
                row::column("id", id.parse()).map_err(|problem| StoreError::corrupt("workspaces", id, problem))
            };
            found.into_iter().map(read).collect()
        })
        .await
    }
}

fn revoked(until: Timestamp, after: Option<DueCursor>, limit: u64) -> SelectStatement {
    const ORDER: [tokens::Column; 2] = [tokens::Column::RevokeTime, tokens::Column::Id];
    let mut query = tokens::Entity::find()
        .select_only()
        .column_as(tokens::Column::RevokeTime, TIME)
        .columns([tokens::Column::Workspace, tokens::Column::Id])
        .filter(tokens::Column::RevokeTime.lte(until.unix_micros()));
    if let Some(after) = after {
        query = query.filter(after.comes_first(ORDER));
    }
    query
        .order_by_asc(ORDER[0])
        .order_by_asc(ORDER[1])
        .limit(limit)
        .into_query()
}

fn expired(until: Timestamp, after: Option<DueCursor>, limit: u64) -> SelectStatement {
    const ORDER: [token_notices::Column; 2] = [token_notices::Column::EndTime, token_notices::Column::Token];
    let mut query = token_notices::Entity::find()
        .select_only()
        .column_as(token_notices::Column::EndTime, TIME)
        .columns([tokens::Column::Workspace, tokens::Column::Id])
        .join(JoinType::InnerJoin, token_notices::Relation::Token.def())
        .filter(token_notices::Column::EndTime.lte(until.unix_micros()));
    if let Some(after) = after {
        query = query.filter(after.comes_first(ORDER));
    }
    query
        .order_by_asc(ORDER[0])
        .order_by_asc(ORDER[1])
        .limit(limit)
        .into_query()
}

fn left_in(workspace: &WorkspaceId, after: Option<DueCursor>, limit: u64) -> SelectStatement {
    const ORDER: [tokens::Column; 2] = [tokens::Column::CreateTime, tokens::Column::Id];
    let mut query = tokens::Entity::find()
        .select_only()
        .column_as(tokens::Column::CreateTime, TIME)
        .columns([tokens::Column::Workspace, tokens::Column::Id])
        .filter(tokens::Column::Workspace.eq(workspace.as_str()));
    if let Some(after) = after {
        query = query.filter(after.comes_first(ORDER));
    }
    query
        .order_by_asc(ORDER[0])
        .order_by_asc(ORDER[1])
        .limit(limit)
        .into_query()
}
