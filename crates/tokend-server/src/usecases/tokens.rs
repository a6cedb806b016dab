//! Issuing, showing and ending tokens.

use std::sync::Arc;

use tokend_core::{
    audit::{Chain, Event, EventType},
    caller::Caller,
    credential::{Kind, Minted, NotAuthentic, Secret, SecretDigest, Unrecognized},
    filter::TokenFilter,
    name::{TokenName, WorkspaceId},
    policy::{Admitted, Asked},
    revision::Revision,
    scope::ScopeCatalog,
    text::Reason,
    time::Timestamp,
    token::{Expiry, Revocation, Token, TokenState},
    workspace::{Workspace, WorkspaceState},
};
use tokend_proto::{
    field::FieldViolations,
    request::token_admin::{ChosenExpiry, CreateToken, GetToken, IdentifyToken, RevokeToken},
};
use tokend_store::{Insert, Locked, PresentedToken, Store, StoreError, StoredToken, TokenPage, TokenPlace};

use super::{
    Context,
    admission::Binding,
    retries::{record, replay, request_key},
};
use crate::{
    access::{Act, Acting},
    refusal::Refusal,
};

/// The RPC's name in the record of requests.
const CREATE: &str = "CreateToken";

/// A token just made, or found to be made already.
pub(crate) struct Created {
    pub(crate) stored: StoredToken,
    /// Told this once; none for a replay and for a rehearsal.
    pub(crate) secret: Option<Secret>,
    /// A rehearsal of a call that would make a new token: the name above is nobody's.
    pub(crate) would_be_new: bool,
}

/// What the write came to.
struct Outcome {
    stored: StoredToken,
    is_new: bool,
}

/// Why a write was rolled back.
enum Undone {
    Refused(Refusal),
    Rehearsed(Box<Outcome>),
}

impl<E: Into<Refusal>> From<E> for Undone {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

/// Makes a token, or finds the one that the same request made before. With `validate_only` it changes nothing.
pub(crate) async fn create(context: &Context, act: Act, request: CreateToken) -> Result<Created, Refusal> {
    let Minted { id, secret, digest } = context.mint(Kind::WorkspaceToken).map_err(Refusal::NoRandomness)?;
    let name = TokenName { workspace: request.workspace.clone(), id };
    let (is_rehearsal, catalog) = (request.validate_only, Arc::clone(&context.catalog));
    let create = async move |tx: &Acting<'_>| {
        let outcome = find_or_insert(tx, &catalog, request, name, digest).await?;
        // A rehearsal goes all the way and is rolled back, so that it can't tell anything else than the real call would do.
        if is_rehearsal { Err(Undone::Rehearsed(Box::new(outcome))) } else { Ok(outcome) }
    };
    match act.write(&context.store, move |tx| Box::pin(async move { create(tx).await })).await {
        Ok(Outcome { stored, is_new }) => Ok(Created { stored, secret: is_new.then_some(secret), would_be_new: false }),
        Err(Undone::Rehearsed(outcome)) => Ok(Created { stored: outcome.stored, secret: None, would_be_new: outcome.is_new }),
        Err(Undone::Refused(refusal)) => Err(refusal),
    }
}

/// Shows a token.
pub(crate) async fn get(context: &Context, request: GetToken) -> Result<StoredToken, Refusal> {
    let GetToken { name } = request;
    context.store.token(&name).await?.ok_or(Refusal::TokenNotFound(name))
}

/// A page of a workspace's tokens, the newest first: all of them, or those that `filter` is true of.
pub(crate) async fn list(
    context: &Context,
    workspace: WorkspaceId,
    filter: Option<TokenFilter>,
    after: Option<TokenPlace>,
    limit: u16,
) -> Result<TokenPage, Refusal> {
    let page = match filter {
        None => context.store.list_tokens(&workspace, after.map(|place| place.cursor), limit.into()).await?,
        Some(filter) => context.store.filtered_tokens(&workspace, filter, after, limit.into()).await?,
    };
    page.ok_or(Refusal::WorkspaceNotFound(workspace))
}

