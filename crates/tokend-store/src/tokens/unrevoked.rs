//! Reads for revoking several tokens at once.

use std::collections::BTreeMap;

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryTrait};
use tokend_core::{credential::CredentialId, filter::TokenFilter, name::WorkspaceId, workspace::WorkspaceState};

use crate::{
    error::StoreError,
    shared::Shared,
    store::Store,
    tokens::{
        reads::{ListedWorkspace, TokenPage, workspace_of_list},
        tables::tokens::{Column, Entity},
        walk::TokenWalk,
    },
    usage::reads::usage_of,
};

impl Store {
    /// Returns a workspace's unrevoked tokens that match `filter`, newest first, at most `limit`, and the total number
    /// of them. Returns no tokens of a deleted workspace, because all of them have ended. `None` if the workspace does
    /// not exist.
    ///
    /// # Errors
    /// [`StoreError`] of the workspace or the whole list; those of single tokens are in the page.
    pub async fn unrevoked_tokens(
        &self,
        workspace: &WorkspaceId,
        filter: TokenFilter,
        limit: u64,
    ) -> Result<Option<TokenPage>, StoreError> {
        let workspace = workspace.clone();
        self.read(move |shared| async move { unrevoked_tokens(&shared, &workspace, &filter, limit).await })
            .await
    }

    /// Returns a workspace's tokens with these ids, revoked or not, in any order. `None` if the workspace does not
    /// exist.
    ///
    /// # Errors
    /// As of [`unrevoked_tokens`](Self::unrevoked_tokens).
    pub async fn tokens_by_id(
        &self,
        workspace: &WorkspaceId,
        ids: &[CredentialId],
    ) -> Result<Option<TokenPage>, StoreError> {
        let (workspace, ids) = (workspace.clone(), ids.to_vec());
        self.read(move |shared| async move { tokens_by_id(&shared, &workspace, &ids).await })
            .await
    }
}

async fn unrevoked_tokens(
    shared: &Shared,
    workspace: &WorkspaceId,
    filter: &TokenFilter,
    limit: u64,
) -> Result<Option<TokenPage>, StoreError> {
    let Some(listed) = workspace_of_list(shared, workspace).await? else {
        return Ok(None);
    };
    let ListedWorkspace {
        token_context,
        token_count: _,
        now,
    } = listed;
    let (mut tokens, mut usage, mut total_size) = (Vec::new(), BTreeMap::new(), 0);
    if !matches!(token_context.state, WorkspaceState::Deleted { .. }) {
        let walk = || TokenWalk::new(shared, (filter, &token_context, now), None).only(Column::RevokeTime.is_null());
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
    Ok(Some(TokenPage {
        tokens,
        usage,
        next: None,
        total_size,
        token_context,
        now,
    }))
}

async fn tokens_by_id(
    shared: &Shared,
    workspace: &WorkspaceId,
    ids: &[CredentialId],
) -> Result<Option<TokenPage>, StoreError> {
    let Some(listed) = workspace_of_list(shared, workspace).await? else {
        return Ok(None);
    };
    let query = Entity::find()
        .filter(Column::Workspace.eq(workspace.as_str()))
        .filter(Column::Id.is_in(ids.iter().map(|id| id.as_bytes().to_vec())));
    let rows = shared.connection.query_all(&query.into_query()).await?;
    let tokens = shared.row_verifier().each(&rows)?;
    let total_size = tokens.len() as u64;
    let usage = usage_of(shared, ids.iter().copied()).await?;
    Ok(Some(TokenPage {
        tokens,
        usage,
        next: None,
        total_size,
        token_context: listed.token_context,
        now: listed.now,
    }))
}
