//! RotateToken: a token is replaced by a new one that permits the same.

use std::sync::Arc;

use tokend_core::{
    credential::{CredentialId, Kind, Minted, Secret, SecretDigest},
    feed::Revision,
    name::TokenName,
    policy::{AdmittedToken, RequestedToken},
    scope::ScopeCatalog,
    time::Timestamp,
    token::rotation::{self, Rotated, RotationError, Successor},
    token::{Token, TokenContext, TokenState},
};
use tokend_proto::{field::FieldViolations, request::rotate_token::RotateToken};
use tokend_store::{Insert, Locked, StoredToken};

use super::{
    Context, check_workspace_active, expiry_from,
    policy_check::PolicyCheck,
    retries::{find_made, record_made, request_key},
    tampered, with_usage,
};
use crate::{
    auth::{Acting, CallContext, Wait},
    error::ServiceError,
};

/// The name of the RPC in stored request ids.
const ROTATE: &str = "RotateToken";

/// The most rotations that are followed to find the token to rotate instead. If there are more, the last one found is
/// named.
const MAX_SUCCESSORS: usize = 100;

/// A token that was replaced now, or by an earlier call with the same request id.
pub(crate) struct Replaced {
    pub(crate) predecessor: StoredToken,
    pub(crate) successor: StoredToken,
    /// The secret, which is returned once: not for a repeated call.
    pub(crate) secret: Option<Secret>,
    pub(crate) revision: Revision,
}

/// The result of the transaction.
struct Outcome {
    predecessor: StoredToken,
    successor: StoredToken,
    is_new: bool,
    /// Whether the rotation has ended a token that the predecessor itself had replaced.
    has_superseded: bool,
}

/// Replaces a token. A repeated call finds the successor that the first call created, and never replaces that one. The
/// answer has a new revision in either case, because the old token may just have expired.
pub(crate) async fn rotate(
    context: &Context,
    call: CallContext,
    request: RotateToken,
) -> Result<Replaced, ServiceError> {
    let Minted { id, secret, digest } = context.mint(Kind::WorkspaceToken).map_err(ServiceError::NoRandomness)?;
    let name = TokenName {
        workspace: request.name.workspace.clone(),
        id,
    };
    let (wait, catalog) = (Wait::unless(request.no_wait, context), Arc::clone(&context.catalog));
    let rotate = async move |tx: &Acting<'_>| find_or_rotate(tx, &catalog, request, name, digest).await;
    let room = call.room.clone();
    let (outcome, committed) = call.write_committed(&context.store, rotate).await?;
    let Outcome {
        predecessor,
        successor,
        is_new,
        has_superseded,
    } = outcome;
    // What works for longer than the wait is known everywhere when it ends.
    let end = predecessor.token.expiry(&predecessor.token_context);
    let left = end.time().map(|end| end.saturating_since(predecessor.now));
    if has_superseded || left.is_some_and(|left| left <= committed.terms.full_wait()) {
        wait.after(&committed, &room).await;
    }
    let revision = committed.revision;
    let predecessor = with_usage(&context.store, predecessor).await;
    // The new token may be in use when a call is repeated.
    let successor = if is_new {
        successor
    } else {
        with_usage(&context.store, successor).await
    };
    Ok(Replaced {
        predecessor,
        successor,
        secret: is_new.then_some(secret),
        revision,
    })
}

/// Returns the rotation of an earlier call, or rotates the token.
async fn find_or_rotate(
    tx: &Acting<'_>,
    catalog: &ScopeCatalog,
    request: RotateToken,
    new: TokenName,
    digest: SecretDigest,
) -> Result<Outcome, ServiceError> {
    let RotateToken {
        name,
        overlap,
        expiry,
        retry,
        ..
    } = request;
    // The lock makes repeated calls wait for each other: the second one finds the token that the first one created.
    let workspace = tx
        .lock_workspace_and_policy(&name.workspace)
        .await?
        .ok_or_else(|| ServiceError::TokenNotFound(name.clone()))?;
    let now = tx.now().await?;
    let stored = |token| StoredToken {
        token,
        usage: None,
        token_context: workspace.token_context().clone(),
        now,
    };
    // The request id is unique in the workspace, not for the token. A client that lost the answer and takes the new
    // token for the one to rotate gets an error, and the new token is not replaced.
    let retry = retry.map(|retry| (request_key(tx.acting_caller(), ROTATE, &name.workspace, &retry), retry));
    if let Some((key, retry)) = &retry
        && let Some(made) = tx.recorded_request(key).await?
    {
        // The body of the request is the same, and so is the name in it.
        let successor = find_made(tx, retry, made, &name.workspace).await?;
        let predecessor = tx.token(&name).await?.ok_or(ServiceError::TokenNotFound(name))?;
        let (predecessor, successor) = (stored(predecessor.into_inner()), stored(successor.into_inner()));
        return Ok(Outcome {
            predecessor,
            successor,
            is_new: false,
            // The first call may not have answered.
            has_superseded: true,
        });
    }
    let read = tx.token(&name).await?.ok_or(ServiceError::TokenNotFound(name))?;
    check_workspace_active(&workspace)?;
    let expiry = expiry.map(|chosen| expiry_from(chosen, now)).transpose()?;
    let policies = PolicyCheck::new(&workspace, catalog)?;
    let successor = Successor {
        id: new.id,
        digest,
        creator: tx.acting_caller().id.clone(),
        expiry,
    };
    let overlap = rotation::overlap(overlap, policies.max_lifetime());
    let overlap = overlap.map_err(|too_long| FieldViolations::one("overlap", too_long.to_string()))?;
    let rotated = match read.rotate(successor, overlap, now) {
        Ok(rotated) => rotated,
        Err(reason) => return Err(not_rotatable(tx, &read, reason).await?),
    };
    let rotated = admitted(&policies, rotated, now)?;
    let has_superseded = supersede(tx, &read, workspace.token_context(), now).await?;
    // An active token is replaced, so that the number of active tokens stays the same.
    if read.state(workspace.token_context(), now) != TokenState::Active {
        policies.check_token_count(tx, now).await?;
    }
    let (predecessor, successor) = store(tx, &read, rotated).await?;
    if let Some((key, retry)) = retry {
        record_made(tx, key, &retry, &successor, now).await?;
    }
    Ok(Outcome {
        predecessor: stored(predecessor),
        successor: stored(successor),
        is_new: true,
        has_superseded,
    })
}

