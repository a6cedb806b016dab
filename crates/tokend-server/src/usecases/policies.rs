//! GetTokenPolicy and UpdateTokenPolicy.
//!
//! ```text
//! the row of an organization or workspace --core--> its next policy and deadlines --one write--> the row and an event
//!                                                                                          then: the affected tokens
//! ```
//!
//! An update touches no token. The tokens that expire earlier because of it are counted after the write and without a
//! lock, as they were at the time of the update, so that no revocation waits for the count.

use tokend_core::{
    feed::Revision,
    name::{OrganizationId, WorkspaceId},
    organization::Organization,
    policy::{Policy, PolicyName, PolicyState, Strictest},
    row_mac::Sealed,
    time::Timestamp,
    workspace::{Workspace, WorkspaceState},
};
use tokend_proto::request::policies::{GetTokenPolicy, UpdateTokenPolicy};
use tokend_store::{DeadlineChange, PolicyImpact, StoreError, WorkspaceWithPolicy, unreadable_policy};

use super::Context;
use crate::{
    auth::{Acting, CallContext, Wait},
    error::ServiceError,
};

/// The most affected tokens that an answer lists.
const MOST_LISTED: u64 = 1_000;

/// A policy, as GetTokenPolicy returns it.
pub(crate) struct PolicyView {
    pub(crate) name: PolicyName,
    pub(crate) policy: Policy,
    pub(crate) state: PolicyState,
    /// The rules that bind a workspace's tokens. `None` for an organization.
    pub(crate) effective: Option<Strictest>,
}

/// The result of an update, or of a dry run.
pub(crate) struct Updated {
    pub(crate) policy: PolicyView,
    pub(crate) affected: PolicyImpact,
    /// A dry run has none.
    pub(crate) revision: Option<Revision>,
}

/// A policy before and after an update.
struct PolicyEdit {
    before: PolicyState,
    after: PolicyState,
    at: Timestamp,
    /// The policy of the workspace's organization. `None` when an organization's policy is updated.
    organizations: Option<Policy>,
}

impl PolicyEdit {
    fn is_change(&self) -> bool {
        self.before != self.after
    }
}

/// Returns a policy.
pub(crate) async fn get(context: &Context, request: GetTokenPolicy) -> Result<PolicyView, ServiceError> {
    let GetTokenPolicy { name } = request;
    match &name {
        PolicyName::Organization(id) => {
            let Organization { policy: state, .. } = organization(context, id).await?;
            Ok(PolicyView {
                policy: parse_policy(Organization::TABLE, id.as_str(), &state)?,
                name,
                state,
                effective: None,
            })
        }
        PolicyName::Workspace(id) => {
            let (workspace_with_policy, _) = workspace(context, id).await?;
            let (policy, organizations) = (
                workspace_with_policy.policy()?,
                workspace_with_policy.organizations_policy()?,
            );
            let effective = Some(Strictest::of(organizations.rules(), policy.rules(), &context.catalog));
            Ok(PolicyView {
                name,
                policy,
                state: workspace_with_policy.policy.clone(),
                effective,
            })
        }
    }
}

/// Updates a policy and returns the tokens that expire earlier because of it. With `validate_only` it stores nothing.
pub(crate) async fn update(
    context: &Context,
    call: CallContext,
    request: UpdateTokenPolicy,
) -> Result<Updated, ServiceError> {
    let (validate_only, wait) = (request.validate_only, Wait::unless(request.no_wait, context));
    let write = request.clone();
    let set = async move |tx: &Acting<'_>| set(tx, write).await;
    let (edited, revision) = if validate_only {
        (call.preview(&context.store, set).await?, None)
    } else {
        let (edited, revision) = call.write_advancing(&context.store, wait, set).await?;
        (edited, Some(revision))
    };
    let UpdateTokenPolicy { name, policy, .. } = request;
    let PolicyEdit {
        before,
        after: state,
        at,
        organizations,
    } = edited;
    let edit = DeadlineChange {
        of: name.clone(),
        before: before.deadlines,
        after: state.deadlines.clone(),
        at,
    };
    // A dry run is a list. An update is answered however many lists wait.
    let store = if validate_only {
        context.store.lists()
    } else {
        context.store.clone()
    };
    let affected = store.affected_tokens(edit, MOST_LISTED).await?;
    let effective = organizations.map(|other| Strictest::of(other.rules(), policy.rules(), &context.catalog));
    Ok(Updated {
        policy: PolicyView {
            name,
            policy,
            state,
            effective,
        },
        affected,
        revision,
    })
}

