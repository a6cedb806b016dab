//! Requests of `WorkspaceAdmin`.

use tokend_core::{
    name::{OrganizationId, WorkspaceId},
    text::DisplayName,
};

use crate::{
    field::{FieldViolations, Fields},
    request::page::Page,
    v1,
};

/// A validated `CreateWorkspaceRequest`.
#[derive(Clone, Debug)]
pub struct CreateWorkspace {
    /// The id.
    pub id: WorkspaceId,
    /// The name to show to people.
    pub display_name: DisplayName,
    /// The organization that the workspace belongs to.
    pub organization: Option<OrganizationId>,
}

/// A validated `GetWorkspaceRequest`.
#[derive(Clone, Debug)]
pub struct GetWorkspace {
    /// The workspace.
    pub id: WorkspaceId,
}

/// A validated `SuspendWorkspaceRequest`.
#[derive(Clone, Debug)]
pub struct SuspendWorkspace {
    /// The workspace.
    pub id: WorkspaceId,
    /// Whether to respond before every replica knows.
    pub no_wait: bool,
}

/// A validated `ResumeWorkspaceRequest`.
#[derive(Clone, Debug)]
pub struct ResumeWorkspace {
    /// The workspace.
    pub id: WorkspaceId,
}

/// A validated `DeleteWorkspaceRequest`.
#[derive(Clone, Debug)]
pub struct DeleteWorkspace {
    /// The workspace.
    pub id: WorkspaceId,
    /// Whether to respond before every replica knows.
    pub no_wait: bool,
}

/// A validated `ListWorkspacesRequest`.
#[derive(Clone, Debug)]
pub struct ListWorkspaces {
    /// The page.
    pub page: Page,
}

impl CreateWorkspace {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with every invalid field.
    pub fn from_message(message: v1::CreateWorkspaceRequest) -> Result<Self, FieldViolations> {
        let v1::CreateWorkspaceRequest {
            workspace_id,
            display_name,
            organization,
        } = message;
        let mut fields = Fields::default();
        let id = fields.check("workspace_id", workspace_id.parse());
        let display_name = fields.check("display_name", DisplayName::received(display_name));
        let organization = match organization.as_str() {
            "" => Ok(None),
            name => fields.check("organization", OrganizationId::from_name(name).map(Some)),
        };
        fields.finish(|| {
            Ok(Self {
                id: id?,
                display_name: display_name?,
                organization: organization?,
            })
        })
    }
}

impl GetWorkspace {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with the invalid field.
    pub fn from_message(message: &v1::GetWorkspaceRequest) -> Result<Self, FieldViolations> {
        let v1::GetWorkspaceRequest { name } = message;
        let mut fields = Fields::default();
        let id = fields.check("name", WorkspaceId::from_name(name));
        fields.finish(|| Ok(Self { id: id? }))
    }
}

impl SuspendWorkspace {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with the invalid field.
    pub fn from_message(message: &v1::SuspendWorkspaceRequest) -> Result<Self, FieldViolations> {
        let v1::SuspendWorkspaceRequest { name, no_wait } = message;
        let mut fields = Fields::default();
        let id = fields.check("name", WorkspaceId::from_name(name));
        fields.finish(|| {
            Ok(Self {
                id: id?,
                no_wait: *no_wait,
            })
        })
    }
}

impl ResumeWorkspace {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with the invalid field.
    pub fn from_message(message: &v1::ResumeWorkspaceRequest) -> Result<Self, FieldViolations> {
        let v1::ResumeWorkspaceRequest { name } = message;
        let mut fields = Fields::default();
        let id = fields.check("name", WorkspaceId::from_name(name));
        fields.finish(|| Ok(Self { id: id? }))
    }
}

impl DeleteWorkspace {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with the invalid field.
    pub fn from_message(message: &v1::DeleteWorkspaceRequest) -> Result<Self, FieldViolations> {
        let v1::DeleteWorkspaceRequest { name, no_wait } = message;
        let mut fields = Fields::default();
        let id = fields.check("name", WorkspaceId::from_name(name));
        fields.finish(|| {
            Ok(Self {
                id: id?,
                no_wait: *no_wait,
            })
        })
    }
}

impl ListWorkspaces {
    /// Validates a message.
    ///
    /// # Errors
    /// [`FieldViolations`] with the invalid field.
    pub fn from_message(message: v1::ListWorkspacesRequest) -> Result<Self, FieldViolations> {
        let v1::ListWorkspacesRequest { page_size, page_token } = message;
        let mut fields = Fields::default();
        let page = Page::from_fields(&mut fields, page_size, page_token);
        fields.finish(|| Ok(Self { page: page? }))
    }
}
