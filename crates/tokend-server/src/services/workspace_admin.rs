use std::sync::Arc;

use tokend_proto::{
    request::organizations::{CreateOrganization, GetOrganization, ListOrganizations},
    request::workspace_admin::{CreateWorkspace, DeleteWorkspace, GetWorkspace, ListWorkspaces, ResumeWorkspace, SuspendWorkspace},
    v1,
    view::{organization_message, workspace_message},
};
use tokend_store::StoredWorkspace;
use tonic::{Request, Response, Status, async_trait};

use crate::{
    access::{Act, admitted, sees_workspace},
    paging::{List, id_position},
    refusal::Refusal,
    usecases::{Context, organizations, workspaces},
};

/// Makes, shows, suspends and deletes workspaces; makes and shows organizations.
#[derive(Debug)]
pub(crate) struct WorkspaceAdminService(pub(crate) Arc<Context>);

#[async_trait]
impl v1::workspace_admin_server::WorkspaceAdmin for WorkspaceAdminService {
    async fn create_workspace(
        &self,
        request: Request<v1::CreateWorkspaceRequest>,
    ) -> Result<Response<v1::CreateWorkspaceResponse>, Status> {
        let (act, message) = admitted(request)?;
        let request = CreateWorkspace::from_message(message).map_err(Refusal::from)?;
        let workspace = workspaces::create(&self.0, act, request).await?;
        Ok(Response::new(v1::CreateWorkspaceResponse { workspace: Some(workspace_message(workspace, 0)) }))
    }

    async fn get_workspace(&self, request: Request<v1::GetWorkspaceRequest>) -> Result<Response<v1::GetWorkspaceResponse>, Status> {
        let (Act { caller, .. }, message) = admitted(request)?;
        sees_workspace(&caller, &message.name)?;
        let request = GetWorkspace::from_message(&message).map_err(Refusal::from)?;
        let stored = workspaces::get(&self.0, request).await?;
        Ok(Response::new(v1::GetWorkspaceResponse { workspace: Some(message_of(stored)) }))
    }

    async fn list_workspaces(
        &self,
        request: Request<v1::ListWorkspacesRequest>,
    ) -> Result<Response<v1::ListWorkspacesResponse>, Status> {
        let (Act { caller, .. }, message) = admitted(request)?;
        let ListWorkspaces { page } = ListWorkspaces::from_message(message).map_err(Refusal::from)?;
        let keys = self.0.store.keys();
        let list = List { ring: &keys, caller: &caller, rpc: "ListWorkspaces", parent: "", filter: "" };
        let after = list.position(&page, id_position).map_err(Refusal::from)?;
        let (stored, next) = workspaces::list(&self.0, &caller, after, page.size).await?;
        Ok(Response::new(v1::ListWorkspacesResponse {
            workspaces: stored.into_iter().map(message_of).collect(),
            next_page_token: list.next_page_token(next.as_deref().map(str::as_bytes)),
        }))
    }

    async fn suspend_workspace(
        &self,
        request: Request<v1::SuspendWorkspaceRequest>,
    ) -> Result<Response<v1::SuspendWorkspaceResponse>, Status> {
        let (act, message) = admitted(request)?;
        sees_workspace(&act.caller, &message.name)?;
        let request = SuspendWorkspace::from_message(&message).map_err(Refusal::from)?;
        let (stored, revision) = workspaces::suspend(&self.0, act, request).await?;
        let (workspace, revision) = (Some(message_of(stored)), Some(revision.into()));
        Ok(Response::new(v1::SuspendWorkspaceResponse { workspace, revision }))
    }

    async fn resume_workspace(
        &self,
        request: Request<v1::ResumeWorkspaceRequest>,
    ) -> Result<Response<v1::ResumeWorkspaceResponse>, Status> {
        let (act, message) = admitted(request)?;
        sees_workspace(&act.caller, &message.name)?;
        let request = ResumeWorkspace::from_message(&message).map_err(Refusal::from)?;
        let (stored, revision) = workspaces::resume(&self.0, act, request).await?;
        let (workspace, revision) = (Some(message_of(stored)), Some(revision.into()));
        Ok(Response::new(v1::ResumeWorkspaceResponse { workspace, revision }))
    }

    async fn delete_workspace(
        &self,
        request: Request<v1::DeleteWorkspaceRequest>,
    ) -> Result<Response<v1::DeleteWorkspaceResponse>, Status> {
        let (act, message) = admitted(request)?;
        sees_workspace(&act.caller, &message.name)?;
        let request = DeleteWorkspace::from_message(&message).map_err(Refusal::from)?;
        let (stored, revision) = workspaces::delete(&self.0, act, request).await?;
        let (workspace, revision) = (Some(message_of(stored)), Some(revision.into()));
        Ok(Response::new(v1::DeleteWorkspaceResponse { workspace, revision }))
    }

    async fn create_organization(
        &self,
        request: Request<v1::CreateOrganizationRequest>,
    ) -> Result<Response<v1::CreateOrganizationResponse>, Status> {
        let (act, message) = admitted(request)?;
        let request = CreateOrganization::from_message(message).map_err(Refusal::from)?;
        let organization = Some(organization_message(organizations::create(&self.0, act, request).await?));
        Ok(Response::new(v1::CreateOrganizationResponse { organization }))
    }

    async fn get_organization(
        &self,
        request: Request<v1::GetOrganizationRequest>,
    ) -> Result<Response<v1::GetOrganizationResponse>, Status> {
        let (_, message) = admitted(request)?;
        let GetOrganization { id } = GetOrganization::from_message(&message).map_err(Refusal::from)?;
        let organization = Some(organization_message(organizations::get(&self.0, id).await?));
        Ok(Response::new(v1::GetOrganizationResponse { organization }))
    }

    async fn list_organizations(
        &self,
        request: Request<v1::ListOrganizationsRequest>,
    ) -> Result<Response<v1::ListOrganizationsResponse>, Status> {
        let (Act { caller, .. }, message) = admitted(request)?;
        let ListOrganizations { page } = ListOrganizations::from_message(message).map_err(Refusal::from)?;
        let keys = self.0.store.keys();
        let list = List { ring: &keys, caller: &caller, rpc: "ListOrganizations", parent: "", filter: "" };
        let after = list.position(&page, id_position).map_err(Refusal::from)?;
        let (organizations, next) = organizations::list(&self.0, after, page.size).await?;
        Ok(Response::new(v1::ListOrganizationsResponse {
            organizations: organizations.into_iter().map(organization_message).collect(),
            next_page_token: list.next_page_token(next.as_deref().map(str::as_bytes)),
        }))
    }
}

fn message_of(stored: StoredWorkspace) -> v1::Workspace {
    workspace_message(stored.workspace, stored.active_token_count)
}
