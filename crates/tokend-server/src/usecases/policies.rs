//! Token policies: shown, set, and tried out.
//!
//! ```text
//! the row of an organization or a workspace --core--> its next policy and deadlines --one write--> the row, a record, a revision
//!                                                                        +--> which tokens end earlier by that
//! ```
//!
//! No token is touched. Which ones end earlier is found out afterwards and without a lock, as it was at the moment of the edit, so that
//! nobody who revokes waits for it; a rehearsal finds out the same, and writes nothing.

use tokend_core::{
    audit::{Chain, Event, EventType, RowAfter},
    name::{OrganizationId, WorkspaceId},
    organization::Organization,
    policy::{Policy, PolicyName, PolicyState, Strictest},
    revision::Revision,
    row_mac::Sealed,
    time::Timestamp,
    workspace::{Workspace, WorkspaceState},
};
use tokend_proto::request::policies::{GetTokenPolicy, UpdateTokenPolicy};
use tokend_store::{Affected, Edit, Governed, StoreError, unreadable_policy};

use super::Context;
use crate::{
    access::{Act, Acting},
    refusal::Refusal,
};

/// Most affected tokens that are told.
const TOLD: u64 = 1_000;

/// A policy as it is shown.
pub(crate) struct Shown {
    pub(crate) name: PolicyName,
    pub(crate) policy: Policy,
    pub(crate) state: PolicyState,
    /// What binds the tokens of a workspace; none of an organization.
    pub(crate) effective: Option<Strictest>,
}

/// What setting a policy came to, or would come to.
pub(crate) struct Updated {
    pub(crate) shown: Shown,
    pub(crate) affected: Affected,
    /// None of a rehearsal.
    pub(crate) revision: Option<Revision>,
}

/// A policy and what it is set to, at some moment.
struct Edited {
    before: PolicyState,
    /// What it said.
    said: Policy,
    after: PolicyState,
    at: Timestamp,
    /// Of a workspace: what its organization's policy says.
    organizations: Option<Policy>,
}

impl Edited {
    fn is_change(&self) -> bool {
        self.before != self.after
    }
}

/// Shows a policy.
pub(crate) async fn get(context: &Context, request: GetTokenPolicy) -> Result<Shown, Refusal> {
    let GetTokenPolicy { name } = request;
    match &name {
        PolicyName::Organization(id) => {
            let Organization { policy: state, .. } = organization(context, id).await?;
            Ok(Shown { policy: said(Organization::TABLE, id.as_str(), &state)?, name, state, effective: None })
        }
        PolicyName::Workspace(id) => {
            let (governed, _) = workspace(context, id).await?;
            let (policy, organizations) = (governed.policy()?, governed.organizations_policy()?);
            let effective = Some(Strictest::of(organizations.rules(), policy.rules(), &context.catalog));
            Ok(Shown { name, policy, state: governed.policy.clone(), effective })
        }
    }
}

/// Sets a policy, or tells what that would change.
pub(crate) async fn update(context: &Context, act: Act, request: UpdateTokenPolicy) -> Result<Updated, Refusal> {
    let (edited, revision) = if request.validate_only {
        (rehearse(context, &request).await?, None)
    } else {
        let write = request.clone();
        let set = async move |tx: &Acting<'_>| set(tx, write).await;
        let (edited, revision) = act.write_advancing(&context.store, move |tx| Box::pin(async move { set(tx).await })).await?;
        (edited, Some(revision))
    };
    // Every verdict reads the database: there is no cache to wait for.
    let UpdateTokenPolicy { name, policy, etag: _, validate_only, no_wait: _ } = request;
    let Edited { before, said: _, after: state, at, organizations } = edited;
    let edit = Edit { of: name.clone(), before: before.deadlines, after: state.deadlines.clone(), at };
    // A rehearsal is a list. What was changed is answered, however many lists wait.
    let store = if validate_only { context.store.lists() } else { context.store.clone() };
    let affected = store.affected_tokens(edit, TOLD).await?;
    let effective = organizations.map(|other| Strictest::of(other.rules(), policy.rules(), &context.catalog));
    Ok(Updated { shown: Shown { name, policy, state, effective }, affected, revision })
}

