use sea_orm::{EntityTrait, QueryTrait};
use tokend_core::{name::OrganizationId, organization::Organization};

use super::{Insert, Locked, WriteTx};
use crate::{entity::organizations, error::StoreError, row};

impl WriteTx {
    /// An organization, not locked: none is ever deleted, but its policy may change meanwhile. `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn organization(&self, id: &OrganizationId) -> Result<Option<Organization>, StoreError> {
        let query = organizations::Entity::find_by_id(id.as_str());
        Ok(self.read_one(&query.into_query()).await?.map(Locked::into_inner))
    }

    /// Inserts an organization. [`Insert::Taken`] if there is one of that id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_organization(&self, organization: &Organization) -> Result<Insert, StoreError> {
        let mac = self.seal(organization).await?;
        self.insert(organizations::Entity::insert(row::organization_to_model(organization, &mac))).await
    }
}
