//! Making and showing workspaces.

use tokend_core::{
    audit::{Chain, EventType, RowAfter},
    caller::{Caller, WorkspaceAccess},
    workspace::{Workspace, WorkspaceState},
};
use tokend_proto::request::workspace_admin::{CreateWorkspace, GetWorkspace};
use tokend_store::{Insert, StoredWorkspace, WriteTx};

use super::Context;
use crate::{access::Act, refusal::Refusal};

/// Makes a workspace.
pub(crate) async fn create(context: &Context, act: Act, request: CreateWorkspace) -> Result<Workspace, Refusal> {
    let CreateWorkspace { id, display_name, organization } = request;
    if let Some(organization) = organization {
        // There is no way yet to make one.
        return Err(Refusal::OrganizationNotFound(organization));
    }
    let create = async move |tx: &WriteTx| {
        let create_time = tx.now().await?;
        let workspace = Workspace { id, display_name, organization: None, state: WorkspaceState::Active, create_time };
        if tx.insert_workspace(&workspace).await? != Insert::Done {
            return Err(Refusal::WorkspaceAlreadyExists(workspace.id));
        }
        // In both chains: the workspace's own could be deleted whole.
        let (name, own) = (workspace.id.name(), Chain::Workspace(workspace.id.clone()));
        tx.audit(act.event(Chain::Installation, EventType::WorkspaceCreated, name.clone(), RowAfter::None)).await?;
        tx.audit(act.event(own, EventType::WorkspaceCreated, name, tx.row_is(&workspace).await?)).await?;
        Ok(workspace)
    };
    context.store.write(move |tx| Box::pin(async move { create(tx).await })).await
}

/// Shows a workspace.
pub(crate) async fn get(context: &Context, request: GetWorkspace) -> Result<StoredWorkspace, Refusal> {
    let GetWorkspace { id } = request;
    context.store.workspace(&id).await?.ok_or(Refusal::WorkspaceNotFound(id))
}

/// A page of the workspaces that the caller may see, by id, and the id behind which the next page starts.
pub(crate) async fn list(
    context: &Context,
    caller: &Caller,
    after: Option<String>,
    limit: u16,
) -> Result<(Vec<StoredWorkspace>, Option<String>), Refusal> {
    match &caller.workspaces {
        WorkspaceAccess::All => {
            let page = context.store.list_workspaces(after, limit.into()).await?;
            // What can't be read was logged; it hides nothing else.
            Ok((page.workspaces.into_iter().flatten().collect(), page.next))
        }
        WorkspaceAccess::Only(only) => {
            let mut behind = only.iter().filter(|id| after.as_deref().is_none_or(|after| id.as_str() > after));
            let page: Vec<_> = behind.by_ref().take(limit.into()).collect();
            let next = behind.next().and(page.last()).map(ToString::to_string);
            let mut workspaces = Vec::with_capacity(page.len());
            for id in page {
                // One that a caller is limited to need not exist yet.
                workspaces.extend(context.store.workspace(id).await?);
            }
            Ok((workspaces, next))
        }
    }
}
