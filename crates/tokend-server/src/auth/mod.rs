//! Who calls, what the caller may see, and how a change checks its caller again. Names in a workspace that is not the
//! caller's are answered exactly as absent ones.

mod acting;
pub(crate) mod audit_context;
mod authenticated;
pub(crate) mod authenticator;
mod call_context;
pub(crate) mod failed_authentications;
pub(crate) mod last_caller;
pub(crate) mod look_ups;

pub(crate) use acting::{Acting, Locking, NotServed, SharedTx, Wait};
pub(crate) use authenticated::{Authenticated, CallerCredential, Invalidated};
pub(crate) use call_context::{CallContext, Deadline};

use tokend_core::{
    caller::{Caller, Role},
    name::{OrganizationId, TokenName, WorkspaceId},
};

use crate::error::ServiceError;

/// Refuses a workspace that the caller may not see. Authorization comes first: validation refuses invalid names later.
pub(crate) fn authorize_workspace(caller: &Caller, name: &str) -> Result<(), ServiceError> {
    match WorkspaceId::from_name(name) {
        Ok(workspace) if !caller.workspaces.includes(&workspace) => Err(ServiceError::WorkspaceNotFound(workspace)),
        _ => Ok(()),
    }
}

/// Refuses a policy that the caller may not see: a WORKSPACE_ADMIN sees no policy of an organization.
pub(crate) fn authorize_policy(caller: &Caller, name: &str) -> Result<(), ServiceError> {
    match name.strip_suffix("/tokenPolicy") {
        Some(owner) if caller.role == Role::WorkspaceAdmin && OrganizationId::from_name(owner).is_ok() => {
            Err(ServiceError::RoleNotAllowed {
                caller: caller.id.name(),
                method: "an organization's token policy".to_owned(),
            })
        }
        Some(owner) => authorize_workspace(caller, owner),
        None => Ok(()),
    }
}

/// Refuses a filter from a REVOKER, which may only revoke tokens that it names.
pub(crate) fn authorize_filter(caller: &Caller, filter: &str) -> Result<(), ServiceError> {
    if caller.role == Role::Revoker && !filter.is_empty() {
        let (caller, method) = (
            caller.id.name(),
            "TokenAdmin/BatchRevokeTokens with a filter".to_owned(),
        );
        return Err(ServiceError::RoleNotAllowed { caller, method });
    }
    Ok(())
}

/// Refuses a token in a workspace that the caller may not see.
pub(crate) fn authorize_token(caller: &Caller, name: &str) -> Result<(), ServiceError> {
    match name.parse::<TokenName>() {
        Ok(name) if !caller.workspaces.includes(&name.workspace) => Err(ServiceError::TokenNotFound(name)),
        _ => Ok(()),
    }
}
