//! Requests of `WorkspaceAdmin` about organizations.

use tokend_core::{name::OrganizationId, text::DisplayName};

use crate::{
    field::{FieldViolations, Fields},
    request::page::Page,
    v1,
};

/// A validated `CreateOrganizationRequest`.
#[derive(Clone, Debug)]
pub struct CreateOrganization {
    /// The id.
    pub id: OrganizationId,
    /// The name to show to people.
    pub display_name: DisplayName,
}

/// A validated `GetOrganizationRequest`.
#[derive(Clone, Debug)]
pub struct GetOrganization {
    /// The organization.
    pub id: OrganizationId,
}

/// A validated `ListOrganizationsRequest`.
#[derive(Clone, Debug)]
pub struct ListOrganizations {
    /// The page.
    pub page: Page,
}

impl CreateOrganization {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with every invalid field.
    pub fn from_message(message: v1::CreateOrganizationRequest) -> Result<Self, FieldViolations> {
        let v1::CreateOrganizationRequest {
            organization_id,
            display_name,
        } = message;
        let mut fields = Fields::default();
        let id = fields.check("organization_id", organization_id.parse());
        let display_name = fields.check("display_name", DisplayName::received(display_name));
        fields.finish(|| {
            Ok(Self {
                id: id?,
                display_name: display_name?,
            })
        })
    }
}

impl GetOrganization {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with the invalid field.
    pub fn from_message(message: &v1::GetOrganizationRequest) -> Result<Self, FieldViolations> {
        let v1::GetOrganizationRequest { name } = message;
        let mut fields = Fields::default();
        let id = fields.check("name", OrganizationId::from_name(name));
        fields.finish(|| Ok(Self { id: id? }))
    }
}

impl ListOrganizations {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with the invalid field.
    pub fn from_message(message: v1::ListOrganizationsRequest) -> Result<Self, FieldViolations> {
        let v1::ListOrganizationsRequest { page_size, page_token } = message;
        let mut fields = Fields::default();
        let page = Page::from_fields(&mut fields, page_size, page_token);
        fields.finish(|| Ok(Self { page: page? }))
    }
}
