//! Creating, reading and deleting callers and their keys.

use tokend_core::{
    caller::{Caller, CallerKey},
    credential::{Kind, Minted, Secret},
    feed::Revision,
    name::{CallerId, CallerKeyName},
    time::Timestamp,
};
use tokend_proto::{
    field::FieldViolations,
    request::caller_admin::{CreateCaller, CreateCallerKey, DeleteCaller, RevokeCallerKey},
};
use tokend_store::{CallerKeyPage, CallerPage, Insert, StoreError, TimeCursor};

use super::Context;
use crate::{
    auth::{Acting, CallContext, Wait},
    error::ServiceError,
};

/// The most active keys of one caller: one in use and one to replace it.
pub(crate) const MAX_ACTIVE_KEYS: u64 = 2;

/// A caller key as it was at some time.
pub(crate) struct StoredKey {
    pub(crate) key: CallerKey,
    /// When the key was last used, if it was.
    pub(crate) last_use: Option<Timestamp>,
    /// Database time at which the key was read.
    pub(crate) now: Timestamp,
}

/// Creates a caller.
pub(crate) async fn create(
    context: &Context,
    call: CallContext,
    request: CreateCaller,
) -> Result<Caller, ServiceError> {
    let CreateCaller {
        id,
        role,
        workspaces,
        certificate_sans,
    } = request;
    let create = async move |tx: &Acting<'_>| {
        let caller = Caller {
            id,
            role,
            workspaces,
            certificate_sans,
            create_time: tx.now().await?,
        };
        if tx.insert_caller(&caller).await? != Insert::Done {
            return Err(ServiceError::CallerAlreadyExists(caller.id));
        }
        if let Some(san) = tx.claim_certificate_sans(&caller).await? {
            return Err(ServiceError::CertificateSanTaken(san));
        }
        Ok(caller)
    };
    call.write(&context.store, create).await
}

/// A caller, and the time at which the last of its active keys expires, if it has one.
pub(crate) type StoredCaller = (Caller, Option<Timestamp>);

/// Returns a caller.
pub(crate) async fn get(context: &Context, id: CallerId) -> Result<StoredCaller, ServiceError> {
    let caller = context
        .store
        .caller(&id)
        .await?
        .ok_or_else(|| ServiceError::CallerNotFound(id.clone()))?;
    let until = context.store.keys_work_until(vec![id]).await?.into_values().next();
    Ok((caller, until))
}

/// Returns a page of callers, ordered by id, and the id after which the next page starts.
pub(crate) async fn list(
    context: &Context,
    after: Option<String>,
    limit: u16,
) -> Result<(Vec<StoredCaller>, Option<String>), ServiceError> {
    let CallerPage { callers, next } = context.store.list_callers(after, limit.into()).await?;
    // The store has logged rows that can't be read. They do not keep others from being listed.
    let callers: Vec<_> = callers.into_iter().flatten().collect();
    let mut until = context
        .store
        .keys_work_until(callers.iter().map(|caller| caller.id.clone()).collect())
        .await?;
    let seen = callers.into_iter().map(|caller| {
        let until = until.remove(&caller.id);
        (caller, until)
    });
    Ok((seen.collect(), next))
}

/// Returns a page of a caller's keys.
pub(crate) async fn list_keys(
    context: &Context,
    caller: CallerId,
    after: Option<TimeCursor>,
    limit: u16,
) -> Result<CallerKeyPage, ServiceError> {
    context
        .store
        .list_caller_keys(&caller, after, limit.into())
        .await?
        .ok_or(ServiceError::CallerNotFound(caller))
}

/// Deletes a caller and its keys. The tokens that it created stay.
pub(crate) async fn delete(
    context: &Context,
    call: CallContext,
    request: DeleteCaller,
) -> Result<(Caller, Revision), ServiceError> {
    let DeleteCaller { id, no_wait } = request;
    let from = id.clone();
    let delete = async move |tx: &Acting<'_>| {
        let caller = tx.delete_caller(&id).await?;
        if let Some(caller) = &caller {
            keep_an_admin(tx, &caller.id).await?;
        }
        Ok::<_, ServiceError>(caller.ok_or(ServiceError::CallerNotFound(id)))
    };
    let store = context.store.reserved();
    let (deleted, revision) = call
        .take_away(&store, from, Wait::unless(no_wait, context), delete)
        .await?;
    // That a caller is gone is said as late as that it was deleted: another call may just have deleted it (C2).
    Ok((deleted?, revision))
}

