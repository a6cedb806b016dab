//! Making, showing and deleting callers and their keys.

use tokend_core::{
    audit::{Chain, Event, EventType, RowAfter},
    caller::{Caller, CallerKey, WorkspaceAccess},
    credential::{Kind, Minted, Secret},
    name::{CallerId, CallerKeyName},
    revision::Revision,
    time::Timestamp,
};
use tokend_proto::{
    field::FieldViolations,
    request::caller_admin::{CreateCaller, CreateCallerKey, NamedCaller, RevokeCallerKey},
};
use tokend_store::{CallerKeyPage, CallerPage, Insert, StoreError, TimeCursor};

use super::Context;
use crate::{
    access::{Act, Acting},
    refusal::Refusal,
};

/// Most keys of one caller that work at once: one in use and one to replace it.
pub(crate) const MAX_LIVE_KEYS: u64 = 2;

/// Most workspaces that an event of a caller names.
const NAMED_WORKSPACES: usize = 16;

/// A key as it was at some time.
pub(crate) struct SeenKey {
    pub(crate) key: CallerKey,
    /// When it was used last, if ever.
    pub(crate) last_use: Option<Timestamp>,
    pub(crate) now: Timestamp,
}

/// Makes a caller.
pub(crate) async fn create(context: &Context, act: Act, request: CreateCaller) -> Result<Caller, Refusal> {
    let CreateCaller { id, role, workspaces, certificate_sans } = request;
    let create = async move |tx: &Acting<'_>| {
        let caller = Caller { id, role, workspaces, certificate_sans, create_time: tx.now().await? };
        if tx.insert_caller(&caller).await? != Insert::Done {
            return Err(Refusal::CallerAlreadyExists(caller.id));
        }
        if let Some(san) = tx.claim_certificate_sans(&caller).await? {
            return Err(Refusal::CertificateSanTaken(san));
        }
        let event = tx.event(Chain::Installation, EventType::CallerCreated, caller.id.name(), tx.row_is(&caller).await?);
        tx.audit(Event { detail: permission(&caller), ..event }).await?;
        Ok(caller)
    };
    act.write(&context.store, move |tx| Box::pin(async move { create(tx).await })).await
}

/// A caller, and until when its keys work, if one does.
pub(crate) type SeenCaller = (Caller, Option<Timestamp>);

/// Shows a caller.
pub(crate) async fn get(context: &Context, id: CallerId) -> Result<SeenCaller, Refusal> {
    let caller = context.store.caller(&id).await?.ok_or_else(|| Refusal::CallerNotFound(id.clone()))?;
    let until = context.store.keys_work_until(vec![id]).await?.into_values().next();
    Ok((caller, until))
}

/// A page of callers, by id, and the id behind which the next page starts.
pub(crate) async fn list(
    context: &Context,
    after: Option<String>,
    limit: u16,
) -> Result<(Vec<SeenCaller>, Option<String>), Refusal> {
    let CallerPage { callers, next } = context.store.list_callers(after, limit.into()).await?;
    // What can't be read was logged; it hides nothing else.
    let callers: Vec<_> = callers.into_iter().flatten().collect();
    let mut until = context.store.keys_work_until(callers.iter().map(|caller| caller.id.clone()).collect()).await?;
    let seen = callers.into_iter().map(|caller| {
        let until = until.remove(&caller.id);
        (caller, until)
    });
    Ok((seen.collect(), next))
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
pub(crate) async fn delete(context: &Context, act: Act, request: NamedCaller) -> Result<(Caller, Revision), Refusal> {
    let NamedCaller { id } = request;
    let from = id.clone();
    let delete = async move |tx: &Acting<'_>| {
        let caller = tx.delete_caller(&id).await?.ok_or(Refusal::CallerNotFound(id))?;
        keep_an_admin(tx, &caller.id).await?;
        let event = tx.event(Chain::Installation, EventType::CallerDeleted, caller.id.name(), RowAfter::Gone);
        tx.audit(Event { detail: permission(&caller), ..event }).await?;
        Ok::<_, Refusal>(caller)
    };
    act.take_away(&context.store.reserved(), from, move |tx| Box::pin(async move { delete(tx).await })).await
}

