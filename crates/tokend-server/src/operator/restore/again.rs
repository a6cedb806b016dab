//! Applies one revocation to a restored database, if it is not applied yet.

use tokend_core::{
    organization::Organization,
    policy::PolicyName,
    revocation::RevocationRecord,
    token::{Expiry, Token},
    workspace::{Workspace, WorkspaceState},
};
use tokend_store::{Locked, StoreError, WorkspaceWithPolicy, WriteTx};

use super::Restored;

/// Applies a revocation, unless its subject is gone or revoked already.
pub(super) async fn end_again(tx: &WriteTx, ending: RevocationRecord, done: &mut Restored) -> Result<(), StoreError> {
    match ending {
        RevocationRecord::Token { name, revocation } => {
            let Some(_) = tx.lock_workspace(&name.workspace).await? else {
                return Ok(());
            };
            let Some(read) = tx.token(&name).await?.filter(|token| token.revocation.is_none()) else {
                return Ok(());
            };
            if tx.revoke_token(&read, revocation).await?.is_some() {
                done.tokens += 1;
            }
        }
        RevocationRecord::Workspace { id, create_time, state } => {
            // A subject with this id that was created at another time is not the same one.
            let read = tx
                .lock_workspace(&id)
                .await?
                .filter(|read| read.create_time == create_time && read.state != state);
            let Some(read) = read.filter(|read| !matches!(read.state, WorkspaceState::Deleted { .. })) else {
                return Ok(());
            };
            let changed = Workspace {
                state,
                ..(**read).clone()
            };
            if tx.update_workspace(&read, changed).await?.is_some() {
                done.workspaces += 1;
            }
        }
        RevocationRecord::Policy {
            name: PolicyName::Workspace(id),
            create_time,
            state,
        } => {
            let is_older = |read: &WorkspaceWithPolicy| {
                read.create_time == create_time && read.policy.update_time < state.update_time
            };
            let Some(read) = tx.lock_workspace(&id).await?.filter(is_older) else {
                return Ok(());
            };
            let changed = Workspace {
                policy: state,
                ..(**read).clone()
            };
            if tx.update_workspace(&read, changed).await?.is_some() {
                done.policies += 1;
            }
        }
        RevocationRecord::Policy {
            name: PolicyName::Organization(id),
            create_time,
            state,
        } => {
            let is_older = |read: &Locked<Organization>| {
                read.create_time == create_time && read.policy.update_time < state.update_time
            };
            let Some(read) = tx.lock_organization(&id).await?.filter(is_older) else {
                return Ok(());
            };
            let changed = Organization {
                policy: state,
                ..(*read).clone()
            };
            if tx.update_organization(&read, changed).await?.is_some() {
                done.policies += 1;
            }
        }
        RevocationRecord::TokenRotated { name, end } => {
            let Some(_) = tx.lock_workspace(&name.workspace).await? else {
                return Ok(());
            };
            let Some(read) = tx.token(&name).await?.filter(|token| token.revocation.is_none()) else {
                return Ok(());
            };
            // Its successor was created after the backup and is lost: it may be rotated again.
            let cut = Token {
                own_expiry: read.own_expiry.earlier(Expiry::At(end)),
                ..(*read).clone()
            };
            if cut.own_expiry == read.own_expiry {
                return Ok(());
            }
            if tx.rotate_token(&read, cut).await?.is_some() {
                done.tokens += 1;
            }
        }
        RevocationRecord::Caller { id, create_time, at: _ } => {
            // A subject with this id that was created at another time is not the same one.
            let Some(_) = tx.caller(&id).await?.filter(|caller| caller.create_time == create_time) else {
                return Ok(());
            };
            if tx.delete_caller(&id).await?.is_some() {
                done.callers += 1;
            }
        }
        RevocationRecord::CallerKey { name, at } => {
            let Some(read) = tx.caller_key(&name).await?.filter(|key| key.revoke_time.is_none()) else {
                return Ok(());
            };
            if tx.revoke_caller_key(&read, at).await?.is_some() {
                done.caller_keys += 1;
            }
        }
    }
    Ok(())
}
