use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};
use tokend_core::{
    name::{OrganizationId, WorkspaceId},
    organization::Organization,
    row_mac::Sealed,
    workspace::Workspace,
};

use crate::{
    error::StoreError,
    row::{Locked, cut},
    shared::Shared,
    store::Store,
    workspaces::tables::{organizations, workspaces},
};

/// A page of organizations, by id.
#[derive(Debug)]
pub struct OrganizationPage {
    /// The organizations. A row that fails verification is an error in its place.
    pub organizations: Vec<Result<Organization, StoreError>>,
    /// Where the next page starts, if there is one.
    pub next: Option<String>,
}

impl Store {
    /// Returns an organization. `None` if it does not exist.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn organization(&self, id: &OrganizationId) -> Result<Option<Organization>, StoreError> {
        let id = id.clone();
        self.run(move |shared| async move { organization(&shared, &id).await })
            .await
    }

    /// Returns the ids of an organization's workspaces.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn workspaces_of(&self, id: &OrganizationId) -> Result<Vec<WorkspaceId>, StoreError> {
        let id = id.clone();
        self.run(move |shared| async move { workspaces_of(&shared, &id).await })
            .await
    }

    /// Lists organizations ordered by id: at most `limit`, after the id `after`.
    ///
    /// # Errors
    /// [`StoreError`] of the whole list; those of single organizations are in the page.
    pub async fn list_organizations(&self, after: Option<String>, limit: u64) -> Result<OrganizationPage, StoreError> {
        self.list(move |shared| async move { list_organizations(&shared, after, limit).await })
            .await
    }
}

async fn organization(shared: &Shared, id: &OrganizationId) -> Result<Option<Organization>, StoreError> {
    let found = shared
        .connection
        .query_one(&organizations::Entity::find_by_id(id.as_str()).into_query())
        .await?;
    Ok(found
        .map(|columns| shared.row_verifier().read(&columns, ""))
        .transpose()?
        .map(Locked::into_inner))
}

async fn workspaces_of(shared: &Shared, id: &OrganizationId) -> Result<Vec<WorkspaceId>, StoreError> {
    let query = workspaces::Entity::find()
        .select_only()
        .column(workspaces::Column::Id)
        .filter(workspaces::Column::Organization.eq(id.as_str()));
    let found = shared.connection.query_all(&query.into_query()).await?;
    let ids = found.iter().map(|row| {
        let id: String = row.try_get("", "id")?;
        id.parse()
            .map_err(|error| StoreError::corrupt(Workspace::TABLE, id, format!("column id {error}")))
    });
    ids.collect()
}

async fn list_organizations(
    shared: &Shared,
    after: Option<String>,
    limit: u64,
) -> Result<OrganizationPage, StoreError> {
    let mut query = organizations::Entity::find();
    if let Some(after) = after {
        query = query.filter(organizations::Column::Id.gt(after));
    }
    let query = query
        .order_by_asc(organizations::Column::Id)
        .limit(limit.saturating_add(1));
    let mut rows = shared.connection.query_all(&query.into_query()).await?;
    let next = cut(&mut rows, limit, |row| Ok(row.try_get("", "id")?))?;
    Ok(OrganizationPage {
        organizations: shared.row_verifier().each(&rows)?,
        next,
    })
}
