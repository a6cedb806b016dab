//! GetToken, ListTokens and IdentifyToken.

use tokend_core::{credential::Kind, filter::TokenFilter, name::WorkspaceId};
use tokend_proto::request::token_admin::{GetToken, IdentifyToken};
use tokend_store::{StoredToken, TokenCursor, TokenPage};

use super::Context;
use crate::{
    auth::CallContext,
    error::ServiceError,
    verifier::{Lane, VerifiedToken},
};

/// Returns a token.
pub(crate) async fn get(context: &Context, request: GetToken) -> Result<StoredToken, ServiceError> {
    let GetToken { name } = request;
    context
        .store
        .token(&name)
        .await?
        .ok_or(ServiceError::TokenNotFound(name))
}

/// Returns a page of a workspace's tokens, newest first: all of them, or those that match `filter`.
pub(crate) async fn list(
    context: &Context,
    workspace: WorkspaceId,
    filter: Option<TokenFilter>,
    after: Option<TokenCursor>,
    limit: u16,
) -> Result<TokenPage, ServiceError> {
    let page = match filter {
        None => {
            context
                .store
                .list_tokens(&workspace, after.map(|place| place.cursor), limit.into())
                .await?
        }
        Some(filter) => {
            context
                .store
                .filtered_tokens(&workspace, filter, after, limit.into())
                .await?
        }
    };
    page.ok_or(ServiceError::WorkspaceNotFound(workspace))
}

/// Returns the token that a secret belongs to, in whatever state it is.
pub(crate) async fn identify(
    context: &Context,
    call: &CallContext,
    request: IdentifyToken,
) -> Result<StoredToken, ServiceError> {
    let IdentifyToken { secret } = request;
    let presented = context.verifier.check(secret.expose().trim())?;
    if presented.kind() == Some(Kind::CallerKey) {
        return Err(ServiceError::SecretIsACallerKey);
    }
    let verified = context.verifier.token(&presented, Lane::Ordinary).await?.verified();
    // A token of another workspace is answered exactly as one that does not exist.
    let Some(VerifiedToken {
        token,
        token_context,
        now,
        ..
    }) = verified.filter(|verified| call.caller.workspaces.includes(&verified.token.name.workspace))
    else {
        return Err(ServiceError::SecretUnknown);
    };
    let id = token.name.id;
    let usage = context.store.usage_of(&[id]).await?.remove(&id);
    Ok(StoredToken {
        token: (**token).clone(),
        usage,
        token_context: (*token_context).clone(),
        now,
    })
}
