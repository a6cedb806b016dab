//! A new key for an ADMIN, where nobody has one any more: by whoever has the database and the key ring, and could do anything.

use std::sync::Arc;

use rand::rngs::SysError;
use tokend_core::{
    audit::{Chain, Event, EventType, Origin, Outcome, RowAfter},
    caller::{Caller, CallerKey, Role, WorkspaceAccess},
    clock::Clock,
    credential::{Kind, Minted, Secret},
    keyring::RootKeys,
    name::{CallerId, CallerKeyName, MalformedChosenId},
    time::{TimeOutOfRange, Timestamp},
};
use tokend_store::{Insert, Locked, OpenError, Store, StoreError, WriteTx};

use crate::{
    installation::{FIRST_CALLER, FIRST_KEY_TTL},
    random,
    usecases::callers::MAX_LIVE_KEYS,
};

/// The id of an ADMIN that is made because none has room for another key; with a number if that is taken.
const NEW_ADMIN: &str = "recovered-admin";
/// What the record says of it.
const DETAIL: &str = "by tokend init --recover";

/// A key that was made, and whose it is.
#[derive(Debug)]
pub struct Recovered {
    /// The key's name, and with it its caller, an ADMIN.
    pub key_name: CallerKeyName,
    /// Its new key.
    pub key: Secret,
}

/// Why no key was made. One sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The database can't be used, or is no installation.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system's random source failed.
    #[error("the system's random source failed: {0}")]
    Random(#[from] SysError),
    /// The database's clock is set to the end of time.
    #[error("the database's clock can't be right: {0}")]
    Clock(#[from] TimeOutOfRange),
    /// An id that was made up is none.
    #[error(transparent)]
    Name(#[from] MalformedChosenId),
    /// A random id was drawn twice.
    #[error("the new key's id is taken; try again")]
    IdTaken,
}

/// Makes a key for an ADMIN, the first caller if it is one, and an ADMIN if there is none with room for another key. Keys that work
/// already go on working. It is put on record.
///
/// # Errors
/// [`RecoverError`].
pub async fn recover(settings: &tokend_store::Settings, roots: Arc<RootKeys>, clock: Clock) -> Result<Recovered, RecoverError> {
    let store = Store::open(settings, roots, clock).await?;
    let recovered = recover_in(&store).await;
    store.close().await;
    recovered
}

async fn recover_in(store: &Store) -> Result<Recovered, RecoverError> {
    let Minted { id, secret, digest } = random::mint(&store.keys(), Kind::CallerKey)?;
    let make = async move |tx: &WriteTx| {
        let admins = tx.lock_admins().await?;
        let now = tx.now().await?;
        let caller = match with_room(tx, &admins, now).await? {
            Some(caller) => caller,
            None => new_admin(tx, now).await?,
        };
        let name = CallerKeyName { caller, id };
        let key = CallerKey { name, digest, create_time: now, expire_time: now.plus(FIRST_KEY_TTL)?, revoke_time: None };
        if tx.insert_caller_key(&key).await? != Insert::Done {
            return Err(RecoverError::IdTaken);
        }
        tx.audit(event(EventType::CallerKeyCreated, key.name.to_string(), tx.row_is(&key).await?)).await?;
        Ok(key.name)
    };
    let key_name = store.write(move |tx| Box::pin(async move { make(tx).await })).await?;
    Ok(Recovered { key_name, key: secret })
}

/// An ADMIN that may have another key, the first caller before all others.
async fn with_room(tx: &WriteTx, admins: &[Locked<Caller>], now: Timestamp) -> Result<Option<CallerId>, StoreError> {
    let (first, others): (Vec<_>, Vec<_>) = admins.iter().partition(|admin| admin.id.as_str() == FIRST_CALLER);
    for admin in first.into_iter().chain(others) {
        if tx.live_caller_keys(&admin.id, now).await? < MAX_LIVE_KEYS {
            return Ok(Some(admin.id.clone()));
        }
    }
    Ok(None)
}

async fn new_admin(tx: &WriteTx, now: Timestamp) -> Result<CallerId, RecoverError> {
    for number in 1.. {
        let id = if number == 1 { NEW_ADMIN.to_owned() } else { format!("{NEW_ADMIN}-{number}") };
        let caller = Caller {
            id: id.parse()?,
            role: Role::Admin,
            workspaces: WorkspaceAccess::All,
            certificate_sans: Vec::new(),
            create_time: now,
        };
        if tx.insert_caller(&caller).await? == Insert::Done {
            tx.audit(event(EventType::CallerCreated, caller.id.name(), tx.row_is(&caller).await?)).await?;
            return Ok(caller.id);
        }
    }
    Err(RecoverError::IdTaken)
}

/// Of an operator at the machine.
fn event(kind: EventType, resource: String, row: RowAfter) -> Event {
    Event {
        chain: Chain::Installation,
        kind,
        origin: Origin::default(),
        resource,
        outcome: Outcome::Done,
        reason: String::new(),
        detail: DETAIL.to_owned(),
        row,
    }
}
