//! Calls that create a token are safe to repeat: a stored request id leads to the token that the first call created.

use tokend_core::{
    caller::Caller,
    name::{TokenName, WorkspaceId},
    request_id::Retryable,
    time::Timestamp,
    token::Token,
};
use tokend_store::{Insert, Locked, RecordedRequest, RequestKey, WriteTx};

use crate::error::ServiceError;

/// Returns the key of a stored request id. It is unique for the caller, the RPC and the workspace.
pub(super) fn request_key(
    caller: &Caller,
    rpc: &'static str,
    workspace: &WorkspaceId,
    retry: &Retryable,
) -> RequestKey {
    RequestKey {
        caller: caller.id.clone(),
        rpc,
        parent: workspace.name(),
        request_id: retry.id.as_str().to_owned(),
    }
}

/// Returns the token that the first call with this request id created. The body of the request must be the same.
pub(super) async fn find_made(
    tx: &WriteTx,
    retry: &Retryable,
    made: RecordedRequest,
    workspace: &WorkspaceId,
) -> Result<Locked<Token>, ServiceError> {
    if made.digest != *retry.body.as_bytes() {
        return Err(ServiceError::RequestIdReused(retry.id.as_str().to_owned()));
    }
    let name = TokenName {
        workspace: workspace.clone(),
        id: made.token,
    };
    tx.token(&name).await?.ok_or(ServiceError::TokenNotFound(name))
}

/// Stores the request id with the token that the call created.
pub(super) async fn record_made(
    tx: &WriteTx,
    key: RequestKey,
    retry: &Retryable,
    made: &Token,
    now: Timestamp,
) -> Result<(), ServiceError> {
    let record = RecordedRequest {
        digest: *retry.body.as_bytes(),
        token: made.name.id,
        create_time: now,
    };
    match tx.record_request(&key, &record).await? {
        Insert::Done => Ok(()),
        Insert::Taken | Insert::NoParent => Err(ServiceError::RequestIdReused(key.request_id)),
    }
}
