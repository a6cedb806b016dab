//! Replacing a token by another one that permits the same.

use std::sync::Arc;

use tokend_core::{
    audit::{Chain, Event, EventType},
    credential::{CredentialId, Kind, Minted, Secret, SecretDigest},
    name::TokenName,
    policy::{Admitted, Asked},
    revision::Revision,
    rotation::{self, NotRotatable, Rotated, Successor},
    scope::ScopeCatalog,
    time::Timestamp,
    token::{Circumstances, Token, TokenState},
};
use tokend_proto::{field::FieldViolations, request::rotate_token::RotateToken};
use tokend_store::{Insert, Locked, StoredToken};

use super::{
    Context,
    admission::Binding,
    retries::{record, replay, request_key},
    tokens::{expiry_from, grant, takes_tokens, tampered, with_usage},
};
use crate::{
    access::{Act, Acting},
    refusal::Refusal,
};

/// The RPC's name in the record of requests.
const ROTATE: &str = "RotateToken";
/// Most rotations that are followed to name the token to rotate instead; where there were more, the one found by then is named.
const MAX_SUCCESSORS: usize = 100;

/// A token that was just replaced, or found to be replaced by the same request before.
pub(crate) struct Replaced {
    pub(crate) predecessor: StoredToken,
    pub(crate) successor: StoredToken,
    /// Told this once; none for a replay.
    pub(crate) secret: Option<Secret>,
    pub(crate) revision: Revision,
}

/// What the write came to.
struct Outcome {
    predecessor: StoredToken,
    successor: StoredToken,
    is_new: bool,
}

/// Replaces a token, or finds what replaced it when the same request came before; that one is never replaced in its turn. Either answer
/// stands at a revision of its own, since the old token may just have ended.
pub(crate) async fn rotate(context: &Context, act: Act, request: RotateToken) -> Result<Replaced, Refusal> {
    let Minted { id, secret, digest } = context.mint(Kind::WorkspaceToken).map_err(Refusal::NoRandomness)?;
    let name = TokenName { workspace: request.name.workspace.clone(), id };
    let catalog = Arc::clone(&context.catalog);
    let rotate = async move |tx: &Acting<'_>| find_or_rotate(tx, &catalog, request, name, digest).await;
    let (outcome, revision) = act.write_advancing(&context.store, move |tx| Box::pin(async move { rotate(tx).await })).await?;
    let Outcome { predecessor, successor, is_new } = outcome;
    let predecessor = with_usage(&context.store, predecessor).await;
    // A replay may come when the new token is in use.
    let successor = if is_new { successor } else { with_usage(&context.store, successor).await };
    Ok(Replaced { predecessor, successor, secret: is_new.then_some(secret), revision })
}

async fn find_or_rotate(
    tx: &Acting<'_>,
    catalog: &ScopeCatalog,
    request: RotateToken,
    new: TokenName,
    digest: SecretDigest,
) -> Result<Outcome, Refusal> {
    // Every verdict reads the database: there is no cache to wait for.
    let RotateToken { name, overlap, expiry, retry, no_wait: _ } = request;
    // The lock puts retries of one request in a row: the second finds what the first made.
    let workspace = tx.lock_workspace_and_policy(&name.workspace).await?.ok_or_else(|| Refusal::TokenNotFound(name.clone()))?;
    let now = tx.now().await?;
    let stored = |token| StoredToken { token, usage: None, circumstances: workspace.circumstances().clone(), now };
    // Unique in the workspace, not for the token: a client that lost the answer and then takes the new token for the one to rotate is
    // told so, instead of having it replaced.
    let retry = retry.map(|retry| (request_key(tx.acting_caller(), ROTATE, &name.workspace, &retry), retry));
    if let Some((key, retry)) = &retry
        && let Some(made) = tx.recorded_request(key).await?
    {
        // The body is the same, and so is the name in it.
        let successor = replay(tx, retry, made, &name.workspace).await?;
        let predecessor = tx.token(&name).await?.ok_or(Refusal::TokenNotFound(name))?;
        let (predecessor, successor) = (stored(predecessor.into_inner()), stored(successor.into_inner()));
        return Ok(Outcome { predecessor, successor, is_new: false });
    }
    let read = tx.token(&name).await?.ok_or(Refusal::TokenNotFound(name))?;
    takes_tokens(&workspace)?;
    let expiry = expiry.map(|chosen| expiry_from(chosen, now)).transpose()?;
    let binding = Binding::of(&workspace, catalog)?;
    let successor = Successor { id: new.id, digest, creator: tx.acting_caller().id.clone(), expiry };
    let overlap = rotation::overlap(overlap, binding.max_lifetime());
    let overlap = overlap.map_err(|too_long| FieldViolations::one("overlap", too_long.to_string()))?;
    let rotated = match read.rotate(successor, overlap, now) {
        Ok(rotated) => rotated,
        Err(reason) => return Err(refusal(tx, &read, reason).await?),
    };
    let rotated = admitted(&binding, rotated, now)?;
    let superseded = supersede(tx, &read, workspace.circumstances(), now).await?;
    // One that works makes room for its successor.
    if read.state(workspace.circumstances(), now) != TokenState::Active {
        binding.has_room(tx, now).await?;
    }
    let (predecessor, successor) = store(tx, &read, rotated).await?;
    for event in superseded {
        tx.audit(event).await?;
    }
    if let Some((key, retry)) = retry {
        record(tx, key, &retry, &successor, now).await?;
    }
    Ok(Outcome { predecessor: stored(predecessor), successor: stored(successor), is_new: true })
}

