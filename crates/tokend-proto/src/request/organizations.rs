//! Requests of `WorkspaceAdmin` about organizations.

use tokend_core::{name::OrganizationId, text::DisplayName};

use crate::{
    field::{FieldViolations, Fields},
    request::page::Page,
    v1,
};

/// A `CreateOrganizationRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct CreateOrganization {
    /// Its id.
    pub id: OrganizationId,
    /// What to call it.
    pub display_name: DisplayName,
}

/// A `GetOrganizationRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct GetOrganization {
    /// Which.
    pub id: OrganizationId,
}

/// A `ListOrganizationsRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct ListOrganizations {
    /// Which page.
    pub page: Page,
}

impl CreateOrganization {
    /// Checks a message.
    ///
    /// # Errors
    /// Every field that does not fit.
    pub fn from_message(message: v1::CreateOrganizationRequest) -> Result<Self, FieldViolations> {
        let v1::CreateOrganizationRequest { organization_id, display_name } = message;
        let mut fields = Fields::default();
        let id = fields.check("organization_id", organization_id.parse());
        let display_name = fields.check("display_name", DisplayName::received(display_name));
        fields.finish((|| Some(Self { id: id?, display_name: display_name? }))())
    }
}

impl GetOrganization {
    /// Checks a message.
    ///
    /// # Errors
    /// The field that does not fit.
    pub fn from_message(message: &v1::GetOrganizationRequest) -> Result<Self, FieldViolations> {
        let v1::GetOrganizationRequest { name } = message;
        let id = OrganizationId::from_name(name).map_err(|error| FieldViolations::one("name", error))?;
        Ok(Self { id })
    }
}

impl ListOrganizations {
    /// Checks a message.
    ///
    /// # Errors
    /// The field that does not fit.
    pub fn from_message(message: v1::ListOrganizationsRequest) -> Result<Self, FieldViolations> {
        let v1::ListOrganizationsRequest { page_size, page_token } = message;
        let mut fields = Fields::default();
        let page = Page::from_fields(&mut fields, page_size, page_token);
        fields.finish(page.map(|page| Self { page }))
    }
}
