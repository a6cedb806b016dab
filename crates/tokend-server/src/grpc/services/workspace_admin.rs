use std::sync::Arc;

use tokend_proto::{
    request::organizations::{CreateOrganization, GetOrganization, ListOrganizations},
    request::policies::{GetTokenPolicy, UpdateTokenPolicy},
    request::workspace_admin::{
        CreateWorkspace, DeleteWorkspace, GetWorkspace, ListWorkspaces, ResumeWorkspace, SuspendWorkspace,
    },
    v1,
    view::{affected_token_message, effective_policy_message, organization_message, policy_message, workspace_message},
};
use tokend_store::{PolicyImpact, StoredWorkspace};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    auth::{CallContext, authorize_policy, authorize_workspace},
    error::ServiceError,
    grpc::call::authenticated,
    grpc::paging::{List, fit, id_position},
    usecases::{
        Context, organizations,
        policies::{self, PolicyView, Updated},
        workspaces,
    },
};

/// Manages workspaces, organizations, and the token policies of both.
#[derive(Debug)]
pub(crate) struct WorkspaceAdminService(pub(crate) Arc<Context>);

#[async_trait]
impl v1::workspace_admin_server::WorkspaceAdmin for WorkspaceAdminService {
    async fn create_workspace(
        &self,
        request: Request<v1::CreateWorkspaceRequest>,
    ) -> Result<Response<v1::CreateWorkspaceResponse>, Status> {
        let (call, message) = authenticated(request)?;
        let request = CreateWorkspace::from_message(message).map_err(ServiceError::from)?;
        let workspace = workspaces::create(&self.0, call, request).await?;
        Ok(Response::new(v1::CreateWorkspaceResponse {
            workspace: Some(workspace_message(workspace, 0)),
        }))
    }

    async fn get_workspace(
        &self,
        request: Request<v1::GetWorkspaceRequest>,
    ) -> Result<Response<v1::GetWorkspaceResponse>, Status> {
        let (CallContext { caller, .. }, message) = authenticated(request)?;
        authorize_workspace(&caller, &message.name)?;
        let request = GetWorkspace::from_message(&message).map_err(ServiceError::from)?;
        let stored = workspaces::get(&self.0, request).await?;
        Ok(Response::new(v1::GetWorkspaceResponse {
            workspace: Some(message_of(stored)),
        }))
    }

    async fn list_workspaces(
        &self,
        request: Request<v1::ListWorkspacesRequest>,
    ) -> Result<Response<v1::ListWorkspacesResponse>, Status> {
        let (call, message) = authenticated(request)?;
        let ListWorkspaces { page } = ListWorkspaces::from_message(message).map_err(ServiceError::from)?;
        let keys = self.0.store.keys();
        let list = List {
            ring: &keys,
            caller: &call.caller,
            rpc: "ListWorkspaces",
            parent: "",
            filter: "",
        };
        let after = list.position(&page, id_position).map_err(ServiceError::from)?;
        let (stored, next) = workspaces::list(&self.0, &call, after, page.size).await?;
        Ok(Response::new(v1::ListWorkspacesResponse {
            workspaces: stored.into_iter().map(message_of).collect(),
            next_page_token: list.next_page_token(next.as_deref().map(str::as_bytes)),
        }))
    }

    async fn suspend_workspace(
        &self,
        request: Request<v1::SuspendWorkspaceRequest>,
    ) -> Result<Response<v1::SuspendWorkspaceResponse>, Status> {
        let (call, message) = authenticated(request)?;
        authorize_workspace(&call.caller, &message.name)?;
        let request = SuspendWorkspace::from_message(&message).map_err(ServiceError::from)?;
        let (stored, revision) = workspaces::suspend(&self.0, call, request).await?;
        let (workspace, revision) = (Some(message_of(stored)), Some(revision.into()));
        Ok(Response::new(v1::SuspendWorkspaceResponse { workspace, revision }))
    }