/// Makes a key.
pub(crate) async fn create_key(context: &Context, act: Act, request: CreateCallerKey) -> Result<(SeenKey, Secret), Refusal> {
    let CreateCallerKey { caller, ttl } = request;
    let Minted { id, secret, digest } = context.mint(Kind::CallerKey).map_err(Refusal::NoRandomness)?;
    let create = async move |tx: &Acting<'_>| {
        // Locked: of keys made at once each sees the others.
        let caller = tx.caller(&caller).await?.ok_or(Refusal::CallerNotFound(caller))?;
        let now = tx.now().await?;
        if tx.live_caller_keys(&caller.id, now).await? >= MAX_LIVE_KEYS {
            return Err(Refusal::TooManyCallerKeys(caller.id.clone()));
        }
        let name = CallerKeyName { caller: caller.id.clone(), id };
        let expire_time = now.plus(ttl).map_err(|_| FieldViolations::one("ttl", "must end before the year 10000"))?;
        let key = CallerKey { name, digest, create_time: now, expire_time, revoke_time: None };
        if tx.insert_caller_key(&key).await? != Insert::Done {
            return Err(Refusal::IdTaken(key.name.to_string()));
        }
        let event = tx.event(Chain::Installation, EventType::CallerKeyCreated, key.name.to_string(), tx.row_is(&key).await?);
        tx.audit(Event { detail: format!("works for {} s", ttl.as_secs()), ..event }).await?;
        Ok(SeenKey { key, last_use: None, now })
    };
    let key = act.write(&context.store, move |tx| Box::pin(async move { create(tx).await })).await?;
    Ok((key, secret))
}

/// Ends a key. One that was ended before stays as it is.
pub(crate) async fn revoke_key(context: &Context, act: Act, request: RevokeCallerKey) -> Result<(SeenKey, Revision), Refusal> {
    let RevokeCallerKey { name, no_wait: _ } = request;
    let from = name.caller.clone();
    let revoke = async move |tx: &Acting<'_>| {
        let read = tx.caller_key(&name).await?.ok_or(Refusal::CallerKeyNotFound(name))?;
        let now = tx.now().await?;
        let key = if read.revoke_time.is_some() {
            read
        } else {
            let row = read.name.id.to_string();
            let key = tx.revoke_caller_key(&read, now).await?.ok_or(StoreError::Tampered { table: "caller_keys", row })?;
            keep_an_admin(tx, &key.name.caller).await?;
            let event = tx.event(Chain::Installation, EventType::CallerKeyRevoked, key.name.to_string(), tx.row_is(&*key).await?);
            tx.audit(event).await?;
            key
        };
        Ok::<_, Refusal>(SeenKey { key: key.into_inner(), last_use: None, now })
    };
    let store = context.store.reserved();
    let (seen, revision) = act.take_away(&store, from, move |tx| Box::pin(async move { revoke(tx).await })).await?;
    // It is ended, even if this can't be read.
    let last_use = store.last_use_of_key(seen.key.name.id).await.ok().flatten();
    Ok((SeenKey { last_use, ..seen }, revision))
}

/// Refuses a change to the caller `changed`, which was made already, if it has left no ADMIN that can authenticate, be it with a key or
/// with a certificate: nobody could make another. All were locked before the change.
async fn keep_an_admin(tx: &Acting<'_>, changed: &CallerId) -> Result<(), Refusal> {
    let admins = tx.admins();
    if !admins.iter().any(|admin| admin.id == *changed) {
        return Ok(());
    }
    let now = tx.now().await?;
    for admin in admins {
        let Some(admin) = tx.caller(&admin.id).await? else { continue };
        if !admin.certificate_sans.is_empty() || tx.live_caller_keys(&admin.id, now).await? > 0 {
            return Ok(());
        }
    }
    Err(Refusal::LastAdmin(changed.clone()))
}

/// What a caller may do and where, for the record.
fn permission(caller: &Caller) -> String {
    match &caller.workspaces {
        WorkspaceAccess::All => format!("{} in every workspace", caller.role.as_str()),
        WorkspaceAccess::Only(only) => {
            let names: Vec<_> = only.iter().take(NAMED_WORKSPACES).map(|id| id.as_str()).collect();
            let more = if only.len() > names.len() { ", ..." } else { "" };
            format!("{} in {} workspaces: {}{more}", caller.role.as_str(), only.len(), names.join(", "))
        }
    }
}