/// Tells which token a secret belongs to, alive or not.
pub(crate) async fn identify(context: &Context, caller: &Caller, request: IdentifyToken) -> Result<StoredToken, Refusal> {
    let IdentifyToken { secret } = request;
    let keys = context.store.keys();
    let presented = keys.authenticate(secret.expose().trim()).map_err(|error| match error {
        NotAuthentic::Unrecognized => Refusal::SecretUnknown,
        NotAuthentic::KeyLacked(kid) => Refusal::KeyNotAtHand(kid),
    })?;
    if presented.kind() == Kind::CallerKey {
        return Err(Refusal::SecretIsACallerKey);
    }
    let found = context.store.presented_token(presented.id()).await?.ok_or(Refusal::SecretUnknown)?;
    let PresentedToken { token, circumstances, now, revision: _ } = found;
    match keys.recognize(&presented, token) {
        Ok(token) if caller.workspaces.includes(&token.name.workspace) => {
            let usage = context.store.usage_of(&[presented.id()]).await?.remove(&presented.id());
            Ok(StoredToken { token: token.into_inner(), usage, circumstances, now })
        }
        Ok(_) | Err(Unrecognized) => Err(Refusal::SecretUnknown),
    }
}

/// Ends a token. One that was ended before stays as it is; the answer still stands at a revision of its own.
pub(crate) async fn revoke(context: &Context, act: Act, request: RevokeToken) -> Result<(StoredToken, Revision), Refusal> {
    // Every verdict reads the database: there is no cache to wait for.
    let RevokeToken { name, reason, no_wait: _ } = request;
    let revoke = async move |tx: &Acting<'_>| {
        let workspace = tx.lock_workspace(&name.workspace).await?.ok_or_else(|| Refusal::TokenNotFound(name.clone()))?;
        let read = tx.token(&name).await?.ok_or(Refusal::TokenNotFound(name))?;
        let now = tx.now().await?;
        // What has ended with its workspace has ended: nothing is left to revoke.
        let has_ended = read.state(workspace.circumstances(), now) == TokenState::Revoked;
        let token = if has_ended { read } else { end_token(tx, &read, now, reason, String::new()).await? };
        Ok::<_, Refusal>(StoredToken {
            token: token.into_inner(),
            usage: None,
            circumstances: workspace.circumstances().clone(),
            now,
        })
    };
    let store = context.store.reserved();
    let (token, revision) = act.write_advancing(&store, move |tx| Box::pin(async move { revoke(tx).await })).await?;
    Ok((with_usage(&store, token).await, revision))
}

/// The token with what is known of its use. What was done to it stands, even if that can't be read.
pub(super) async fn with_usage(store: &Store, stored: StoredToken) -> StoredToken {
    let id = stored.token.name.id;
    let usage = store.usage_of(&[id]).await.ok().and_then(|mut usage| usage.remove(&id));
    StoredToken { usage, ..stored }
}

/// Ends a token that was read under its lock and is not ended yet, and puts that on record.
pub(super) async fn end_token(
    tx: &Acting<'_>,
    read: &Locked<Token>,
    at: Timestamp,
    reason: Reason,
    detail: String,
) -> Result<Locked<Token>, Refusal> {
    let revocation = Revocation { at, by: tx.acting_caller().id.clone(), reason: reason.clone() };
    // Read under its lock: only a change behind our back can come in between.
    let token = tx.revoke_token(read, revocation).await?.ok_or_else(|| tampered(read))?;
    let chain = Chain::Workspace(token.name.workspace.clone());
    let event = tx.event(chain, EventType::TokenRevoked, token.name.to_string(), tx.row_is(&*token).await?);
    tx.audit(Event { reason: reason.into(), detail, ..event }).await?;
    Ok(token)
}

