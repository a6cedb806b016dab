//! Creates a new key for an ADMIN when all are lost. It takes access to the database and the key ring, which allows
//! everything anyway.

use std::sync::Arc;

use rand::rngs::SysError;
use tokend_core::{
    caller::{Caller, CallerKey, Role, WorkspaceAccess},
    change::Initiator,
    credential::{Kind, Minted, Secret},
    keyring::RootKeys,
    name::{CallerId, CallerKeyName, MalformedChosenId},
    time::{Clock, TimeOutOfRange, Timestamp},
};
use tokend_store::{Insert, Locked, OpenError, Store, StoreError, WriteTx};

use crate::{
    operator::installation::{FIRST_CALLER, FIRST_KEY_TTL},
    random,
    usecases::callers::MAX_ACTIVE_KEYS,
};

/// The id of the ADMIN that is created if no ADMIN has room for another key. It gets a number if the id is taken.
const NEW_ADMIN: &str = "recovered-admin";

/// The new key.
#[derive(Debug)]
pub struct Recovered {
    /// The key's name, which contains its caller, an ADMIN.
    pub key_name: CallerKeyName,
    /// The key's secret.
    pub key: Secret,
}

/// No key was created. Each is one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The database can't be used, or holds no installation.
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
    /// A generated id is not valid.
    #[error(transparent)]
    Name(#[from] MalformedChosenId),
    /// A random id was drawn twice.
    #[error("the new key's id is taken; try again")]
    IdTaken,
}

/// Creates a key for an ADMIN: for the first caller if it is one, for another ADMIN, or for a new ADMIN if none has
/// room for another key. Existing keys go on working. The audit log records it.
///
/// # Errors
/// [`RecoverError`].
pub async fn recover(
    settings: &tokend_store::StoreSettings,
    roots: Arc<RootKeys>,
    clock: Clock,
) -> Result<Recovered, RecoverError> {
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
        let key = CallerKey {
            name,
            digest,
            create_time: now,
            expire_time: now.plus(FIRST_KEY_TTL)?,
            revoke_time: None,
        };
        if tx.insert_caller_key(&key).await? != Insert::Done {
            return Err(RecoverError::IdTaken);
        }
        Ok(key.name)
    };
    let key_name = store.acting_as(Initiator::Recovery).write(make).await?;
    Ok(Recovered { key_name, key: secret })
}

/// Returns an ADMIN that has room for another key, preferably the first caller.
async fn with_room(tx: &WriteTx, admins: &[Locked<Caller>], now: Timestamp) -> Result<Option<CallerId>, StoreError> {
    let (first, others): (Vec<_>, Vec<_>) = admins.iter().partition(|admin| admin.id.as_str() == FIRST_CALLER);
    for admin in first.into_iter().chain(others) {
        if tx.live_caller_keys(&admin.id, now).await? < MAX_ACTIVE_KEYS {
            return Ok(Some(admin.id.clone()));
        }
    }
    Ok(None)
}

async fn new_admin(tx: &WriteTx, now: Timestamp) -> Result<CallerId, RecoverError> {
    for number in 1.. {
        let id = if number == 1 {
            NEW_ADMIN.to_owned()
        } else {
            format!("{NEW_ADMIN}-{number}")
        };
        let caller = Caller {
            id: id.parse()?,
            role: Role::Admin,
            workspaces: WorkspaceAccess::All,
            certificate_sans: Vec::new(),
            create_time: now,
        };
        if tx.insert_caller(&caller).await? == Insert::Done {
            return Ok(caller.id);
        }
    }
    Err(RecoverError::IdTaken)
}