/// Creates a caller key.
pub(crate) async fn create_key(
    context: &Context,
    call: CallContext,
    request: CreateCallerKey,
) -> Result<(StoredKey, Secret), ServiceError> {
    let CreateCallerKey { caller, ttl } = request;
    let Minted { id, secret, digest } = context.mint(Kind::CallerKey).map_err(ServiceError::NoRandomness)?;
    let create = async move |tx: &Acting<'_>| {
        // The caller is locked, so that keys that are created at once are counted.
        let caller = tx.caller(&caller).await?.ok_or(ServiceError::CallerNotFound(caller))?;
        let now = tx.now().await?;
        if tx.live_caller_keys(&caller.id, now).await? >= MAX_ACTIVE_KEYS {
            return Err(ServiceError::TooManyCallerKeys(caller.id.clone()));
        }
        let name = CallerKeyName {
            caller: caller.id.clone(),
            id,
        };
        let expire_time = now
            .plus(ttl)
            .map_err(|_| FieldViolations::one("ttl", "must end before the year 10000"))?;
        let key = CallerKey {
            name,
            digest,
            create_time: now,
            expire_time,
            revoke_time: None,
        };
        if tx.insert_caller_key(&key).await? != Insert::Done {
            return Err(ServiceError::IdTaken(key.name.to_string()));
        }
        Ok(StoredKey {
            key,
            last_use: None,
            now,
        })
    };
    let key = call.write(&context.store, create).await?;
    Ok((key, secret))
}

/// Revokes a caller key. One that is revoked already stays as it is.
pub(crate) async fn revoke_key(
    context: &Context,
    call: CallContext,
    request: RevokeCallerKey,
) -> Result<(StoredKey, Revision), ServiceError> {
    let RevokeCallerKey { name, no_wait } = request;
    let from = name.caller.clone();
    let revoke = async move |tx: &Acting<'_>| {
        let Some(read) = tx.caller_key(&name).await? else {
            return Ok(Err(ServiceError::CallerKeyNotFound(name)));
        };
        let now = tx.now().await?;
        let key = if read.revoke_time.is_some() {
            read
        } else {
            let row = read.name.id.to_string();
            let key = tx
                .revoke_caller_key(&read, now)
                .await?
                .ok_or_else(|| StoreError::tampered("caller_keys", row))?;
            keep_an_admin(tx, &key.name.caller).await?;
            key
        };
        Ok::<_, ServiceError>(Ok(StoredKey {
            key: key.into_inner(),
            last_use: None,
            now,
        }))
    };
    let store = context.store.reserved();
    let (seen, revision) = call
        .take_away(&store, from, Wait::unless(no_wait, context), revoke)
        .await?;
    // That a key is gone is said as late as that it was revoked (C2).
    let seen = seen?;
    // The key is revoked, even if its last use can't be read.
    let last_use = store.last_use_of_key(seen.key.name.id).await.ok().flatten();
    Ok((StoredKey { last_use, ..seen }, revision))
}

/// Refuses a change to the caller `changed` that leaves no ADMIN who can authenticate with a key or a certificate,
/// because nobody could create another. The transaction has made the change already, and has locked all ADMINs before.
async fn keep_an_admin(tx: &Acting<'_>, changed: &CallerId) -> Result<(), ServiceError> {
    let admins = tx.admins();
    if !admins.iter().any(|admin| admin.id == *changed) {
        return Ok(());
    }
    let now = tx.now().await?;
    for admin in admins {
        let Some(admin) = tx.caller(&admin.id).await? else {
            continue;
        };
        if !admin.certificate_sans.is_empty() || tx.live_caller_keys(&admin.id, now).await? > 0 {
            return Ok(());
        }
    }
    Err(ServiceError::LastAdmin(changed.clone()))
}