/// Checks the successor against today's policies. It gets what its predecessor was granted, or the rotation is refused.
fn admitted(policies: &PolicyCheck<'_>, rotated: Rotated, now: Timestamp) -> Result<Rotated, ServiceError> {
    let Token {
        own_expiry,
        scopes,
        allowed_addresses,
        ..
    } = &rotated.successor;
    let asked = RequestedToken {
        expiry: Some(*own_expiry),
        scopes,
        allowed_addresses,
    };
    let AdmittedToken {
        expiry: _,
        allowed_addresses,
    } = policies.admit(&asked, now)?;
    Ok(Rotated {
        successor: Token {
            allowed_addresses,
            ..rotated.successor
        },
        ..rotated
    })
}

/// Expires the tokens that the token itself had replaced and that are still active: of one chain of rotations, at most
/// two tokens are active at once. Returns whether there was one.
async fn supersede(
    tx: &Acting<'_>,
    read: &Locked<Token>,
    token_context: &TokenContext,
    now: Timestamp,
) -> Result<bool, ServiceError> {
    let mut has_superseded = false;
    let mut older = read.rotated_from;
    while let Some(id) = older {
        // A token that was purged was not active.
        let Some(read) = tx
            .token(&TokenName {
                workspace: read.name.workspace.clone(),
                id,
            })
            .await?
        else {
            break;
        };
        let Some(superseded) = read.superseded(token_context, now) else {
            break;
        };
        let superseded = tx
            .supersede_token(&read, superseded)
            .await?
            .ok_or_else(|| tampered(&read))?;
        older = superseded.rotated_from;
        has_superseded = true;
    }
    Ok(has_superseded)
}

/// Stores both tokens.
async fn store(tx: &Acting<'_>, read: &Locked<Token>, rotated: Rotated) -> Result<(Token, Token), ServiceError> {
    let Rotated { predecessor, successor } = rotated;
    // An id has 96 random bits. Two that are equal mean that the random source is broken, so nothing is stored.
    if tx.insert_token(&successor).await? != Insert::Done {
        return Err(ServiceError::IdTaken(successor.name.to_string()));
    }
    let predecessor = tx
        .rotate_token(read, predecessor)
        .await?
        .ok_or_else(|| tampered(read))?
        .into_inner();
    Ok((predecessor, successor))
}

/// Returns the error for a token that can't be rotated.
async fn not_rotatable(tx: &Acting<'_>, token: &Token, reason: RotationError) -> Result<ServiceError, ServiceError> {
    let name = token.name.clone();
    Ok(match reason {
        RotationError::Revoked => ServiceError::TokenRevoked(name),
        RotationError::Rotated { to } => {
            let (successor, is_revoked) = last_successor(tx, &name, to).await?;
            if is_revoked {
                ServiceError::SuccessorRevoked { name, successor }
            } else {
                ServiceError::TokenAlreadyRotated { name, successor }
            }
        }
        RotationError::Overlap(_) => FieldViolations::one("overlap", "must end before the year 10000").into(),
    })
}

/// Follows a chain of rotations to the token that can be rotated now, or to one that was revoked. Returns its name and
/// whether it was revoked.
async fn last_successor(
    tx: &Acting<'_>,
    name: &TokenName,
    to: CredentialId,
) -> Result<(TokenName, bool), ServiceError> {
    let mut last = TokenName {
        workspace: name.workspace.clone(),
        id: to,
    };
    for _ in 0..MAX_SUCCESSORS {
        let Some(successor) = tx.token(&last).await? else { break };
        match successor.rotated_to {
            Some(next) if successor.revocation.is_none() => last.id = next,
            _ => return Ok((last, successor.revocation.is_some())),
        }
    }
    Ok((last, false))
}