/// The rotation as the policies of now let it be made: its successor keeps what its predecessor was granted, or is refused.
fn admitted(binding: &Binding<'_>, rotated: Rotated, now: Timestamp) -> Result<Rotated, Refusal> {
    let Token { own_expiry, scopes, allowed_addresses, .. } = &rotated.successor;
    let asked = Asked { expiry: Some(*own_expiry), scopes, allowed_addresses };
    let Admitted { expiry: _, allowed_addresses } = binding.admit(&asked, now)?;
    Ok(Rotated { successor: Token { allowed_addresses, ..rotated.successor }, ..rotated })
}

/// Ends what the token itself had replaced and still works, and returns the events of that: of one chain no more than two tokens ever work
/// at once.
async fn supersede(
    tx: &Acting<'_>,
    read: &Locked<Token>,
    circumstances: &Circumstances,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let mut events = Vec::new();
    let (mut older, mut newer) = (read.rotated_from, read.name.clone());
    while let Some(id) = older {
        // What was purged had ended.
        let Some(read) = tx.token(&TokenName { workspace: newer.workspace.clone(), id }).await? else { break };
        let Some(ended) = read.superseded(circumstances, now) else { break };
        let ended = tx.supersede_token(&read, ended).await?.ok_or_else(|| tampered(&read))?;
        let chain = Chain::Workspace(ended.name.workspace.clone());
        let event = tx.event(chain, EventType::TokenRotated, ended.name.to_string(), tx.row_is(&*ended).await?);
        events.push(Event { detail: format!("ends now: {newer}, which replaced it, is replaced"), ..event });
        (older, newer) = (ended.rotated_from, ended.name.clone());
    }
    Ok(events)
}

/// Stores both tokens and puts both changes on record.
async fn store(tx: &Acting<'_>, read: &Locked<Token>, rotated: Rotated) -> Result<(Token, Token), Refusal> {
    let Rotated { predecessor, successor } = rotated;
    // 96 random bits: a collision is a broken random source, and the whole write is undone.
    if tx.insert_token(&successor).await? != Insert::Done {
        return Err(Refusal::IdTaken(successor.name.to_string()));
    }
    // Read under its lock: only a change behind our back can come in between.
    let predecessor = tx.rotate_token(read, predecessor).await?.ok_or_else(|| tampered(read))?.into_inner();
    for (kind, token, detail) in [
        (EventType::TokenCreated, &successor, format!("{}, to replace {}", grant(&successor), predecessor.name)),
        (EventType::TokenRotated, &predecessor, format!("replaced by {}", successor.name)),
    ] {
        let chain = Chain::Workspace(token.name.workspace.clone());
        let event = tx.event(chain, kind, token.name.to_string(), tx.row_is(token).await?);
        tx.audit(Event { detail, ..event }).await?;
    }
    Ok((predecessor, successor))
}

async fn refusal(tx: &Acting<'_>, token: &Token, reason: NotRotatable) -> Result<Refusal, Refusal> {
    let name = token.name.clone();
    Ok(match reason {
        NotRotatable::Revoked => Refusal::TokenRevoked(name),
        NotRotatable::Rotated { to } => {
            let (successor, is_revoked) = last_successor(tx, &name, to).await?;
            match is_revoked {
                false => Refusal::TokenAlreadyRotated { name, successor },
                true => Refusal::SuccessorRevoked { name, successor },
            }
        }
        NotRotatable::Overlap(_) => FieldViolations::one("overlap", "must end before the year 10000").into(),
    })
}

/// Follows a chain of rotations to its end: the token that can be rotated now, or that was revoked.
async fn last_successor(tx: &Acting<'_>, name: &TokenName, to: CredentialId) -> Result<(TokenName, bool), Refusal> {
    let mut last = TokenName { workspace: name.workspace.clone(), id: to };
    for _ in 0..MAX_SUCCESSORS {
        let Some(successor) = tx.token(&last).await? else { break };
        match successor.rotated_to {
            Some(next) if successor.revocation.is_none() => last.id = next,
            _ => return Ok((last, successor.revocation.is_some())),
        }
    }
    Ok((last, false))
}
