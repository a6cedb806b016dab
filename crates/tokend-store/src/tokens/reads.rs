use std::collections::BTreeMap;

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};
use tokend_core::{
    credential::CredentialId,
    name::{TokenName, WorkspaceId},
    time::Timestamp,
    token::usage::Usage,
    token::{Token, TokenContext},
};

use crate::{
    error::StoreError,
    row::{LEFT, RIGHT, THIRD, TimeCursor, cut},
    shared::Shared,
    store::Store,
    tokens::tables::tokens,
    usage::reads::usage_of,
    workspaces::{
        tables::{organizations, workspaces},
        with_policy::{JOINED_WORKSPACE, WorkspaceWithPolicy, select_workspace},
    },
};

/// A token with everything that its state depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredToken {
    /// The token.
    pub token: Token,
    /// Its recorded usage. `None` if it was never used or if the usage was not read.
    pub usage: Option<Usage>,
    /// What its state depends on besides its own row.
    pub token_context: TokenContext,
    /// Database time.
    pub now: Timestamp,
}

/// A page of a workspace's tokens, newest first.
#[derive(Debug)]
pub struct TokenPage {
    /// The tokens. A row that fails verification is an error in its place.
    pub tokens: Vec<Result<Token, StoreError>>,
    /// The recorded usage of the tokens that were ever used.
    pub usage: BTreeMap<CredentialId, Usage>,
    /// Where the next page starts, if there is one.
    pub next: Option<TimeCursor>,
    /// The number of tokens on all pages. Without a filter it comes from a stored counter.
    pub total_size: u64,
    /// What their states depend on besides their own rows.
    pub token_context: TokenContext,
    /// Database time.
    pub now: Timestamp,
}

impl Store {
    /// Returns a token, read in one snapshot with its workspace. `None` if the workspace has no token with that id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn token(&self, name: &TokenName) -> Result<Option<StoredToken>, StoreError> {
        let name = name.clone();
        self.run(move |shared| async move { token(&shared, &name).await }).await
    }

    /// Lists a workspace's tokens, newest first: at most `limit`, after `after`. A token that is created meanwhile
    /// comes before the first page and shifts no page. `None` if the workspace does not exist.
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
        self.list(move |shared| async move { list_tokens(&shared, &workspace, after, limit).await })
            .await
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
    let Some(found) = shared.connection.query_one(&query).await? else {
        return Ok(None);
    };
    let now = shared.read_now(&found)?;
    let row_verifier = shared.row_verifier();
    let token = row_verifier.read::<Token>(&found, LEFT)?.into_inner();
    let (_, token_context) = WorkspaceWithPolicy::read(&row_verifier, &found, [RIGHT, THIRD])?.into_parts();
    let usage = usage_of(shared, [name.id]).await?.remove(&name.id);
    Ok(Some(StoredToken {
        token,
        usage,
        token_context,
        now,
    }))
}

async fn list_tokens(
    shared: &Shared,
    workspace: &WorkspaceId,
    after: Option<TimeCursor>,
    limit: u64,
) -> Result<Option<TokenPage>, StoreError> {
    let Some(listed) = workspace_of_list(shared, workspace).await? else {
        return Ok(None);
    };
    let mut query = tokens::Entity::find().filter(tokens::Column::Workspace.eq(workspace.as_str()));
    if let Some(after) = after {
        query = query.filter(after.comes_before([tokens::Column::CreateTime, tokens::Column::Id]));
    }
    let query = query
        .order_by_desc(tokens::Column::CreateTime)
        .order_by_desc(tokens::Column::Id)
        .limit(limit.saturating_add(1));
    let mut rows = shared.connection.query_all(&query.into_query()).await?;
    let next = cut(&mut rows, limit, TimeCursor::of)?;
    let ListedWorkspace {
        token_context,
        token_count: total_size,
        now,
    } = listed;
    let tokens = shared.row_verifier().each(&rows)?;
    let usage = usage_of(shared, ids(&tokens)).await?;
    Ok(Some(TokenPage {
        tokens,
        usage,
        next,
        total_size,
        token_context,
        now,
    }))
}

/// Returns the ids of the tokens that passed verification.
pub(crate) fn ids(tokens: &[Result<Token, StoreError>]) -> impl Iterator<Item = CredentialId> {
    tokens.iter().flatten().map(|token| token.name.id)
}

/// The workspace of a list of tokens.
pub(crate) struct ListedWorkspace {
    pub(crate) token_context: TokenContext,
    /// A stored counter of all its tokens.
    pub(crate) token_count: u64,
    /// Database time.
    pub(crate) now: Timestamp,
}

/// Reads the workspace of a list of tokens. `None` if it does not exist.
pub(crate) async fn workspace_of_list(
    shared: &Shared,
    id: &WorkspaceId,
) -> Result<Option<ListedWorkspace>, StoreError> {
    let mut query = select_workspace(id);
    shared.select_now(&mut query);
    let Some(found) = shared.connection.query_one(&query).await? else {
        return Ok(None);
    };
    let now = shared.read_now(&found)?;
    let (_, token_context) = WorkspaceWithPolicy::read(&shared.row_verifier(), &found, JOINED_WORKSPACE)?.into_parts();
    let token_count = u64::try_from(found.try_get::<i64>(LEFT, "token_count")?).unwrap_or(0);
    Ok(Some(ListedWorkspace {
        token_context,
        token_count,
        now,
    }))
}
