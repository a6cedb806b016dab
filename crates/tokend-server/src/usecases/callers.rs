//! Making, showing and deleting callers and their keys.

use tokend_core::{
    caller::{Caller, CallerKey},
    credential::{Kind, Minted, Secret},
    name::{CallerId, CallerKeyName},
    revision::Revision,
    time::Timestamp,
};
use tokend_proto::{
    field::FieldViolations,
    request::caller_admin::{CreateCaller, CreateCallerKey, NamedCaller, RevokeCallerKey},
};
use tokend_store::{CallerKeyPage, CallerPage, Insert, StoreError, TimeCursor, WriteTx};

use super::Context;
use crate::refusal::Refusal;

/// Most keys of one caller that work at once: one in use and one to replace it.
const MAX_LIVE_KEYS: u64 = 2;

/// A key as it was at some time.
pub(crate) struct SeenKey {
    pub(crate) key: CallerKey,
    pub(crate) now: Timestamp,
}

/// Makes a caller.
pub(crate) async fn create(context: &Context, request: CreateCaller) -> Result<Caller, Refusal> {
    let CreateCaller { id, role, workspaces, certificate_sans } = request;
    let create = async move |tx: &WriteTx| {
        let caller = Caller { id, role, workspaces, certificate_sans, create_time: tx.now().await? };
        match tx.insert_caller(&caller).await? {
            Insert::Done => Ok(caller),
            Insert::Taken | Insert::NoParent => Err(Refusal::CallerAlreadyExists(caller.id)),
        }
    };
    context.store.write(move |tx| Box::pin(async move { create(tx).await })).await
}

/// Shows a caller.
pub(crate) async fn get(context: &Context, id: CallerId) -> Result<Caller, Refusal> {
    context.store.caller(&id).await?.ok_or(Refusal::CallerNotFound(id))
}

/// A page of callers, by id, and the id behind which the next page starts.
pub(crate) async fn list(context: &Context, after: Option<String>, limit: u16) -> Result<(Vec<Caller>, Option<String>), Refusal> {
    let CallerPage { callers, next } = context.store.list_callers(after, limit.into()).await?;
    // What can't be read was logged; it hides nothing else.
    Ok((callers.into_iter().flatten().collect(), next))
}

/// A page of a caller's keys.
pub(crate) async fn list_keys(
    context: &Context,
    caller: CallerId,
    after: Option<TimeCursor>,
    limit: u16,
) -> Result<CallerKeyPage, Refusal> {
    context.store.list_caller_keys(&caller, after, limit.into()).await?.ok_or(Refusal::CallerNotFound(caller))
}

/// Deletes a caller and its keys. Its tokens live on.
pub(crate) async fn delete(context: &Context, request: NamedCaller) -> Result<(Caller, Revision), Refusal> {
    let NamedCaller { id } = request;
    let delete = async move |tx: &WriteTx| tx.delete_caller(&id).await?.ok_or(Refusal::CallerNotFound(id));
    context.store.reserved().write_advancing(move |tx| Box::pin(async move { delete(tx).await })).await
}

/// Makes a key.
pub(crate) async fn create_key(context: &Context, request: CreateCallerKey) -> Result<(SeenKey, Secret), Refusal> {
    let CreateCallerKey { caller, ttl } = request;
    let Minted { id, secret, digest } = context.mint(Kind::CallerKey).map_err(Refusal::NoRandomness)?;
    let create = async move |tx: &WriteTx| {
        // Locked: of keys made at once each sees the others.
        let caller = tx.caller(&caller).await?.ok_or(Refusal::CallerNotFound(caller))?;
        let now = tx.now().await?;
        if tx.live_caller_keys(&caller.id, now).await? >= MAX_LIVE_KEYS {
            return Err(Refusal::TooManyCallerKeys(caller.id.clone()));
        }
        let name = CallerKeyName { caller: caller.id.clone(), id };
        let expire_time = now.plus(ttl).map_err(|_| FieldViolations::one("ttl", "must end before the year 10000"))?;
        let key = CallerKey { name, digest, create_time: now, expire_time, revoke_time: None };
        match tx.insert_caller_key(&key).await? {
            Insert::Done => Ok(SeenKey { key, now }),
            Insert::Taken | Insert::NoParent => Err(Refusal::IdTaken(key.name.to_string())),
        }
    };
    let key = context.store.write(move |tx| Box::pin(async move { create(tx).await })).await?;
    Ok((key, secret))
}

/// Ends a key. One that was ended before stays as it is.
pub(crate) async fn revoke_key(context: &Context, request: RevokeCallerKey) -> Result<(SeenKey, Revision), Refusal> {
    let RevokeCallerKey { name, no_wait: _ } = request;
    let revoke = async move |tx: &WriteTx| {
        let read = tx.caller_key(&name).await?.ok_or(Refusal::CallerKeyNotFound(name))?;
        let now = tx.now().await?;
        let key = if read.revoke_time.is_some() {
            read
        } else {
            let row = read.name.id.to_string();
            tx.revoke_caller_key(&read, now).await?.ok_or(StoreError::Tampered { table: "caller_keys", row })?
        };
        Ok::<_, Refusal>(SeenKey { key: key.into_inner(), now })
    };
    context.store.reserved().write_advancing(move |tx| Box::pin(async move { revoke(tx).await })).await
}
