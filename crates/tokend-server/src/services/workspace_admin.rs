use std::sync::Arc;

use tokend_proto::{
    request::workspace_admin::{CreateWorkspace, GetWorkspace, ListWorkspaces},
    v1,
    view::workspace_message,
};
use tokend_store::StoredWorkspace;
use tonic::{Request, Response, Status, async_trait};

use crate::{
    access::{Act, admitted, sees_workspace},
    paging::{List, id_position},
    refusal::Refusal,
    usecases::{Context, workspaces},
};

/// Makes and shows workspaces.
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
        let workspace = workspace_message(stored.workspace, stored.active_token_count);
        Ok(Response::new(v1::GetWorkspaceResponse { workspace: Some(workspace) }))
    }

    async fn list_workspaces(
        &self,
        request: Request<v1::ListWorkspacesRequest>,
    ) -> Result<Response<v1::ListWorkspacesResponse>, Status> {
        let (Act { caller, .. }, message) = admitted(request)?;
        let ListWorkspaces { page } = ListWorkspaces::from_message(message).map_err(Refusal::from)?;
        let keys = self.0.store.keys();
        let list = List { ring: &keys, caller: &caller, rpc: "ListWorkspaces", parent: "" };
        let after = list.position(&page, id_position).map_err(Refusal::from)?;
        let (stored, next) = workspaces::list(&self.0, &caller, after, page.size).await?;
        let message = |stored: StoredWorkspace| workspace_message(stored.workspace, stored.active_token_count);
        Ok(Response::new(v1::ListWorkspacesResponse {
            workspaces: stored.into_iter().map(message).collect(),
            next_page_token: list.next_page_token(next.as_deref().map(str::as_bytes)),
        }))
    }
}
