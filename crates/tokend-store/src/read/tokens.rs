use std::collections::BTreeMap;

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};
use tokend_core::{
    credential::CredentialId,
    name::{TokenName, WorkspaceId},
    time::Timestamp,
    token::{Circumstances, Token},
    usage::Usage,
};

use super::{
    LEFT, RIGHT, THIRD, TimeCursor, cut,
    governed::{GOVERNED, Governed, governed},
    usage::usage_of,
};
use crate::{
    entity::{organizations, tokens, workspaces},
    error::StoreError,
    store::{Shared, Store},
};

/// A token with what its state depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredToken {
    /// The token.
    pub token: Token,
    /// What is known of its use; nothing if it was never used, and where it was not looked up.
    pub usage: Option<Usage>,
    /// What its life depends on besides itself.
    pub circumstances: Circumstances,
    /// Database time.
    pub now: Timestamp,
}

/// A page of a workspace's tokens, newest first.
#[derive(Debug)]
pub struct TokenPage {
    /// The tokens; what can't be read or was tampered with is an error in its place.
    pub tokens: Vec<Result<Token, StoreError>>,
    /// What is known of the use of those that were ever used.
    pub usage: BTreeMap<CredentialId, Usage>,
    /// Where the next page starts, if there is one.
    pub next: Option<TimeCursor>,
    /// How many tokens there are on all pages: without a filter a kept counter.
    pub total_size: u64,
    /// What their lives depend on besides themselves.
    pub circumstances: Circumstances,
    /// Database time.
    pub now: Timestamp,
}

impl Store {
    /// A token, from one snapshot with its workspace. `None` if the workspace has none of that id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn token(&self, name: &TokenName) -> Result<Option<StoredToken>, StoreError> {
        let name = name.clone();
        self.run(move |shared| async move { token(&shared, &name).await }).await
    }

    /// The workspace's tokens, newest first, at most `limit` and after `after`: a token made meanwhile comes before the first page
    /// and shifts none. `None` if there is no such workspace.
    ///
    /// # Errors
    /// [`StoreError`] of the workspace or the whole list; those of single tokens are in the page.
    pub async fn list_tokens(
        &self,
        workspace: &WorkspaceId,
        after: Option<TimeCursor>,
        limit: u64,
    ) -> Result<Option<TokenPage>, StoreError> {
        let workspace = workspace.clone();
        self.list(move |shared| async move { list_tokens(&shared, &workspace, after, limit).await }).await
    }
}

async fn token(shared: &Shared, name: &TokenName) -> Result<Option<StoredToken>, StoreError> {
    let found = tokens::Entity::find()
        .filter(tokens::Column::Workspace.eq(name.workspace.as_str()))
        .filter(tokens::Column::Id.eq(name.id.as_bytes().to_vec()))
        .find_also_related(workspaces::Entity)
        .and_also_related(organizations::Entity);
    let mut query = found.into_query();
    shared.select_now(&mut query);
    let Some(found) = shared.connection.query_one(&query).await? else { return Ok(None) };
    let now = shared.read_now(&found)?;
    let judge = shared.judge();
    let token = judge.read::<Token>(&found, LEFT)?.into_inner();
    let (_, circumstances) = Governed::read(&judge, &found, [RIGHT, THIRD])?.into_parts();
    let usage = usage_of(shared, [name.id]).await?.remove(&name.id);
    Ok(Some(StoredToken { token, usage, circumstances, now }))
}

async fn list_tokens(
    shared: &Shared,
    workspace: &WorkspaceId,
    after: Option<TimeCursor>,
    limit: u64,
) -> Result<Option<TokenPage>, StoreError> {
    let Some(listed) = workspace_of_list(shared, workspace).await? else { return Ok(None) };
    let mut query = tokens::Entity::find().filter(tokens::Column::Workspace.eq(workspace.as_str()));
    if let Some(after) = after {
        query = query.filter(after.comes_before([tokens::Column::CreateTime, tokens::Column::Id]));
    }
    let query = query.order_by_desc(tokens::Column::CreateTime).order_by_desc(tokens::Column::Id).limit(limit.saturating_add(1));
    let mut rows = shared.connection.query_all(&query.into_query()).await?;
    let next = cut(&mut rows, limit, TimeCursor::of)?;
    let ListedWorkspace { circumstances, token_count: total_size, now } = listed;
    let tokens = shared.judge().each(&rows)?;
    let usage = usage_of(shared, ids(&tokens)).await?;
    Ok(Some(TokenPage { tokens, usage, next, total_size, circumstances, now }))
}

/// The ids of those that could be read.
pub(super) fn ids(tokens: &[Result<Token, StoreError>]) -> impl Iterator<Item = CredentialId> {
    tokens.iter().flatten().map(|token| token.name.id)
}

/// What a list of tokens tells of their workspace.
pub(super) struct ListedWorkspace {
    pub(super) circumstances: Circumstances,
    /// A kept counter.
    pub(super) token_count: u64,
    /// Database time.
    pub(super) now: Timestamp,
}

pub(super) async fn workspace_of_list(shared: &Shared, id: &WorkspaceId) -> Result<Option<ListedWorkspace>, StoreError> {
    let mut query = governed(id);
    shared.select_now(&mut query);
    let Some(found) = shared.connection.query_one(&query).await? else { return Ok(None) };
    let now = shared.read_now(&found)?;
    let (_, circumstances) = Governed::read(&shared.judge(), &found, GOVERNED)?.into_parts();
    let token_count = u64::try_from(found.try_get::<i64>(LEFT, "token_count")?).unwrap_or(0);
    Ok(Some(ListedWorkspace { circumstances, token_count, now }))
}
