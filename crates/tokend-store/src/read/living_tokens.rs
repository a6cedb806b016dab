//! Tokens that are still to be revoked.

use std::collections::BTreeMap;

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryTrait};
use tokend_core::{credential::CredentialId, filter::TokenFilter, name::WorkspaceId, workspace::WorkspaceState};

use super::{
    token_walk::TokenWalk,
    tokens::{ListedWorkspace, TokenPage, workspace_of_list},
    usage::usage_of,
};
use crate::{
    entity::tokens::{Column, Entity},
    error::StoreError,
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
        self.read(move |shared| async move { living_tokens(&shared, &workspace, &filter, limit).await }).await
    }

    /// The workspace's tokens of these ids, revoked or not, in any order. `None` if there is no such workspace.
    ///
    /// # Errors
    /// As of [`living_tokens`](Self::living_tokens).
    pub async fn tokens_of_ids(&self, workspace: &WorkspaceId, ids: &[CredentialId]) -> Result<Option<TokenPage>, StoreError> {
        let (workspace, ids) = (workspace.clone(), ids.to_vec());
        self.read(move |shared| async move { tokens_of_ids(&shared, &workspace, &ids).await }).await
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
    let (mut tokens, mut usage, mut total_size) = (Vec::new(), BTreeMap::new(), 0);
    if !matches!(circumstances.state, WorkspaceState::Deleted { .. }) {
        let walk = || TokenWalk::new(shared, (filter, &circumstances, now), None).only(Column::RevokeTime.is_null());
        let (mut finding, counting) = (walk(), walk());
        loop {
            let room = limit.saturating_sub(tokens.len() as u64);
            if room == 0 && finding.is_exact() {
                break;
            }
            let step = finding.step(room).await?;
            total_size += step.found.len() as u64;
            usage.extend(step.usage);
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            tokens.extend(step.found.into_iter().take(room).map(|(_, token)| token));
            if step.end.is_none() {
                break;
            }
        }
        if counting.is_exact() {
            total_size = counting.count(u64::MAX, u64::MAX).await?;
        }
    }
    Ok(Some(TokenPage { tokens, usage, next: None, total_size, circumstances, now }))
}

async fn tokens_of_ids(shared: &Shared, workspace: &WorkspaceId, ids: &[CredentialId]) -> Result<Option<TokenPage>, StoreError> {
    let Some(listed) = workspace_of_list(shared, workspace).await? else { return Ok(None) };
    let query = Entity::find()
        .filter(Column::Workspace.eq(workspace.as_str()))
        .filter(Column::Id.is_in(ids.iter().map(|id| id.as_bytes().to_vec())));
    let rows = shared.connection.query_all(&query.into_query()).await?;
    let tokens = shared.judge().each(&rows)?;
    let total_size = tokens.len() as u64;
    let usage = usage_of(shared, ids.iter().copied()).await?;
    Ok(Some(TokenPage { tokens, usage, next: None, total_size, circumstances: listed.circumstances, now: listed.now }))
}
