use sea_orm::{ActiveValue::NotSet, ColumnTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait};
use tokend_core::{change::Change, name::OrganizationId, organization::Organization};

use crate::{
    error::StoreError,
    row::Locked,
    transaction::{Insert, WriteTx},
    workspaces::tables::organizations::{self, ActiveModel},
};

impl WriteTx {
    /// Reads an organization without a lock: its policy may change meanwhile, but it is never deleted. Returns `None`
    /// if it does not exist.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn organization(&self, id: &OrganizationId) -> Result<Option<Organization>, StoreError> {
        let query = organizations::Entity::find_by_id(id.as_str());
        Ok(self.read_one(&query.into_query()).await?.map(Locked::into_inner))
    }

    /// Reads an organization and locks it until the transaction ends: meanwhile no other write changes its policy or
    /// creates tokens in its workspaces. Returns `None` if it does not exist.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lock_organization(&self, id: &OrganizationId) -> Result<Option<Locked<Organization>>, StoreError> {
        let query = organizations::Entity::find_by_id(id.as_str()).lock_exclusive();
        self.read_one(&query.into_query()).await
    }

    /// Replaces the organization that was read with `organization`. Only its policy can change. Returns `None` if
    /// something else would change, or if the row has changed since it was read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn update_organization(
        &self,
        read: &Locked<Organization>,
        organization: Organization,
    ) -> Result<Option<Locked<Organization>>, StoreError> {
        let policy = organization.policy.clone();
        let changes_no_more = Organization {
            policy,
            ..(**read).clone()
        } == organization;
        if !changes_no_more {
            return Ok(None);
        }
        let mac = self.seal(&organization).await?;
        let update = organizations::Entity::update_many()
            .set(ActiveModel {
                id: NotSet,
                ..super::row::organization_to_model(&organization, &mac)
            })
            .filter(organizations::Column::Id.eq(read.id.as_str()))
            .filter(organizations::Column::Mac.eq(read.mac.to_bytes().to_vec()));
        if !self.change(&update.into_query()).await? {
            return Ok(None);
        }
        if organization.policy != read.policy {
            self.record(Change::OrganizationPolicyUpdated {
                organization: organization.clone(),
                before: read.policy.clone(),
            });
        }
        if organization.policy.deadlines != read.policy.deadlines {
            self.plan_all_anew(&organization.id).await?;
        }
        Ok(Some(Locked::new(organization, mac)))
    }

    /// Inserts an organization. Returns [`Insert::Taken`] if the id exists.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_organization(&self, organization: &Organization) -> Result<Insert, StoreError> {
        let mac = self.seal(organization).await?;
        let row = super::row::organization_to_model(organization, &mac);
        let inserted = self.insert(organizations::Entity::insert(row)).await?;
        if inserted == Insert::Done {
            self.record(Change::OrganizationCreated(organization.clone()));
        }
        Ok(inserted)
    }
}
