//! Creating, reading, suspending, resuming and deleting workspaces.

use tokend_core::{
    caller::WorkspaceAccess,
    feed::Revision,
    name::WorkspaceId,
    policy::PolicyState,
    time::Timestamp,
    workspace::{AlreadyDeleted, Workspace, WorkspaceState},
};
use tokend_proto::request::workspace_admin::{
    CreateWorkspace, DeleteWorkspace, GetWorkspace, ResumeWorkspace, SuspendWorkspace,
};
use tokend_store::{Insert, StoreError, StoredWorkspace};

use super::Context;
use crate::{
    auth::{Acting, CallContext, Wait},
    error::ServiceError,
};

/// Creates a workspace.
pub(crate) async fn create(
    context: &Context,
    call: CallContext,
    request: CreateWorkspace,
) -> Result<Workspace, ServiceError> {
    let CreateWorkspace {
        id,
        display_name,
        organization,
    } = request;
    let create = async move |tx: &Acting<'_>| {
        if let Some(organization) = &organization
            && tx.organization(organization).await?.is_none()
        {
            return Err(ServiceError::OrganizationNotFound(organization.clone()));
        }
        let create_time = tx.now().await?;
        let policy = PolicyState::default();
        let workspace = Workspace {
            id,
            display_name,
            organization,
            state: WorkspaceState::Active,
            create_time,
            policy,
        };
        if tx.insert_workspace(&workspace).await? != Insert::Done {
            return Err(ServiceError::WorkspaceAlreadyExists(workspace.id));
        }
        Ok(workspace)
    };
    call.write(&context.store, create).await
}

/// Returns a workspace.
pub(crate) async fn get(context: &Context, request: GetWorkspace) -> Result<StoredWorkspace, ServiceError> {
    let GetWorkspace { id } = request;
    context
        .store
        .workspace(&id)
        .await?
        .ok_or(ServiceError::WorkspaceNotFound(id))
}

/// Suspends a workspace: its tokens are denied until it is resumed. One that is suspended already stays as it is.
pub(crate) async fn suspend(
    context: &Context,
    call: CallContext,
    request: SuspendWorkspace,
) -> Result<(StoredWorkspace, Revision), ServiceError> {
    let SuspendWorkspace { id, no_wait } = request;
    let suspend = async move |tx: &Acting<'_>| change(tx, id, WorkspaceState::suspend).await;
    call.write_advancing(&context.store.reserved(), Wait::unless(no_wait, context), suspend)
        .await
}

/// Resumes a suspended workspace.
pub(crate) async fn resume(
    context: &Context,
    call: CallContext,
    request: ResumeWorkspace,
) -> Result<(StoredWorkspace, Revision), ServiceError> {
    let ResumeWorkspace { id } = request;
    let resume = async move |tx: &Acting<'_>| change(tx, id, |state, _| state.resume()).await;
    // What was denied may be allowed again: nothing to wait for.
    call.write_advancing(&context.store, Wait::No, resume).await
}

/// Deletes a workspace, which revokes all of its tokens. One that is deleted already stays as it is.
pub(crate) async fn delete(
    context: &Context,
    call: CallContext,
    request: DeleteWorkspace,
) -> Result<(StoredWorkspace, Revision), ServiceError> {
    let DeleteWorkspace { id, no_wait } = request;
    let delete = async move |tx: &Acting<'_>| change(tx, id, |state, now| Ok(state.delete(now))).await;
    call.write_advancing(&context.store.reserved(), Wait::unless(no_wait, context), delete)
        .await
}

/// Returns a page of the workspaces that the caller may see, ordered by id, and the id after which the next page
/// starts.
pub(crate) async fn list(
    context: &Context,
    call: &CallContext,
    after: Option<String>,
    limit: u16,
) -> Result<(Vec<StoredWorkspace>, Option<String>), ServiceError> {
    match &call.caller.workspaces {
        WorkspaceAccess::All => {
            let page = context.store.list_workspaces(after, limit.into()).await?;
            // The store has logged rows that can't be read. They do not keep others from being listed.
            Ok((page.workspaces.into_iter().flatten().collect(), page.next))
        }
        WorkspaceAccess::Only(only) => {
            let mut behind = only
                .iter()
                .filter(|id| after.as_deref().is_none_or(|after| id.as_str() > after));
            let page: Vec<_> = behind.by_ref().take(limit.into()).collect();
            let next = behind.next().and(page.last()).map(ToString::to_string);
            let mut workspaces = Vec::with_capacity(page.len());
            for id in page {
                // A caller may be limited to a workspace that does not exist yet.
                workspaces.extend(context.store.workspace(id).await?);
            }
            Ok((workspaces, next))
        }
    }
}

/// Puts a workspace into the state that `next` makes of its own at the time of the change, and records that; nothing if
/// it stays.
async fn change(
    tx: &Acting<'_>,
    id: WorkspaceId,
    next: impl FnOnce(WorkspaceState, Timestamp) -> Result<WorkspaceState, AlreadyDeleted>,
) -> Result<StoredWorkspace, ServiceError> {
    let read = tx
        .lock_workspace(&id)
        .await?
        .ok_or_else(|| ServiceError::WorkspaceNotFound(id.clone()))?;
    let state =
        next(read.state, tx.now().await?).map_err(|AlreadyDeleted| ServiceError::WorkspaceDeleted(id.clone()))?;
    if state == read.state {
        return Ok(tx.with_token_count((**read).clone(), read.token_context()).await?);
    }
    let changed = Workspace {
        state,
        ..(**read).clone()
    };
    // Read under its lock: only a change behind our back can come in between.
    let tampered = || StoreError::tampered("workspaces", id.to_string());
    let workspace = tx
        .update_workspace(&read, changed)
        .await?
        .ok_or_else(tampered)?
        .into_inner();
    Ok(tx.with_token_count(workspace, read.token_context()).await?)
}
