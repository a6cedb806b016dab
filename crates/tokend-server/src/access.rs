//! What an authenticated caller may see. Names in a workspace that is not its own are answered exactly as absent ones.

use std::sync::Arc;

use tokend_core::{
    caller::Caller,
    name::{TokenName, WorkspaceId},
};
use tonic::Request;

use crate::refusal::Refusal;

/// The message of a request that passed authentication, and who sent it.
///
/// # Errors
/// [`Refusal::MissingCredential`] if nobody authenticated: a request that went around the layer is never served.
pub(crate) fn admitted<T>(request: Request<T>) -> Result<(Arc<Caller>, T), Refusal> {
    let (_, mut extensions, message) = request.into_parts();
    let caller = extensions.remove::<Arc<Caller>>().ok_or(Refusal::MissingCredential)?;
    Ok((caller, message))
}

/// Refuses a workspace's name that the caller may not see. What is no name is left to validation: authorization comes first.
pub(crate) fn sees_workspace(caller: &Caller, name: &str) -> Result<(), Refusal> {
    match WorkspaceId::from_name(name) {
        Ok(workspace) if !caller.workspaces.includes(&workspace) => Err(Refusal::WorkspaceNotFound(workspace)),
        _ => Ok(()),
    }
}

/// Refuses a token's name that the caller may not see, likewise.
pub(crate) fn sees_token(caller: &Caller, name: &str) -> Result<(), Refusal> {
    match name.parse::<TokenName>() {
        Ok(name) if !caller.workspaces.includes(&name.workspace) => Err(Refusal::TokenNotFound(name)),
        _ => Ok(()),
    }
}
