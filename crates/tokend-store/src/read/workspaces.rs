use std::collections::BTreeMap;

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect, QueryTrait};
use tokend_core::{
    name::WorkspaceId,
    time::Timestamp,
    workspace::{Workspace, WorkspaceState},
};

use super::cut;
use crate::{
    entity::{tokens, workspaces},
    error::StoreError,
    row,
    store::{Shared, Store},
};

/// A workspace with what is counted in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredWorkspace {
    /// The workspace.
    pub workspace: Workspace,
    /// Its tokens that are neither revoked nor expired; none when it is deleted.
    pub active_token_count: u64,
}

/// A page of workspaces, by id.
#[derive(Debug)]
pub struct WorkspacePage {
    /// The workspaces; what can't be read or was tampered with is an error in its place.
    pub workspaces: Vec<Result<StoredWorkspace, StoreError>>,
    /// Where the next page starts, if there is one.
    pub next: Option<String>,
}

impl Store {
    /// A workspace. `None` if there is none of that id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn workspace(&self, id: &WorkspaceId) -> Result<Option<StoredWorkspace>, StoreError> {
        let id = id.clone();
        self.run(move |shared| async move { workspace(&shared, &id).await }).await
    }

    /// Workspaces ordered by id, at most `limit` and after the id `after`.
    ///
    /// # Errors
    /// [`StoreError`] of the whole list; those of single workspaces are in the page.
    pub async fn list_workspaces(&self, after: Option<String>, limit: u64) -> Result<WorkspacePage, StoreError> {
        self.run(move |shared| async move { list_workspaces(&shared, after, limit).await }).await
    }
}

async fn workspace(shared: &Shared, id: &WorkspaceId) -> Result<Option<StoredWorkspace>, StoreError> {
    let mut query = workspaces::Entity::find_by_id(id.as_str()).into_query();
    shared.select_now(&mut query);
    let Some(found) = shared.connection.query_one(&query).await? else { return Ok(None) };
    let now = shared.read_now(&found)?;
    let workspace = shared.judge().read::<Workspace>(&found, "")?.into_inner();
    counted(&shared.connection, workspace, now).await.map(Some)
}

async fn list_workspaces(shared: &Shared, after: Option<String>, limit: u64) -> Result<WorkspacePage, StoreError> {
    let mut query = workspaces::Entity::find();
    if let Some(after) = after {
        query = query.filter(workspaces::Column::Id.gt(after));
    }
    let query = query.order_by_asc(workspaces::Column::Id).limit(limit.saturating_add(1));
    let mut rows = shared.connection.query_all(&query.into_query()).await?;
    let next = cut(&mut rows, limit, |row| Ok(row.try_get("", "id")?))?;
    let workspaces: Vec<Result<Workspace, _>> = shared.judge().each(&rows)?;
    let ids: Vec<_> = workspaces.iter().flatten().map(|workspace| workspace.id.as_str()).collect();
    let counts = active_token_counts(&shared.connection, &ids, shared.now(&shared.connection).await?).await?;
    let workspaces = workspaces.into_iter().map(|workspace| workspace.map(|workspace| with_count(workspace, &counts))).collect();
    Ok(WorkspacePage { workspaces, next })
}

/// The workspace with what is counted in it at `now`.
pub(crate) async fn counted(
    connection: &impl ConnectionTrait,
    workspace: Workspace,
    now: Timestamp,
) -> Result<StoredWorkspace, StoreError> {
    let counts = active_token_counts(connection, &[workspace.id.as_str()], now).await?;
    Ok(with_count(workspace, &counts))
}

/// How many tokens of each workspace are neither revoked nor expired; those that have none are left out.
async fn active_token_counts(
    connection: &impl ConnectionTrait,
    ids: &[&str],
    now: Timestamp,
) -> Result<BTreeMap<String, u64>, StoreError> {
    const COUNT: &str = "active_tokens";
    let query = tokens::Entity::find()
        .select_only()
        .column(tokens::Column::Workspace)
        .column_as(tokens::Column::Id.count(), COUNT)
        .filter(tokens::Column::Workspace.is_in(ids.iter().copied()))
        .filter(row::not_ended(now))
        .group_by(tokens::Column::Workspace);
    let rows = connection.query_all(&query.into_query()).await?;
    let count = |row: QueryResult| Ok((row.try_get("", "workspace")?, row.try_get::<i64>("", COUNT)?.unsigned_abs()));
    rows.into_iter().map(count).collect()
}

fn with_count(workspace: Workspace, counts: &BTreeMap<String, u64>) -> StoredWorkspace {
    let active_token_count = match workspace.state {
        WorkspaceState::Active | WorkspaceState::Suspended { .. } => counts.get(workspace.id.as_str()).copied().unwrap_or(0),
        WorkspaceState::Deleted { .. } => 0,
    };
    StoredWorkspace { workspace, active_token_count }
}