async fn find_or_insert(
    tx: &Acting<'_>,
    catalog: &ScopeCatalog,
    mut request: CreateToken,
    name: TokenName,
    digest: SecretDigest,
) -> Result<Outcome, Refusal> {
    // The lock puts retries of one request in a row: the second finds what the first made.
    let found = tx.lock_workspace_and_policy(&name.workspace).await?;
    let workspace = found.ok_or_else(|| Refusal::WorkspaceNotFound(name.workspace.clone()))?;
    let now = tx.now().await?;
    let retry = request.retry.take().map(|retry| (request_key(tx.acting_caller(), CREATE, &name.workspace, &retry), retry));
    if let Some((key, retry)) = &retry
        && let Some(made) = tx.recorded_request(key).await?
    {
        let token = replay(tx, retry, made, &name.workspace).await?.into_inner();
        return Ok(Outcome {
            stored: StoredToken { token, usage: None, circumstances: workspace.into_parts().1, now },
            is_new: false,
        });
    }
    takes_tokens(&workspace)?;
    let binding = Binding::of(&workspace, catalog)?;
    let token = new_token(request, name, digest, tx.acting_caller(), &binding, now)?;
    binding.has_room(tx, now).await?;
    // 96 random bits: a collision is a broken random source, and the whole write is undone.
    if tx.insert_token(&token).await? != Insert::Done {
        return Err(Refusal::IdTaken(token.name.to_string()));
    }
    if let Some((key, retry)) = retry {
        record(tx, key, &retry, &token, now).await?;
    }
    let chain = Chain::Workspace(token.name.workspace.clone());
    let event = tx.event(chain, EventType::TokenCreated, token.name.to_string(), tx.row_is(&token).await?);
    tx.audit(Event { detail: grant(&token), ..event }).await?;
    Ok(Outcome { stored: StoredToken { token, usage: None, circumstances: workspace.into_parts().1, now }, is_new: true })
}

/// Refuses to make a token where none would work.
pub(super) fn takes_tokens(workspace: &Workspace) -> Result<(), Refusal> {
    match workspace.state {
        WorkspaceState::Active => Ok(()),
        WorkspaceState::Suspended { .. } => Err(Refusal::WorkspaceSuspended(workspace.id.clone())),
        WorkspaceState::Deleted { .. } => Err(Refusal::WorkspaceDeleted(workspace.id.clone())),
    }
}

fn new_token(
    request: CreateToken,
    name: TokenName,
    digest: SecretDigest,
    caller: &Caller,
    binding: &Binding<'_>,
    now: Timestamp,
) -> Result<Token, Refusal> {
    let CreateToken {
        workspace: _,
        display_name,
        description,
        scopes,
        resource,
        expiry,
        allowed_addresses,
        labels,
        retry: _,
        validate_only: _,
    } = request;
    let expiry = expiry.map(|chosen| expiry_from(chosen, now)).transpose()?;
    let asked = Asked { expiry, scopes: &scopes, allowed_addresses: &allowed_addresses };
    let Admitted { expiry, allowed_addresses } = binding.admit(&asked, now)?;
    Ok(Token {
        name,
        digest,
        resource,
        display_name,
        description,
        scopes,
        allowed_addresses,
        labels,
        create_time: now,
        creator: caller.id.clone(),
        own_expiry: expiry,
        requested_expiry: expiry,
        revocation: None,
        rotated_from: None,
        rotated_to: None,
    })
}

/// What a token permits, for the record.
pub(super) fn grant(token: &Token) -> String {
    let scopes: Vec<_> = token.scopes.granted().iter().map(|scope| scope.as_str()).collect();
    let end = match token.own_expiry {
        Expiry::Never => "without an end".to_owned(),
        Expiry::At(end) => format!("for {} s", end.saturating_since(token.create_time).as_secs()),
    };
    format!("{} on {}, {end}", scopes.join(" "), token.resource)
}

pub(super) fn expiry_from(chosen: ChosenExpiry, now: Timestamp) -> Result<Expiry, FieldViolations> {
    match chosen {
        ChosenExpiry::Never => Ok(Expiry::Never),
        ChosenExpiry::At(at) if at <= now => Err(FieldViolations::one("expire_time", "must lie in the future")),
        ChosenExpiry::At(at) => Ok(Expiry::At(at)),
        ChosenExpiry::After(ttl) => {
            let end = now.plus(ttl).map_err(|_| FieldViolations::one("ttl", "must end before the year 10000"))?;
            Ok(Expiry::At(end))
        }
    }
}

pub(super) fn tampered(token: &Token) -> StoreError {
    StoreError::Tampered { table: "tokens", row: token.name.id.to_string() }
}