async fn rehearse(context: &Context, request: &UpdateTokenPolicy) -> Result<Edited, Refusal> {
    match &request.name {
        PolicyName::Organization(id) => {
            let Organization { policy, .. } = organization(context, id).await?;
            let said = said(Organization::TABLE, id.as_str(), &policy)?;
            edit(request, policy, said, None, context.store.now().await?)
        }
        PolicyName::Workspace(id) => {
            let (governed, now) = workspace(context, id).await?;
            edit_of_workspace(request, &governed, now)
        }
    }
}

/// Sets a policy under the lock of its row, and records what changed. A policy that is set already is neither stored nor recorded again.
async fn set(tx: &Acting<'_>, request: UpdateTokenPolicy) -> Result<Edited, Refusal> {
    match &request.name {
        PolicyName::Organization(id) => {
            let read = tx.lock_organization(id).await?.ok_or_else(|| Refusal::OrganizationNotFound(id.clone()))?;
            let said = said(Organization::TABLE, id.as_str(), &read.policy)?;
            let edited = edit(&request, read.policy.clone(), said, None, tx.now().await?)?;
            if !edited.is_change() {
                return Ok(edited);
            }
            let changed = Organization { policy: edited.after.clone(), ..(*read).clone() };
            // Read under its lock: only a change behind our back can come in between.
            let changed =
                tx.update_organization(&read, changed).await?.ok_or_else(|| tampered(Organization::TABLE, id.as_str()))?;
            record(tx, &request, &edited, (Chain::Installation, tx.row_is(&*changed).await?)).await?;
            Ok(edited)
        }
        PolicyName::Workspace(id) => {
            let read = tx.lock_workspace(id).await?.ok_or_else(|| Refusal::WorkspaceNotFound(id.clone()))?;
            let edited = edit_of_workspace(&request, &read, tx.now().await?)?;
            if !edited.is_change() {
                return Ok(edited);
            }
            let changed = Workspace { policy: edited.after.clone(), ..(**read).clone() };
            let changed = tx.update_workspace(&read, changed).await?.ok_or_else(|| tampered(Workspace::TABLE, id.as_str()))?;
            record(tx, &request, &edited, (Chain::Workspace(id.clone()), tx.row_is(&*changed).await?)).await?;
            Ok(edited)
        }
    }
}

async fn record(
    tx: &Acting<'_>,
    request: &UpdateTokenPolicy,
    edited: &Edited,
    (chain, row): (Chain, RowAfter),
) -> Result<(), Refusal> {
    let event = tx.event(chain, EventType::PolicyUpdated, request.name.owner(), row);
    tx.audit(Event { detail: edited.said.changes(&request.policy), ..event }).await?;
    Ok(())
}

fn edit_of_workspace(request: &UpdateTokenPolicy, governed: &Governed, now: Timestamp) -> Result<Edited, Refusal> {
    match governed.state {
        WorkspaceState::Active | WorkspaceState::Suspended { .. } => {}
        WorkspaceState::Deleted { .. } => return Err(Refusal::WorkspaceDeleted(governed.id.clone())),
    }
    edit(request, governed.policy.clone(), governed.policy()?, Some(governed.organizations_policy()?), now)
}

/// What the request makes of a policy.
fn edit(
    request: &UpdateTokenPolicy,
    before: PolicyState,
    said: Policy,
    organizations: Option<Policy>,
    at: Timestamp,
) -> Result<Edited, Refusal> {
    if request.etag.as_ref().is_some_and(|etag| *etag != before.etag()) {
        return Err(Refusal::EtagMismatch(request.name.clone()));
    }
    let after = before.set(&said, &request.policy, at);
    Ok(Edited { before, said, after, at, organizations })
}

async fn organization(context: &Context, id: &OrganizationId) -> Result<Organization, Refusal> {
    context.store.organization(id).await?.ok_or_else(|| Refusal::OrganizationNotFound(id.clone()))
}

async fn workspace(context: &Context, id: &WorkspaceId) -> Result<(Governed, Timestamp), Refusal> {
    context.store.governed_workspace(id).await?.ok_or_else(|| Refusal::WorkspaceNotFound(id.clone()))
}

fn said(table: &'static str, row: &str, state: &PolicyState) -> Result<Policy, StoreError> {
    state.policy().map_err(|problem| unreadable_policy(table, row.to_owned(), problem))
}

fn tampered(table: &'static str, row: &str) -> StoreError {
    StoreError::Tampered { table, row: row.to_owned() }
}