    async fn resume_workspace(
        &self,
        request: Request<v1::ResumeWorkspaceRequest>,
    ) -> Result<Response<v1::ResumeWorkspaceResponse>, Status> {
        let (call, message) = authenticated(request)?;
        authorize_workspace(&call.caller, &message.name)?;
        let request = ResumeWorkspace::from_message(&message).map_err(ServiceError::from)?;
        let (stored, revision) = workspaces::resume(&self.0, call, request).await?;
        let (workspace, revision) = (Some(message_of(stored)), Some(revision.into()));
        Ok(Response::new(v1::ResumeWorkspaceResponse { workspace, revision }))
    }

    async fn delete_workspace(
        &self,
        request: Request<v1::DeleteWorkspaceRequest>,
    ) -> Result<Response<v1::DeleteWorkspaceResponse>, Status> {
        let (call, message) = authenticated(request)?;
        authorize_workspace(&call.caller, &message.name)?;
        let request = DeleteWorkspace::from_message(&message).map_err(ServiceError::from)?;
        let (stored, revision) = workspaces::delete(&self.0, call, request).await?;
        let (workspace, revision) = (Some(message_of(stored)), Some(revision.into()));
        Ok(Response::new(v1::DeleteWorkspaceResponse { workspace, revision }))
    }

    async fn create_organization(
        &self,
        request: Request<v1::CreateOrganizationRequest>,
    ) -> Result<Response<v1::CreateOrganizationResponse>, Status> {
        let (call, message) = authenticated(request)?;
        let request = CreateOrganization::from_message(message).map_err(ServiceError::from)?;
        let organization = Some(organization_message(
            organizations::create(&self.0, call, request).await?,
        ));
        Ok(Response::new(v1::CreateOrganizationResponse { organization }))
    }

    async fn get_organization(
        &self,
        request: Request<v1::GetOrganizationRequest>,
    ) -> Result<Response<v1::GetOrganizationResponse>, Status> {
        let (_, message) = authenticated(request)?;
        let GetOrganization { id } = GetOrganization::from_message(&message).map_err(ServiceError::from)?;
        let organization = Some(organization_message(organizations::get(&self.0, id).await?));
        Ok(Response::new(v1::GetOrganizationResponse { organization }))
    }

    async fn list_organizations(
        &self,
        request: Request<v1::ListOrganizationsRequest>,
    ) -> Result<Response<v1::ListOrganizationsResponse>, Status> {
        let (CallContext { caller, .. }, message) = authenticated(request)?;
        let ListOrganizations { page } = ListOrganizations::from_message(message).map_err(ServiceError::from)?;
        let keys = self.0.store.keys();
        let list = List {
            ring: &keys,
            caller: &caller,
            rpc: "ListOrganizations",
            parent: "",
            filter: "",
        };
        let after = list.position(&page, id_position).map_err(ServiceError::from)?;
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
        let (CallContext { caller, .. }, message) = authenticated(request)?;
        authorize_policy(&caller, &message.name)?;
        let request = GetTokenPolicy::from_message(&message).map_err(ServiceError::from)?;
        let (policy, effective) = policy_messages(&policies::get(&self.0, request).await?);
        Ok(Response::new(v1::GetTokenPolicyResponse {
            policy: Some(policy),
            effective,
        }))
    }

    async fn update_token_policy(
        &self,
        request: Request<v1::UpdateTokenPolicyRequest>,
    ) -> Result<Response<v1::UpdateTokenPolicyResponse>, Status> {
        let (call, message) = authenticated(request)?;
        authorize_policy(&call.caller, message.policy.as_ref().map_or("", |policy| &policy.name))?;
        let request = UpdateTokenPolicy::from_message(message, &self.0.catalog).map_err(ServiceError::from)?;
        let Updated {
            policy,
            affected: PolicyImpact { count, some },
            revision,
        } = policies::update(&self.0, call, request).await?;
        let (policy, effective) = policy_messages(&policy);
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

/// Returns the policy, and the rules that bind a workspace's tokens.
fn policy_messages(view: &PolicyView) -> (v1::TokenPolicy, Option<v1::TokenPolicy>) {
    let PolicyView {
        name,
        policy,
        state,
        effective,
    } = view;
    let effective = effective.as_ref().map(|rules| effective_policy_message(name, rules));
    (policy_message(name, policy, state), effective)
}

fn message_of(stored: StoredWorkspace) -> v1::Workspace {
    workspace_message(stored.workspace, stored.active_token_count)
}
