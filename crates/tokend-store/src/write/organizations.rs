use sea_orm::{ActiveValue::NotSet, ColumnTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait};
use tokend_core::{ending::Ending, name::OrganizationId, organization::Organization, policy::PolicyName};

use super::{Insert, Locked, WriteTx};
use crate::{
    entity::organizations::{self, ActiveModel},
    error::StoreError,
    row,
};

impl WriteTx {
    /// An organization, not locked: none is ever deleted, but its policy may change meanwhile. `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn organization(&self, id: &OrganizationId) -> Result<Option<Organization>, StoreError> {
        let query = organizations::Entity::find_by_id(id.as_str());
        Ok(self.read_one(&query.into_query()).await?.map(Locked::into_inner))
    }

    /// An organization, locked until the transaction ends: no other write changes its policy, and nobody makes tokens in its workspaces
    /// meanwhile. `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lock_organization(&self, id: &OrganizationId) -> Result<Option<Locked<Organization>>, StoreError> {
        let query = organizations::Entity::find_by_id(id.as_str()).lock_exclusive();
        self.read_one(&query.into_query()).await
    }

    /// Puts `organization` in place of the one that was read; the id must be the same. `None` if the row is no longer what was read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn update_organization(
        &self,
        read: &Locked<Organization>,
        organization: Organization,
    ) -> Result<Option<Locked<Organization>>, StoreError> {
        let mac = self.seal(&organization).await?;
        let update = organizations::Entity::update_many()
            .set(ActiveModel { id: NotSet, ..row::organization_to_model(&organization, &mac) })
            .filter(organizations::Column::Id.eq(read.id.as_str()))
            .filter(organizations::Column::Id.eq(organization.id.as_str()))
            .filter(organizations::Column::Mac.eq(read.mac.to_bytes().to_vec()));
        if !self.change(&update.into_query()).await? {
            return Ok(None);
        }
        if organization.policy != read.policy {
            let Organization { id, create_time, policy, .. } = organization.clone();
            self.ends(Ending::Policy { name: PolicyName::Organization(id), create_time, state: policy });
        }
        if organization.policy.deadlines != read.policy.deadlines {
            self.plan_all_anew(&organization.id).await?;
        }
        Ok(Some(Locked::new(organization, mac)))
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
