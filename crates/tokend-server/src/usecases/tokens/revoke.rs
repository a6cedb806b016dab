//! RevokeToken, and how one token is revoked in a transaction. The calls that wait share transactions, see
//! [`revocation_queue`](super::revocation_queue).

use tokend_core::{
    feed::Revision,
    leak::LeakReport,
    text::Reason,
    time::Timestamp,
    token::{Revocation, Token},
};
use tokend_proto::request::token_admin::RevokeToken;
use tokend_store::{Locked, StoredToken};

use super::{Context, tampered, with_usage};
use crate::{
    auth::{Acting, CallContext, Wait},
    error::ServiceError,
};

/// Revokes a token. One that is revoked already stays as it is; the answer has a new revision in any case.
pub(crate) async fn revoke(
    context: &Context,
    call: CallContext,
    request: RevokeToken,
) -> Result<(StoredToken, Revision), ServiceError> {
    let RevokeToken { name, reason, no_wait } = request;
    let (wait, room) = (Wait::unless(no_wait, context), call.room.clone());
    let (token, committed) = context.revocations.revoke(call, name, reason).await?;
    wait.after(&committed, &room).await;
    Ok((with_usage(&context.store.reserved(), token).await, committed.revision))
}

/// Revokes a token that was read under its lock and is not revoked yet. The reports of a leak are recorded with it, if
/// there are any.
pub(super) async fn revoke_locked(
    tx: &Acting<'_>,
    read: &Locked<Token>,
    at: Timestamp,
    reason: Reason,
    leaks: Vec<LeakReport>,
) -> Result<Locked<Token>, ServiceError> {
    let revocation = Revocation {
        at,
        by: tx.acting_caller().id.clone(),
        reason,
    };
    let revoked = tx.revoke_leaked_token(read, revocation, leaks).await?;
    Ok(revoked.ok_or_else(|| tampered(read))?)
}