/// Updates a policy under the lock of its row. A policy that does not change is neither stored nor recorded.
async fn set(tx: &Acting<'_>, request: UpdateTokenPolicy) -> Result<PolicyEdit, ServiceError> {
    match &request.name {
        PolicyName::Organization(id) => {
            let read = tx
                .lock_organization(id)
                .await?
                .ok_or_else(|| ServiceError::OrganizationNotFound(id.clone()))?;
            let current = parse_policy(Organization::TABLE, id.as_str(), &read.policy)?;
            let edited = edit(&request, read.policy.clone(), current, None, tx.now().await?)?;
            if !edited.is_change() {
                return Ok(edited);
            }
            let changed = Organization {
                policy: edited.after.clone(),
                ..(*read).clone()
            };
            tx.update_organization(&read, changed)
                .await?
                .ok_or_else(|| tampered(Organization::TABLE, id.as_str()))?;
            Ok(edited)
        }
        PolicyName::Workspace(id) => {
            let read = tx
                .lock_workspace(id)
                .await?
                .ok_or_else(|| ServiceError::WorkspaceNotFound(id.clone()))?;
            let edited = edit_of_workspace(&request, &read, tx.now().await?)?;
            if !edited.is_change() {
                return Ok(edited);
            }
            let changed = Workspace {
                policy: edited.after.clone(),
                ..(**read).clone()
            };
            tx.update_workspace(&read, changed)
                .await?
                .ok_or_else(|| tampered(Workspace::TABLE, id.as_str()))?;
            Ok(edited)
        }
    }
}

fn edit_of_workspace(
    request: &UpdateTokenPolicy,
    workspace_with_policy: &WorkspaceWithPolicy,
    now: Timestamp,
) -> Result<PolicyEdit, ServiceError> {
    match workspace_with_policy.state {
        WorkspaceState::Active | WorkspaceState::Suspended { .. } => {}
        WorkspaceState::Deleted { .. } => return Err(ServiceError::WorkspaceDeleted(workspace_with_policy.id.clone())),
    }
    edit(
        request,
        workspace_with_policy.policy.clone(),
        workspace_with_policy.policy()?,
        Some(workspace_with_policy.organizations_policy()?),
        now,
    )
}

/// Returns the policy before and after the update.
fn edit(
    request: &UpdateTokenPolicy,
    before: PolicyState,
    current: Policy,
    organizations: Option<Policy>,
    at: Timestamp,
) -> Result<PolicyEdit, ServiceError> {
    if request.etag.as_ref().is_some_and(|etag| *etag != before.etag()) {
        return Err(ServiceError::EtagMismatch(request.name.clone()));
    }
    let after = before.set(&current, &request.policy, at);
    Ok(PolicyEdit {
        before,
        after,
        at,
        organizations,
    })
}

async fn organization(context: &Context, id: &OrganizationId) -> Result<Organization, ServiceError> {
    context
        .store
        .organization(id)
        .await?
        .ok_or_else(|| ServiceError::OrganizationNotFound(id.clone()))
}

async fn workspace(context: &Context, id: &WorkspaceId) -> Result<(WorkspaceWithPolicy, Timestamp), ServiceError> {
    context
        .store
        .workspace_with_policy(id)
        .await?
        .ok_or_else(|| ServiceError::WorkspaceNotFound(id.clone()))
}

fn parse_policy(table: &'static str, row: &str, state: &PolicyState) -> Result<Policy, StoreError> {
    state
        .policy()
        .map_err(|problem| unreadable_policy(table, row.to_owned(), problem))
}

fn tampered(table: &'static str, row: &str) -> StoreError {
    StoreError::tampered(table, row.to_owned())
}
