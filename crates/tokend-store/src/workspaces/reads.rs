use std::collections::BTreeMap;

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};
use tokend_core::{
    name::WorkspaceId,
    time::Timestamp,
    token::TokenContext,
    workspace::{Workspace, WorkspaceState},
};

use crate::{
    error::StoreError,
    row::{LEFT, cut, keep_each},
    shared::Shared,
    store::Store,
    tokens::filter_sql::not_ended,
    tokens::tables::tokens,
    workspaces::{
        tables::{organizations, workspaces},
        with_policy::{JOINED_WORKSPACE, WorkspaceWithPolicy, select_workspace},
    },
};

/// A workspace with its token count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredWorkspace {
    /// The workspace.
    pub workspace: Workspace,
    /// The number of its tokens that are neither revoked nor expired, including those that are being replaced. 0 if the
    /// workspace is deleted.
    pub active_token_count: u64,
}

/// A page of workspaces, by id.
#[derive(Debug)]
pub struct WorkspacePage {
    /// The workspaces. A row that fails verification is an error in its place.
    pub workspaces: Vec<Result<StoredWorkspace, StoreError>>,
    /// Where the next page starts, if there is one.
    pub next: Option<String>,
}

impl Store {
    /// Returns a workspace. `None` if it does not exist.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn workspace(&self, id: &WorkspaceId) -> Result<Option<StoredWorkspace>, StoreError> {
        let id = id.clone();
        self.run(move |shared| async move { workspace(&shared, &id).await })
            .await
    }

    /// Lists workspaces ordered by id: at most `limit`, after the id `after`.
    ///
    /// # Errors
    /// [`StoreError`] of the whole list; those of single workspaces are in the page.
    pub async fn list_workspaces(&self, after: Option<String>, limit: u64) -> Result<WorkspacePage, StoreError> {
        self.list(move |shared| async move { list_workspaces(&shared, after, limit).await })
            .await
    }
}

async fn workspace(shared: &Shared, id: &WorkspaceId) -> Result<Option<StoredWorkspace>, StoreError> {
    let mut query = select_workspace(id);
    shared.select_now(&mut query);
    let Some(found) = shared.connection.query_one(&query).await? else {
        return Ok(None);
    };
    let now = shared.read_now(&found)?;
    let (workspace, token_context) =
        WorkspaceWithPolicy::read(&shared.row_verifier(), &found, JOINED_WORKSPACE)?.into_parts();
    counted(&shared.connection, workspace, &token_context, now)
        .await
        .map(Some)
}

async fn list_workspaces(shared: &Shared, after: Option<String>, limit: u64) -> Result<WorkspacePage, StoreError> {
    let mut query = workspaces::Entity::find().find_also_related(organizations::Entity);
    if let Some(after) = after {
        query = query.filter(workspaces::Column::Id.gt(after));
    }
    let query = query
        .order_by_asc(workspaces::Column::Id)
        .limit(limit.saturating_add(1));
    let mut rows = shared.connection.query_all(&query.into_query()).await?;
    let next = cut(&mut rows, limit, |row| Ok(row.try_get(LEFT, "id")?))?;
    let row_verifier = shared.row_verifier();
    let found = keep_each(
        rows.iter()
            .map(|row| WorkspaceWithPolicy::read(&row_verifier, row, JOINED_WORKSPACE)),
    )?;
    let contexts: Vec<_> = found.iter().flatten().map(WorkspaceWithPolicy::token_context).collect();
    let now = shared.now(&shared.connection).await?;
    let counts = active_token_counts(&shared.connection, &contexts, now).await?;
    let workspaces = found
        .into_iter()
        .map(|workspace| workspace.map(|workspace| with_count(workspace.into_parts().0, &counts)))
        .collect();
    Ok(WorkspacePage { workspaces, next })
}

/// Returns the workspace with its token count at `now`.
pub(crate) async fn counted(
    connection: &impl ConnectionTrait,
    workspace: Workspace,
    token_context: &TokenContext,
    now: Timestamp,
) -> Result<StoredWorkspace, StoreError> {
    let counts = active_token_counts(connection, &[token_context], now).await?;
    Ok(with_count(workspace, &counts))
}

/// Counts the tokens of each workspace that are neither revoked nor expired. Leaves out workspaces without such tokens.
async fn active_token_counts(
    connection: &impl ConnectionTrait,
    of: &[&TokenContext],
    now: Timestamp,
) -> Result<BTreeMap<String, u64>, StoreError> {
    const COUNT: &str = "active_tokens";
    // Most workspaces have no deadline, or share that of their organization.
    let mut alike: BTreeMap<Option<Timestamp>, Vec<&str>> = BTreeMap::new();
    for TokenContext {
        workspace,
        state: _,
        deadlines,
    } in of
    {
        alike
            .entry(deadlines.created_until_ended(now))
            .or_default()
            .push(workspace.as_str());
    }
    let mut counts = BTreeMap::new();
    for (created_until_ended, workspaces) in alike {
        let query = tokens::Entity::find()
            .select_only()
            .column(tokens::Column::Workspace)
            .column_as(tokens::Column::Id.count(), COUNT)
            .filter(tokens::Column::Workspace.is_in(workspaces))
            .filter(not_ended(created_until_ended, now))
            .group_by(tokens::Column::Workspace);
        for row in connection.query_all(&query.into_query()).await? {
            counts.insert(
                row.try_get("", "workspace")?,
                row.try_get::<i64>("", COUNT)?.unsigned_abs(),
            );
        }
    }
    Ok(counts)
}

fn with_count(workspace: Workspace, counts: &BTreeMap<String, u64>) -> StoredWorkspace {
    let active_token_count = match workspace.state {
        WorkspaceState::Active | WorkspaceState::Suspended { .. } => {
            counts.get(workspace.id.as_str()).copied().unwrap_or(0)
        }
        WorkspaceState::Deleted { .. } => 0,
    };
    StoredWorkspace {
        workspace,
        active_token_count,
    }
}
