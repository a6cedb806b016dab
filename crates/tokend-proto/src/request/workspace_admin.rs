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

/// A `CreateWorkspaceRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct CreateWorkspace {
    /// Its id.
    pub id: WorkspaceId,
    /// What to call it.
    pub display_name: DisplayName,
    /// The organization that it belongs to.
    pub organization: Option<OrganizationId>,
}

/// A `GetWorkspaceRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct GetWorkspace {
    /// Which.
    pub id: WorkspaceId,
}

/// A `SuspendWorkspaceRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct SuspendWorkspace {
    /// Which.
    pub id: WorkspaceId,
    /// Whether the answer may leave before every replica knows.
    pub no_wait: bool,
}

/// A `ResumeWorkspaceRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct ResumeWorkspace {
    /// Which.
    pub id: WorkspaceId,
}

/// A `DeleteWorkspaceRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct DeleteWorkspace {
    /// Which.
    pub id: WorkspaceId,
    /// Whether the answer may leave before every replica knows.
    pub no_wait: bool,
}

/// A `ListWorkspacesRequest` whose fields fit.
#[derive(Clone, Debug)]
pub struct ListWorkspaces {
    /// Which page.
    pub page: Page,
}

impl CreateWorkspace {
    /// Checks a message.
    ///
    /// # Errors
    /// Every field that does not fit.
    pub fn from_message(message: v1::CreateWorkspaceRequest) -> Result<Self, FieldViolations> {
        let v1::CreateWorkspaceRequest { workspace_id, display_name, organization } = message;
        let mut fields = Fields::default();
        let id = fields.check("workspace_id", workspace_id.parse());
        let display_name = fields.check("display_name", DisplayName::received(display_name));
        let organization = match organization.as_str() {
            "" => Some(None),
            name => fields.check("organization", OrganizationId::from_name(name).map(Some)),
        };
        fields.finish((|| Some(Self { id: id?, display_name: display_name?, organization: organization? }))())
    }
}

impl GetWorkspace {
    /// Checks a message.
    ///
    /// # Errors
    /// The field that does not fit.
    pub fn from_message(message: &v1::GetWorkspaceRequest) -> Result<Self, FieldViolations> {
        let v1::GetWorkspaceRequest { name } = message;
        Ok(Self { id: named(name)? })
    }
}

impl SuspendWorkspace {
    /// Checks a message.
    ///
    /// # Errors
    /// The field that does not fit.
    pub fn from_message(message: &v1::SuspendWorkspaceRequest) -> Result<Self, FieldViolations> {
        let v1::SuspendWorkspaceRequest { name, no_wait } = message;
        Ok(Self { id: named(name)?, no_wait: *no_wait })
    }
}

impl ResumeWorkspace {
    /// Checks a message.
    ///
    /// # Errors
    /// The field that does not fit.
    pub fn from_message(message: &v1::ResumeWorkspaceRequest) -> Result<Self, FieldViolations> {
        let v1::ResumeWorkspaceRequest { name } = message;
        Ok(Self { id: named(name)? })
    }
}

impl DeleteWorkspace {
    /// Checks a message.
    ///
    /// # Errors
    /// The field that does not fit.
    pub fn from_message(message: &v1::DeleteWorkspaceRequest) -> Result<Self, FieldViolations> {
        let v1::DeleteWorkspaceRequest { name, no_wait } = message;
        Ok(Self { id: named(name)?, no_wait: *no_wait })
    }
}

impl ListWorkspaces {
    /// Checks a message.
    ///
    /// # Errors
    /// The field that does not fit.
    pub fn from_message(message: v1::ListWorkspacesRequest) -> Result<Self, FieldViolations> {
        let v1::ListWorkspacesRequest { page_size, page_token } = message;
        let mut fields = Fields::default();
        let page = Page::from_fields(&mut fields, page_size, page_token);
        fields.finish(page.map(|page| Self { page }))
    }
}

/// The workspace of that name.
fn named(name: &str) -> Result<WorkspaceId, FieldViolations> {
    WorkspaceId::from_name(name).map_err(|error| FieldViolations::one("name", error))
}
