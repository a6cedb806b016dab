//! Creating, reading, rotating and revoking tokens, a module for each use case.

pub(crate) mod batch_revoke;
pub(crate) mod create;
pub(crate) mod read;
pub(crate) mod revocation_queue;
pub(crate) mod revoke;
pub(crate) mod revoke_leaked;
pub(crate) mod rotate;

mod policy_check;
mod retries;

use tokend_core::{
    time::Timestamp,
    token::{Expiry, Token},
    workspace::{Workspace, WorkspaceState},
};
use tokend_proto::{field::FieldViolations, request::token_admin::ChosenExpiry};
use tokend_store::{Store, StoreError, StoredToken};

use super::Context;
use crate::error::ServiceError;

/// The most tokens that one write changes in a call about many, and the most events that one write stores. Other writes
/// wait at most for these; on SQLite all of them do.
const BATCH: usize = 20;

/// Refuses to create a token in a workspace whose tokens are denied.
fn check_workspace_active(workspace: &Workspace) -> Result<(), ServiceError> {
    match workspace.state {
        WorkspaceState::Active => Ok(()),
        WorkspaceState::Suspended { .. } => Err(ServiceError::WorkspaceSuspended(workspace.id.clone())),
        WorkspaceState::Deleted { .. } => Err(ServiceError::WorkspaceDeleted(workspace.id.clone())),
    }
}

/// Returns the expiry that the client chose, for a token that is created now.
fn expiry_from(chosen: ChosenExpiry, now: Timestamp) -> Result<Expiry, FieldViolations> {
    match chosen {
        ChosenExpiry::Never => Ok(Expiry::Never),
        ChosenExpiry::At(at) if at <= now => Err(FieldViolations::one("expire_time", "must lie in the future")),
        ChosenExpiry::At(at) => Ok(Expiry::At(at)),
        ChosenExpiry::After(ttl) => {
            let end = now
                .plus(ttl)
                .map_err(|_| FieldViolations::one("ttl", "must end before the year 10000"))?;
            Ok(Expiry::At(end))
        }
    }
}

/// Adds the token's usage, if it can be read. The call has succeeded in any case.
async fn with_usage(store: &Store, stored: StoredToken) -> StoredToken {
    let id = stored.token.name.id;
    let usage = store.usage_of(&[id]).await.ok().and_then(|mut usage| usage.remove(&id));
    StoredToken { usage, ..stored }
}

/// Reports that a token, which was read under its lock, was changed by something other than tokend.
fn tampered(token: &Token) -> StoreError {
    StoreError::tampered("tokens", token.name.id.to_string())
}
