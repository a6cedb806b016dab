use sea_orm::{ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};
use tokend_core::{
    name::WorkspaceId,
    time::Timestamp,
    workspace::{Workspace, WorkspaceState},
};

use super::{cut, each};
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
    pub workspaces: Vec<Result<Workspace, StoreError>>,
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
    let workspace = row::read::<Workspace>(&shared.ring, &found, "")?.into_inner();
    let active_token_count = match workspace.state {
        WorkspaceState::Active | WorkspaceState::Suspended { .. } => active_token_count(shared, id, now).await?,
        WorkspaceState::Deleted { .. } => 0,
    };
    Ok(Some(StoredWorkspace { workspace, active_token_count }))
}

async fn active_token_count(shared: &Shared, id: &WorkspaceId, now: Timestamp) -> Result<u64, StoreError> {
    let not_expired =
        Condition::any().add(tokens::Column::ExpireTime.is_null()).add(tokens::Column::ExpireTime.gt(now.unix_micros()));
    let live = tokens::Entity::find()
        .filter(tokens::Column::Workspace.eq(id.as_str()))
        .filter(tokens::Column::RevokeTime.is_null())
        .filter(not_expired);
    row::count(shared.connection.query_one(&row::counting(live)).await?)
}

async fn list_workspaces(shared: &Shared, after: Option<String>, limit: u64) -> Result<WorkspacePage, StoreError> {
    let mut query = workspaces::Entity::find();
    if let Some(after) = after {
        query = query.filter(workspaces::Column::Id.gt(after));
    }
    let query = query.order_by_asc(workspaces::Column::Id).limit(limit.saturating_add(1));
    let mut rows = shared.connection.query_all(&query.into_query()).await?;
    let next = cut(&mut rows, limit, |row| Ok(row.try_get("", "id")?))?;
    Ok(WorkspacePage { workspaces: each(&shared.ring, &rows), next })
}
