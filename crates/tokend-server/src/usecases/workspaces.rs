//! Making, showing, suspending and deleting workspaces.

use tokend_core::{
    audit::{Chain, Event, EventType, RowAfter},
    caller::{Caller, WorkspaceAccess},
    name::WorkspaceId,
    policy::PolicyState,
    revision::Revision,
    time::Timestamp,
    workspace::{DeletedForGood, Workspace, WorkspaceState},
};
use tokend_proto::request::workspace_admin::{CreateWorkspace, DeleteWorkspace, GetWorkspace, ResumeWorkspace, SuspendWorkspace};
use tokend_store::{Insert, StoreError, StoredWorkspace};

use super::Context;
use crate::{
    access::{Act, Acting},
    refusal::Refusal,
};

/// Makes a workspace.
pub(crate) async fn create(context: &Context, act: Act, request: CreateWorkspace) -> Result<Workspace, Refusal> {
    let CreateWorkspace { id, display_name, organization } = request;
    let create = async move |tx: &Acting<'_>| {
        if let Some(organization) = &organization
            && tx.organization(organization).await?.is_none()
        {
            return Err(Refusal::OrganizationNotFound(organization.clone()));
        }
        let create_time = tx.now().await?;
        let policy = PolicyState::default();
        let workspace = Workspace { id, display_name, organization, state: WorkspaceState::Active, create_time, policy };
        if tx.insert_workspace(&workspace).await? != Insert::Done {
            return Err(Refusal::WorkspaceAlreadyExists(workspace.id));
        }
        // In both chains: the workspace's own could be deleted whole.
        let (name, own) = (workspace.id.name(), Chain::Workspace(workspace.id.clone()));
        tx.audit(tx.event(Chain::Installation, EventType::WorkspaceCreated, name.clone(), RowAfter::None)).await?;
        let event = tx.event(own, EventType::WorkspaceCreated, name, tx.row_is(&workspace).await?);
        let detail = workspace.organization.as_ref().map(|organization| format!("in {}", organization.name()));
        tx.audit(Event { detail: detail.unwrap_or_default(), ..event }).await?;
        Ok(workspace)
    };
    act.write(&context.store, move |tx| Box::pin(async move { create(tx).await })).await
}

/// Shows a workspace.
pub(crate) async fn get(context: &Context, request: GetWorkspace) -> Result<StoredWorkspace, Refusal> {
    let GetWorkspace { id } = request;
    context.store.workspace(&id).await?.ok_or(Refusal::WorkspaceNotFound(id))
}

/// Has its tokens denied until it is resumed. One that is suspended stays as it is.
pub(crate) async fn suspend(
    context: &Context,
    act: Act,
    request: SuspendWorkspace,
) -> Result<(StoredWorkspace, Revision), Refusal> {
    // Every verdict reads the database: there is no cache to wait for.
    let SuspendWorkspace { id, no_wait: _ } = request;
    let suspend = async move |tx: &Acting<'_>| change(tx, id, EventType::WorkspaceSuspended, WorkspaceState::suspend).await;
    act.write_advancing(&context.store.reserved(), move |tx| Box::pin(async move { suspend(tx).await })).await
}

/// Ends a suspension.
pub(crate) async fn resume(context: &Context, act: Act, request: ResumeWorkspace) -> Result<(StoredWorkspace, Revision), Refusal> {
    let ResumeWorkspace { id } = request;
    let resume = async move |tx: &Acting<'_>| change(tx, id, EventType::WorkspaceResumed, |state, _| state.resume()).await;
    act.write_advancing(&context.store, move |tx| Box::pin(async move { resume(tx).await })).await
}

/// Ends it and every token of it. One that was deleted before stays as it is.
pub(crate) async fn delete(context: &Context, act: Act, request: DeleteWorkspace) -> Result<(StoredWorkspace, Revision), Refusal> {
    let DeleteWorkspace { id, no_wait: _ } = request;
    let delete = async move |tx: &Acting<'_>| change(tx, id, EventType::WorkspaceDeleted, |state, now| Ok(state.delete(now))).await;
    act.write_advancing(&context.store.reserved(), move |tx| Box::pin(async move { delete(tx).await })).await
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

/// Puts a workspace into the state that `next` makes of its own at the time of the change, and records that; nothing if it stays.
async fn change(
    tx: &Acting<'_>,
    id: WorkspaceId,
    kind: EventType,
    next: impl FnOnce(WorkspaceState, Timestamp) -> Result<WorkspaceState, DeletedForGood>,
) -> Result<StoredWorkspace, Refusal> {
    let read = tx.lock_workspace(&id).await?.ok_or_else(|| Refusal::WorkspaceNotFound(id.clone()))?;
    let state = next(read.state, tx.now().await?).map_err(|DeletedForGood| Refusal::WorkspaceDeleted(id.clone()))?;
    if state == read.state {
        return Ok(tx.counted((**read).clone(), read.circumstances()).await?);
    }
    let changed = Workspace { state, ..(**read).clone() };
    // Read under its lock: only a change behind our back can come in between.
    let tampered = || StoreError::Tampered { table: "workspaces", row: id.to_string() };
    let workspace = tx.update_workspace(&read, changed).await?.ok_or_else(tampered)?.into_inner();
    tx.audit(tx.event(Chain::Workspace(id), kind, workspace.id.name(), tx.row_is(&workspace).await?)).await?;
    Ok(tx.counted(workspace, read.circumstances()).await?)
}
