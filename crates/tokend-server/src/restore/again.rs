//! One ending, applied to a restored database where it still has to be.

use tokend_core::{
    audit::{Chain, Event, EventType, Origin, Outcome, RowAfter},
    ending::Ending,
    organization::Organization,
    policy::PolicyName,
    token::{Expiry, Token},
    workspace::{Workspace, WorkspaceState},
};
use tokend_store::{Governed, Locked, StoreError, WriteTx};

use super::Restored;

/// Ends what is there and has not ended.
pub(super) async fn end_again(tx: &WriteTx, ending: Ending, done: &mut Restored) -> Result<(), StoreError> {
    match ending {
        Ending::Token { name, revocation } => {
            let Some(_) = tx.lock_workspace(&name.workspace).await? else { return Ok(()) };
            let Some(read) = tx.token(&name).await?.filter(|token| token.revocation.is_none()) else { return Ok(()) };
            let reason = revocation.reason.as_str().to_owned();
            let Some(token) = tx.revoke_token(&read, revocation).await? else { return Ok(()) };
            let chain = Chain::Workspace(name.workspace.clone());
            let event = event(chain, EventType::TokenRevoked, name.to_string(), tx.row_is(&*token).await?);
            tx.audit(Event { reason, ..event }).await?;
            done.tokens += 1;
        }
        Ending::Workspace { id, create_time, state } => {
            // One of that id that was made later is another.
            let read = tx.lock_workspace(&id).await?.filter(|read| read.create_time == create_time && read.state != state);
            let Some(read) = read.filter(|read| !matches!(read.state, WorkspaceState::Deleted { .. })) else { return Ok(()) };
            let changed = Workspace { state, ..(**read).clone() };
            let Some(workspace) = tx.update_workspace(&read, changed).await? else { return Ok(()) };
            let kind = match state {
                WorkspaceState::Active => EventType::WorkspaceResumed,
                WorkspaceState::Suspended { .. } => EventType::WorkspaceSuspended,
                WorkspaceState::Deleted { .. } => EventType::WorkspaceDeleted,
            };
            let row = tx.row_is(&*workspace).await?;
            tx.audit(event(Chain::Workspace(id.clone()), kind, id.name(), row)).await?;
            done.workspaces += 1;
        }
        Ending::Policy { name: PolicyName::Workspace(id), create_time, state } => {
            let is_older = |read: &Governed| read.create_time == create_time && read.policy.update_time < state.update_time;
            let Some(read) = tx.lock_workspace(&id).await?.filter(is_older) else { return Ok(()) };
            let changed = Workspace { policy: state, ..(**read).clone() };
            let Some(workspace) = tx.update_workspace(&read, changed).await? else { return Ok(()) };
            let row = tx.row_is(&*workspace).await?;
            tx.audit(event(Chain::Workspace(id.clone()), EventType::PolicyUpdated, id.name(), row)).await?;
            done.policies += 1;
        }
        Ending::Policy { name: PolicyName::Organization(id), create_time, state } => {
            let is_older =
                |read: &Locked<Organization>| read.create_time == create_time && read.policy.update_time < state.update_time;
            let Some(read) = tx.lock_organization(&id).await?.filter(is_older) else { return Ok(()) };
            let changed = Organization { policy: state, ..(*read).clone() };
            let Some(organization) = tx.update_organization(&read, changed).await? else { return Ok(()) };
            let row = tx.row_is(&*organization).await?;
            tx.audit(event(Chain::Installation, EventType::PolicyUpdated, id.name(), row)).await?;
            done.policies += 1;
        }
        Ending::TokenRotated { name, end } => {
            let Some(_) = tx.lock_workspace(&name.workspace).await? else { return Ok(()) };
            let Some(read) = tx.token(&name).await?.filter(|token| token.revocation.is_none()) else { return Ok(()) };
            // Its successor was made after the backup and is lost: it may be rotated again.
            let cut = Token { own_expiry: read.own_expiry.earlier(Expiry::At(end)), ..(*read).clone() };
            if cut.own_expiry == read.own_expiry {
                return Ok(());
            }
            let Some(token) = tx.rotate_token(&read, cut).await? else { return Ok(()) };
            let chain = Chain::Workspace(name.workspace.clone());
            tx.audit(event(chain, EventType::TokenRotated, name.to_string(), tx.row_is(&*token).await?)).await?;
            done.tokens += 1;
        }
        Ending::Caller { id, create_time, at: _ } => {
            // One of that id that was made later is another.
            let Some(_) = tx.caller(&id).await?.filter(|caller| caller.create_time == create_time) else { return Ok(()) };
            tx.delete_caller(&id).await?;
            tx.audit(event(Chain::Installation, EventType::CallerDeleted, id.name(), RowAfter::Gone)).await?;
            done.callers += 1;
        }
        Ending::CallerKey { name, at } => {
            let Some(read) = tx.caller_key(&name).await?.filter(|key| key.revoke_time.is_none()) else { return Ok(()) };
            let Some(key) = tx.revoke_caller_key(&read, at).await? else { return Ok(()) };
            let row = tx.row_is(&*key).await?;
            tx.audit(event(Chain::Installation, EventType::CallerKeyRevoked, name.to_string(), row)).await?;
            done.caller_keys += 1;
        }
    }
    Ok(())
}

/// What an operator did at the machine.
pub(super) fn event(chain: Chain, kind: EventType, resource: String, row: RowAfter) -> Event {
    Event {
        chain,
        kind,
        origin: Origin::default(),
        resource,
        outcome: Outcome::Done,
        reason: String::new(),
        detail: "restored from a backup".to_owned(),
        row,
    }
}
