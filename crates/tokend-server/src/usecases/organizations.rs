//! Making and showing organizations.

use tokend_core::{
    audit::{Chain, EventType},
    name::OrganizationId,
    organization::Organization,
    policy::PolicyState,
};
use tokend_proto::request::organizations::CreateOrganization;
use tokend_store::{Insert, OrganizationPage};

use super::Context;
use crate::{
    access::{Act, Acting},
    refusal::Refusal,
};

/// Makes an organization.
pub(crate) async fn create(context: &Context, act: Act, request: CreateOrganization) -> Result<Organization, Refusal> {
    let CreateOrganization { id, display_name } = request;
    let create = async move |tx: &Acting<'_>| {
        let organization = Organization { id, display_name, create_time: tx.now().await?, policy: PolicyState::default() };
        if tx.insert_organization(&organization).await? != Insert::Done {
            return Err(Refusal::OrganizationAlreadyExists(organization.id));
        }
        let (name, row) = (organization.id.name(), tx.row_is(&organization).await?);
        tx.audit(tx.event(Chain::Installation, EventType::OrganizationCreated, name, row)).await?;
        Ok(organization)
    };
    act.write(&context.store, move |tx| Box::pin(async move { create(tx).await })).await
}

/// Shows an organization.
pub(crate) async fn get(context: &Context, id: OrganizationId) -> Result<Organization, Refusal> {
    context.store.organization(&id).await?.ok_or(Refusal::OrganizationNotFound(id))
}

/// A page of organizations, by id, and the id behind which the next page starts.
pub(crate) async fn list(
    context: &Context,
    after: Option<String>,
    limit: u16,
) -> Result<(Vec<Organization>, Option<String>), Refusal> {
    let OrganizationPage { organizations, next } = context.store.list_organizations(after, limit.into()).await?;
    // What can't be read was logged; it hides nothing else.
    Ok((organizations.into_iter().flatten().collect(), next))
}
