use std::sync::Arc;

use tokend_proto::{
    request::organizations::{CreateOrganization, GetOrganization, ListOrganizations},
    request::policies::{GetTokenPolicy, UpdateTokenPolicy},
    request::workspace_admin::{CreateWorkspace, DeleteWorkspace, GetWorkspace, ListWorkspaces, ResumeWorkspace, SuspendWorkspace},
    v1,
    view::{affected_token_message, effective_policy_message, organization_message, policy_message, workspace_message},
};
use tokend_store::{Affected, StoredWorkspace};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    access::{Act, admitted, sees_policy, sees_workspace},
    paging::{List, fit, id_position},
    refusal::Refusal,
    usecases::{
        Context, organizations,
        policies::{self, Shown, Updated},
        workspaces,
    },
};

/// Makes, shows, suspends and deletes workspaces; makes and shows organizations; shows and sets the token policies of both.
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

    async fn get_token_policy(
        &self,
        request: Request<v1::GetTokenPolicyRequest>,
    ) -> Result<Response<v1::GetTokenPolicyResponse>, Status> {
        let (Act { caller, .. }, message) = admitted(request)?;
        sees_policy(&caller, &message.name)?;
        let request = GetTokenPolicy::from_message(&message).map_err(Refusal::from)?;
        let (policy, effective) = policy_messages(&policies::get(&self.0, request).await?);
        Ok(Response::new(v1::GetTokenPolicyResponse { policy: Some(policy), effective }))
    }

    async fn update_token_policy(
        &self,
        request: Request<v1::UpdateTokenPolicyRequest>,
    ) -> Result<Response<v1::UpdateTokenPolicyResponse>, Status> {
        let (act, message) = admitted(request)?;
        sees_policy(&act.caller, message.policy.as_ref().map_or("", |policy| &policy.name))?;
        let request = UpdateTokenPolicy::from_message(message, &self.0.catalog).map_err(Refusal::from)?;
        let Updated { shown, affected: Affected { count, some }, revision } = policies::update(&self.0, act, request).await?;
        let (policy, effective) = policy_messages(&shown);
        let (affected, _) = fit(some.iter().map(|(token, end)| affected_token_message(token, *end)));
        Ok(Response::new(v1::UpdateTokenPolicyResponse {
            policy: Some(policy),
            effective,
            affected_count: i64::try_from(count).unwrap_or(i64::MAX),
            affected,
            revision: revision.map(Into::into),
        }))
    }
}

/// The policy, and what binds a workspace's tokens.
fn policy_messages(shown: &Shown) -> (v1::TokenPolicy, Option<v1::TokenPolicy>) {
    let Shown { name, policy, state, effective } = shown;
    let effective = effective.as_ref().map(|rules| effective_policy_message(name, rules));
    (policy_message(name, policy, state), effective)
}

fn message_of(stored: StoredWorkspace) -> v1::Workspace {
    workspace_message(stored.workspace, stored.active_token_count)
}
