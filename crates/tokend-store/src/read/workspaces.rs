use std::collections::BTreeMap;

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};
use tokend_core::{
    name::WorkspaceId,
    time::Timestamp,
    token::Circumstances,
    workspace::{Workspace, WorkspaceState},
};

use super::{
    LEFT, cut,
    governed::{GOVERNED, Governed, governed},
};
use crate::{
    entity::{organizations, tokens, workspaces},
    error::StoreError,
    row::{self, judged},
    store::{Shared, Store},
};

/// A workspace with what is counted in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredWorkspace {
    /// The workspace.
    pub workspace: Workspace,
    /// Its tokens that are neither revoked nor expired, those included that are being replaced; none when it is deleted.
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
        self.list(move |shared| async move { list_workspaces(&shared, after, limit).await }).await
    }
}

async fn workspace(shared: &Shared, id: &WorkspaceId) -> Result<Option<StoredWorkspace>, StoreError> {
    let mut query = governed(id);
    shared.select_now(&mut query);
    let Some(found) = shared.connection.query_one(&query).await? else { return Ok(None) };
    let now = shared.read_now(&found)?;
    let (workspace, circumstances) = Governed::read(&shared.judge(), &found, GOVERNED)?.into_parts();
    counted(&shared.connection, workspace, &circumstances, now).await.map(Some)
}

async fn list_workspaces(shared: &Shared, after: Option<String>, limit: u64) -> Result<WorkspacePage, StoreError> {
    let mut query = workspaces::Entity::find().find_also_related(organizations::Entity);
    if let Some(after) = after {
        query = query.filter(workspaces::Column::Id.gt(after));
    }
    let query = query.order_by_asc(workspaces::Column::Id).limit(limit.saturating_add(1));
    let mut rows = shared.connection.query_all(&query.into_query()).await?;
    let next = cut(&mut rows, limit, |row| Ok(row.try_get(LEFT, "id")?))?;
    let judge = shared.judge();
    let governed: Vec<_> = rows.iter().map(|row| judged(Governed::read(&judge, row, GOVERNED))).collect::<Result<_, _>>()?;
    let circumstances: Vec<_> = governed.iter().flatten().map(Governed::circumstances).collect();
    let counts = active_token_counts(&shared.connection, &circumstances, shared.now(&shared.connection).await?).await?;
    let workspaces = governed.into_iter().map(|governed| governed.map(|governed| with_count(governed.into_parts().0, &counts)));
    Ok(WorkspacePage { workspaces: workspaces.collect(), next })
}

/// The workspace with what is counted in it at `now`.
pub(crate) async fn counted(
    connection: &impl ConnectionTrait,
    workspace: Workspace,
    circumstances: &Circumstances,
    now: Timestamp,
) -> Result<StoredWorkspace, StoreError> {
    let counts = active_token_counts(connection, &[circumstances], now).await?;
    Ok(with_count(workspace, &counts))
}

/// How many tokens of each workspace are neither revoked nor expired; those that have none are left out.
async fn active_token_counts(
    connection: &impl ConnectionTrait,
    of: &[&Circumstances],
    now: Timestamp,
) -> Result<BTreeMap<String, u64>, StoreError> {
    const COUNT: &str = "active_tokens";
    // Most have no deadline, or that of their organization in common.
    let mut alike: BTreeMap<Option<Timestamp>, Vec<&str>> = BTreeMap::new();
    for Circumstances { workspace, state: _, deadlines } in of {
        alike.entry(deadlines.made_until_ended(now)).or_default().push(workspace.as_str());
    }
    let mut counts = BTreeMap::new();
    for (made_until_ended, workspaces) in alike {
        let query = tokens::Entity::find()
            .select_only()
            .column(tokens::Column::Workspace)
            .column_as(tokens::Column::Id.count(), COUNT)
            .filter(tokens::Column::Workspace.is_in(workspaces))
            .filter(row::not_ended(made_until_ended, now))
            .group_by(tokens::Column::Workspace);
        for row in connection.query_all(&query.into_query()).await? {
            counts.insert(row.try_get("", "workspace")?, row.try_get::<i64>("", COUNT)?.unsigned_abs());
        }
    }
    Ok(counts)
}

fn with_count(workspace: Workspace, counts: &BTreeMap<String, u64>) -> StoredWorkspace {
    let active_token_count = match workspace.state {
        WorkspaceState::Active | WorkspaceState::Suspended { .. } => counts.get(workspace.id.as_str()).copied().unwrap_or(0),
        WorkspaceState::Deleted { .. } => 0,
    };
    StoredWorkspace { workspace, active_token_count }
}
