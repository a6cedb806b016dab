//! Making a database an installation, once, and telling whose it is ever after.

use std::{sync::Arc, time::Duration};

use rand::TryCryptoRng;
use sea_orm::{ActiveValue::Set, EntityTrait};
use tokend_core::{
    audit::{Chain, Event, EventType, Origin, Outcome, RowAfter},
    caller::{Caller, CallerKey},
    feed::FeedHead,
    revision::Revision,
};

use crate::{
    entity::{audit_chains, feed, installation},
    error::StoreError,
    keys,
    open_error::OpenError,
    row,
    store::{Shared, Store},
    write::{Insert, WriteTx, audit::log_begun},
};

/// The key of the tables that have one row.
const ONE: i16 = 1;

/// How long a replica may answer from memory after it asked for news, and how long a revocation waits for that.
pub(crate) const GRANT: Duration = Duration::from_secs(1);

const INSTALLATION: &str = "installation";

/// What an installation starts with.
#[derive(Clone, Debug)]
pub struct NewInstallation {
    caller: Caller,
    key: CallerKey,
    epoch: u64,
}

/// There is an installation already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this database is already initialized")]
pub struct AlreadyInitialized;

/// Why a database was not initialized.
#[derive(Debug, thiserror::Error)]
pub enum InitializeError {
    /// It was before, or another process did it at the same time and won.
    #[error(transparent)]
    Already(#[from] AlreadyInitialized),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NewInstallation {
    /// One with a first caller and its key. Draws the epoch in which revisions will be counted: 63 random bits.
    ///
    /// # Errors
    /// The random source's.
    pub fn new<R: TryCryptoRng>(caller: Caller, key: CallerKey, random: &mut R) -> Result<Self, R::Error> {
        // PostgreSQL and SQLite have no unsigned numbers.
        let epoch = random.try_next_u64()? >> 1;
        Ok(Self { caller, key, epoch })
    }
}

impl Store {
    /// Makes an empty database an installation, in one transaction: of two at once exactly one wins.
    ///
    /// # Errors
    /// [`InitializeError`].
    pub async fn initialize(&self, new: NewInstallation) -> Result<(), InitializeError> {
        self.write(move |tx: &WriteTx| Box::pin(initialize(tx, new))).await
    }

    /// Whether [`initialize`](Self::initialize) was done.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_initialized(&self) -> Result<bool, StoreError> {
        self.run(|shared| async move { is_initialized(&shared).await }).await
    }
}

async fn initialize(tx: &WriteTx, NewInstallation { caller, key, epoch }: NewInstallation) -> Result<(), InitializeError> {
    let create_time = tx.now().await?.unix_micros();
    let row = installation::ActiveModel { one: Set(ONE), create_time: Set(create_time), first_caller: Set(caller.id.to_string()) };
    // The second of two waits here for the first to commit, and finds its row.
    if tx.insert(installation::Entity::insert(row)).await? != Insert::Done {
        return Err(AlreadyInitialized.into());
    }
    let mut done = Vec::new();
    for key in tx.keys_at_first() {
        done.push(tx.insert_key(&key).await?);
    }
    let head = FeedHead { revision: Revision { epoch, number: 0 }, last_ending: 0, is_restoring: false, grant: GRANT, wait: GRANT };
    let row = row::feed_to_model(&head, &tx.seal(&head).await?);
    let row = feed::ActiveModel { one: Set(ONE), time_floor: Set(0), ..row };
    done.push(tx.insert(feed::Entity::insert(row)).await?);
    done.push(tx.insert_caller(&caller).await?);
    done.push(tx.insert_caller_key(&key).await?);
    if done.iter().any(|insert| *insert != Insert::Done) {
        return Err(StoreError::corrupt(INSTALLATION, "1".to_owned(), "the row is missing where others are not".to_owned()).into());
    }
    let event = |kind, resource, row| Event {
        chain: Chain::Installation,
        kind,
        origin: Origin::default(),
        resource,
        outcome: Outcome::Done,
        reason: String::new(),
        detail: String::new(),
        row,
    };
    if !tx.begin_log(event(EventType::InstallationCreated, String::new(), RowAfter::None)).await? {
        return Err(AlreadyInitialized.into());
    }
    tx.note_seal().await?;
    tx.audit(event(EventType::CallerCreated, caller.id.name(), tx.row_is(&caller).await?)).await?;
    tx.audit(event(EventType::CallerKeyCreated, key.name.to_string(), tx.row_is(&key).await?)).await?;
    Ok(())
}

/// Brings an installation that an older tokend made up to date: begins its audit log, and seals its feed's row.
pub(crate) async fn complete(store: &Store) -> Result<(), StoreError> {
    let is_complete = |shared: Arc<Shared>| async move {
        let log = audit_chains::Entity::find_by_id(Chain::INSTALLATION).one(&shared.connection).await?;
        let feed = feed::Entity::find_by_id(ONE).one(&shared.connection).await?;
        Ok::<_, StoreError>(log.is_some() && feed.is_none_or(|feed| feed.mac.is_some()))
    };
    if store.run(is_complete).await? {
        return Ok(());
    }
    // Of two servers at once, one does it.
    let complete = async |tx: &WriteTx| {
        if tx.begin_log(log_begun(Chain::Installation)).await? {
            tracing::warn!("this installation has no audit log: it is begun now, and what was done before is not on record");
        }
        tx.seal_feed_once().await
    };
    store.write(move |tx: &WriteTx| Box::pin(async move { complete(tx).await })).await
}

/// Whether the database is initialized, and with this key ring.
pub(crate) async fn check(shared: Arc<Shared>) -> Result<(), OpenError> {
    let database = || shared.database.clone();
    if !is_initialized(&shared).await? {
        return Err(OpenError::NotInitialized { database: database() });
    }
    match keys::check(&shared).await? {
        Some(problem) => Err(OpenError::WrongKeyRing { database: database(), problem }),
        None => Ok(()),
    }
}

async fn is_initialized(shared: &Shared) -> Result<bool, StoreError> {
    Ok(installation::Entity::find_by_id(ONE).one(&shared.connection).await?.is_some())
}
