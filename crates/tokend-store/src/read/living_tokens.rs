//! Tokens that are still to be revoked.

use std::collections::BTreeMap;

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};
use tokend_core::{credential::CredentialId, filter::TokenFilter, name::WorkspaceId, token::Token, workspace::WorkspaceState};

use super::{
    tokens::{ListedWorkspace, TokenPage, ids, workspace_of_list},
    usage::usage_of,
};
use crate::{
    entity::tokens::{Column, Entity},
    error::StoreError,
    narrowing::Narrowing,
    row,
    store::{Shared, Store},
};

impl Store {
    /// The workspace's tokens that `filter` is true of and that were not revoked, newest first, at most `limit`; the total is how many
    /// there are. None of a deleted workspace: all of them have ended. `None` if there is no such workspace.
    ///
    /// # Errors
    /// [`StoreError`] of the workspace or the whole list; those of single tokens are in the page.
    pub async fn living_tokens(
        &self,
        workspace: &WorkspaceId,
        filter: TokenFilter,
        limit: u64,
    ) -> Result<Option<TokenPage>, StoreError> {
        let workspace = workspace.clone();
        self.run(move |shared| async move { living_tokens(&shared, &workspace, &filter, limit).await }).await
    }

    /// The workspace's tokens of these ids, revoked or not, in any order. `None` if there is no such workspace.
    ///
    /// # Errors
    /// As of [`living_tokens`](Self::living_tokens).
    pub async fn tokens_of_ids(&self, workspace: &WorkspaceId, ids: &[CredentialId]) -> Result<Option<TokenPage>, StoreError> {
        let (workspace, ids) = (workspace.clone(), ids.to_vec());
        self.run(move |shared| async move { tokens_of_ids(&shared, &workspace, &ids).await }).await
    }
}

async fn living_tokens(
    shared: &Shared,
    workspace: &WorkspaceId,
    filter: &TokenFilter,
    limit: u64,
) -> Result<Option<TokenPage>, StoreError> {
    let Some(listed) = workspace_of_list(shared, workspace).await? else { return Ok(None) };
    let ListedWorkspace { circumstances, token_count: _, now } = listed;
    if matches!(circumstances.state, WorkspaceState::Deleted { .. }) {
        return Ok(Some(TokenPage { tokens: Vec::new(), usage: BTreeMap::new(), next: None, total_size: 0, circumstances, now }));
    }
    let narrowing = Narrowing { circumstances: &circumstances, now, is_sqlite: shared.is_sqlite() };
    let living = Entity::find()
        .filter(Column::Workspace.eq(workspace.as_str()))
        .filter(Column::RevokeTime.is_null())
        .filter(narrowing.of(filter));
    let total_size = row::count(shared.connection.query_one(&row::counting(living.clone())).await?)?;
    let query = living.order_by_desc(Column::CreateTime).order_by_desc(Column::Id).limit(limit);
    let rows = shared.connection.query_all(&query.into_query()).await?;
    let mut tokens = shared.judge().each::<Token>(&rows)?;
    let usage = usage_of(shared, ids(&tokens)).await?;
    let is_wanted = |token: &Token| filter.matches(token, usage.get(&token.name.id), &circumstances, now);
    tokens.retain(|token| token.as_ref().map_or(true, is_wanted));
    Ok(Some(TokenPage { tokens, usage, next: None, total_size, circumstances, now }))
}

async fn tokens_of_ids(shared: &Shared, workspace: &WorkspaceId, ids: &[CredentialId]) -> Result<Option<TokenPage>, StoreError> {
    let Some(listed) = workspace_of_list(shared, workspace).await? else { return Ok(None) };
    let query = Entity::find()
        .filter(Column::Workspace.eq(workspace.as_str()))
        .filter(Column::Id.is_in(ids.iter().map(|id| id.as_bytes().to_vec())));
    let rows = shared.connection.query_all(&query.into_query()).await?;
    let tokens = shared.judge().each::<Token>(&rows)?;
    let total_size = tokens.len() as u64;
    let usage = usage_of(shared, ids.iter().copied()).await?;
    Ok(Some(TokenPage { tokens, usage, next: None, total_size, circumstances: listed.circumstances, now: listed.now }))
}
