use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};
use tokend_core::{name::OrganizationId, organization::Organization};

use super::cut;
use crate::{
    entity::organizations,
    error::StoreError,
    store::{Shared, Store},
    write::Locked,
};

/// A page of organizations, by id.
#[derive(Debug)]
pub struct OrganizationPage {
    /// The organizations; what can't be read or was tampered with is an error in its place.
    pub organizations: Vec<Result<Organization, StoreError>>,
    /// Where the next page starts, if there is one.
    pub next: Option<String>,
}

impl Store {
    /// An organization. `None` if there is none of that id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn organization(&self, id: &OrganizationId) -> Result<Option<Organization>, StoreError> {
        let id = id.clone();
        self.run(move |shared| async move { organization(&shared, &id).await }).await
    }

    /// Organizations ordered by id, at most `limit` and after the id `after`.
    ///
    /// # Errors
    /// [`StoreError`] of the whole list; those of single organizations are in the page.
    pub async fn list_organizations(&self, after: Option<String>, limit: u64) -> Result<OrganizationPage, StoreError> {
        self.list(move |shared| async move { list_organizations(&shared, after, limit).await }).await
    }
}

async fn organization(shared: &Shared, id: &OrganizationId) -> Result<Option<Organization>, StoreError> {
    let found = shared.connection.query_one(&organizations::Entity::find_by_id(id.as_str()).into_query()).await?;
    Ok(found.map(|columns| shared.judge().read(&columns, "")).transpose()?.map(Locked::into_inner))
}

async fn list_organizations(shared: &Shared, after: Option<String>, limit: u64) -> Result<OrganizationPage, StoreError> {
    let mut query = organizations::Entity::find();
    if let Some(after) = after {
        query = query.filter(organizations::Column::Id.gt(after));
    }
    let query = query.order_by_asc(organizations::Column::Id).limit(limit.saturating_add(1));
    let mut rows = shared.connection.query_all(&query.into_query()).await?;
    let next = cut(&mut rows, limit, |row| Ok(row.try_get("", "id")?))?;
    Ok(OrganizationPage { organizations: shared.judge().each(&rows)?, next })
}
