//! Creating and reading organizations.

use tokend_core::{name::OrganizationId, organization::Organization, policy::PolicyState};
use tokend_proto::request::organizations::CreateOrganization;
use tokend_store::{Insert, OrganizationPage};

use super::Context;
use crate::{
    auth::{Acting, CallContext},
    error::ServiceError,
};

/// Creates an organization.
pub(crate) async fn create(
    context: &Context,
    call: CallContext,
    request: CreateOrganization,
) -> Result<Organization, ServiceError> {
    let CreateOrganization { id, display_name } = request;
    let create = async move |tx: &Acting<'_>| {
        let organization = Organization {
            id,
            display_name,
            create_time: tx.now().await?,
            policy: PolicyState::default(),
        };
        if tx.insert_organization(&organization).await? != Insert::Done {
            return Err(ServiceError::OrganizationAlreadyExists(organization.id));
        }
        Ok(organization)
    };
    call.write(&context.store, create).await
}

/// Returns an organization.
pub(crate) async fn get(context: &Context, id: OrganizationId) -> Result<Organization, ServiceError> {
    context
        .store
        .organization(&id)
        .await?
        .ok_or(ServiceError::OrganizationNotFound(id))
}

/// Returns a page of organizations, ordered by id, and the id after which the next page starts.
pub(crate) async fn list(
    context: &Context,
    after: Option<String>,
    limit: u16,
) -> Result<(Vec<Organization>, Option<String>), ServiceError> {
    let OrganizationPage { organizations, next } = context.store.list_organizations(after, limit.into()).await?;
    // The store has logged rows that can't be read. They do not keep others from being listed.
    Ok((organizations.into_iter().flatten().collect(), next))
}
