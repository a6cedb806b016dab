//! Initializes a database, and checks on each start that it is initialized and belongs to the key ring.

use std::sync::Arc;

use rand::TryCryptoRng;
use sea_orm::{ActiveValue::Set, EntityTrait};
use tokend_core::{
    audit::Chain,
    caller::{Caller, CallerKey},
    change::{Change, Initiator},
    feed::{FeedHead, Revision},
    lease::Terms,
};

use crate::{
    audit::{tables::audit_chains, writes::log_begun},
    error::{OpenError, StoreError},
    feed::tables::feed,
    installation::tables::installation,
    keys,
    shared::Shared,
    store::Store,
    transaction::{Insert, WriteTx},
};

/// The key of the tables that have one row.
const ONE: i16 = 1;

const INSTALLATION: &str = "installation";

/// The first caller, key and epoch of a new installation.
#[derive(Clone, Debug)]
pub struct NewInstallation {
    caller: Caller,
    key: CallerKey,
    epoch: u64,
    terms: Terms,
}

/// The database is initialized already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this database is already initialized")]
pub struct AlreadyInitialized;

/// Why a database was not initialized.
#[derive(Debug, thiserror::Error)]
pub enum InitializeError {
    /// It is initialized already, possibly by another process at the same time.
    #[error(transparent)]
    Already(#[from] AlreadyInitialized),
    /// A fault of the database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NewInstallation {
    /// Creates one with a first caller, its key and the terms of leases. Generates the epoch of its revisions: 63 random
    /// bits.
    ///
    /// # Errors
    /// The error of the random source.
    pub fn new<R: TryCryptoRng>(
        caller: Caller,
        key: CallerKey,
        terms: Terms,
        random: &mut R,
    ) -> Result<Self, R::Error> {
        // PostgreSQL and SQLite have no unsigned numbers.
        let epoch = random.try_next_u64()? >> 1;
        Ok(Self {
            caller,
            key,
            epoch,
            terms,
        })
    }
}

impl Store {
    /// Initializes an empty database in one transaction. Of two concurrent calls exactly one succeeds.
    ///
    /// # Errors
    /// [`InitializeError`].
    pub async fn initialize(&self, new: NewInstallation) -> Result<(), InitializeError> {
        self.acting_as(Initiator::Initialization)
            .write(async move |tx: &WriteTx| initialize(tx, new).await)
            .await
    }

    /// Returns whether the database is initialized.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_initialized(&self) -> Result<bool, StoreError> {
        self.run(|shared| async move { is_initialized(&shared).await }).await
    }
}

async fn initialize(
    tx: &WriteTx,
    NewInstallation {
        caller,
        key,
        epoch,
        terms,
    }: NewInstallation,
) -> Result<(), InitializeError> {
    let create_time = tx.now().await?.unix_micros();
    let row = installation::ActiveModel {
        one: Set(ONE),
        create_time: Set(create_time),
        first_caller: Set(caller.id.to_string()),
    };
    // The second of two calls waits here for the first to commit, and finds its row.
    if tx.insert(installation::Entity::insert(row)).await? != Insert::Done {
        return Err(AlreadyInitialized.into());
    }
    let mut done = Vec::new();
    for key in tx.keys_at_first() {
        done.push(tx.insert_first_key(&key).await?);
    }
    let head = FeedHead {
        revision: Revision { epoch, number: 0 },
        last_revocation: 0,
        is_restoring: false,
        terms,
    };
    let row = crate::feed::row::to_model(&head, &tx.seal(&head).await?);
    let row = feed::ActiveModel {
        one: Set(ONE),
        time_floor: Set(0),
        ..row
    };
    done.push(tx.insert(feed::Entity::insert(row)).await?);
    done.push(tx.insert_caller(&caller).await?);
    done.push(tx.insert_caller_key(&key).await?);
    if done.iter().any(|insert| *insert != Insert::Done) {
        return Err(StoreError::corrupt(
            INSTALLATION,
            "1".to_owned(),
            "the row is missing where others are not".to_owned(),
        )
        .into());
    }
    // The log begins with this event. Those of the caller and its key follow at the end of the transaction.
    let created = Change::InstallationCreated.events(&Initiator::Initialization, tx.ring().await?);
    for event in created {
        if !tx.begin_log(event).await? {
            return Err(AlreadyInitialized.into());
        }
    }
    tx.note_seal().await?;
    Ok(())
}

/// Updates an installation of an older tokend: begins its audit log and seals its feed row.
pub(crate) async fn complete(store: &Store) -> Result<(), StoreError> {
    let is_complete = |shared: Arc<Shared>| async move {
        let log = audit_chains::Entity::find_by_id(Chain::INSTALLATION)
            .one(&shared.connection)
            .await?;
        let feed = feed::Entity::find_by_id(ONE).one(&shared.connection).await?;
        Ok::<_, StoreError>(log.is_some() && feed.is_none_or(|feed| feed.mac.is_some()))
    };
    if store.run(is_complete).await? {
        return Ok(());
    }
    // One of two concurrent servers does it.
    let complete = async |tx: &WriteTx| {
        if tx.begin_log(log_begun(Chain::Installation)).await? {
            tracing::warn!(
                "this installation has no audit log: it is begun now, and what was done before is not on record"
            );
        }
        tx.seal_feed_once().await
    };
    store.write(complete).await
}

/// Checks that the database is initialized and belongs to this key ring.
pub(crate) async fn check(shared: Arc<Shared>) -> Result<(), OpenError> {
    let database = || shared.database.clone();
    if !is_initialized(&shared).await? {
        return Err(OpenError::NotInitialized { database: database() });
    }
    match keys::reads::check(&shared).await? {
        Some(problem) => Err(OpenError::WrongKeyRing {
            database: database(),
            problem,
        }),
        None => Ok(()),
    }
}

async fn is_initialized(shared: &Shared) -> Result<bool, StoreError> {
    Ok(installation::Entity::find_by_id(ONE)
        .one(&shared.connection)
        .await?
        .is_some())
}
