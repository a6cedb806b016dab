//! What makes a call that issues a token safe to retry: the token that a request made, found again by the request's id.

use tokend_core::{
    caller::Caller,
    name::{TokenName, WorkspaceId},
    request_id::Retryable,
    time::Timestamp,
    token::Token,
};
use tokend_store::{Insert, Locked, RecordedRequest, RequestKey, WriteTx};

use crate::refusal::Refusal;

/// What a request is found by: unique for the caller, the RPC and the workspace.
pub(super) fn request_key(caller: &Caller, rpc: &'static str, workspace: &WorkspaceId, retry: &Retryable) -> RequestKey {
    RequestKey { caller: caller.id.clone(), rpc, parent: workspace.name(), request_id: retry.id.as_str().to_owned() }
}

/// The token that a request made when it was first carried out.
pub(super) async fn replay(
    tx: &WriteTx,
    retry: &Retryable,
    made: RecordedRequest,
    workspace: &WorkspaceId,
) -> Result<Locked<Token>, Refusal> {
    if made.digest != *retry.body.as_bytes() {
        return Err(Refusal::RequestIdReused(retry.id.as_str().to_owned()));
    }
    let name = TokenName { workspace: workspace.clone(), id: made.token };
    tx.token(&name).await?.ok_or(Refusal::TokenNotFound(name))
}

/// Records what a request made, for whoever repeats it.
pub(super) async fn record(tx: &WriteTx, key: RequestKey, retry: &Retryable, made: &Token, now: Timestamp) -> Result<(), Refusal> {
    let record = RecordedRequest { digest: *retry.body.as_bytes(), token: made.name.id, create_time: now };
    match tx.record_request(&key, &record).await? {
        Insert::Done => Ok(()),
        Insert::Taken | Insert::NoParent => Err(Refusal::RequestIdReused(key.request_id)),
    }
}
