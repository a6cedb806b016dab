//! Creates an installation with its first caller.

use std::{sync::Arc, time::Duration};

use rand::rngs::SysError;
use tokend_core::{
    caller::{Caller, CallerKey, Role, WorkspaceAccess},
    credential::{Kind, Minted, Secret},
    keyring::RootKeys,
    lease::Terms,
    name::{CallerKeyName, MalformedChosenId},
    time::{Clock, TimeOutOfRange},
};
use tokend_proto::request::caller_admin::DEFAULT_KEY_TTL;
use tokend_store::{InitializeError, OpenError, Store, StoreError};

use crate::random;

/// The id of the first caller, an ADMIN.
pub const FIRST_CALLER: &str = "admin";
/// The lifetime of its key.
pub const FIRST_KEY_TTL: Duration = DEFAULT_KEY_TTL;

/// The key of the first caller of a new installation.
#[derive(Debug)]
pub struct Installed {
    /// Its name.
    pub key_name: CallerKeyName,
    /// Its secret.
    pub key: Secret,
}

/// The installation was not created. Each is one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The database can't be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database holds an installation already, or it failed.
    #[error(transparent)]
    Initialize(#[from] InitializeError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system's random source failed.
    #[error("the system's random source failed: {0}")]
    Random(#[from] SysError),
    /// The database's clock is set to the end of time.
    #[error("the database's clock can't be right: {0}")]
    Clock(#[from] TimeOutOfRange),
    /// [`FIRST_CALLER`] is not a valid id.
    #[error(transparent)]
    Name(#[from] MalformedChosenId),
}

/// Creates the schema and the first ADMIN caller in an empty database, and returns the caller's key. If two processes
/// do this at once, one of them fails. `terms` say how long leases last.
///
/// # Errors
/// [`InstallError`], one sentence for the operator.
pub async fn install(
    settings: &tokend_store::StoreSettings,
    roots: Arc<RootKeys>,
    terms: Terms,
    clock: Clock,
) -> Result<Installed, InstallError> {
    let store = Store::create(settings, roots, clock).await?;
    let installed = install_into(&store, terms).await;
    store.close().await;
    installed
}

async fn install_into(store: &Store, terms: Terms) -> Result<Installed, InstallError> {
    let now = store.now().await?;
    let caller = Caller {
        id: FIRST_CALLER.parse()?,
        role: Role::Admin,
        workspaces: WorkspaceAccess::All,
        certificate_sans: Vec::new(),
        create_time: now,
    };
    let Minted { id, secret, digest } = random::mint(&store.keys(), Kind::CallerKey)?;
    let name = CallerKeyName {
        caller: caller.id.clone(),
        id,
    };
    let key = CallerKey {
        name: name.clone(),
        digest,
        create_time: now,
        expire_time: now.plus(FIRST_KEY_TTL)?,
        revoke_time: None,
    };
    store.initialize(random::new_installation(caller, key, terms)?).await?;
    Ok(Installed {
        key_name: name,
        key: secret,
    })
}
