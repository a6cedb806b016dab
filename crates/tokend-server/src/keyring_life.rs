//! A key's life, as the operator leads it: added, activated, retired.
//!
//! The file has the roots, the database says what each key may do, and no transaction covers both. So each step takes the database's
//! lock on the keys first, reads the file under it, and writes in the order that a crash can't hurt:
//!
//! - **add** writes the file, then the database. A root that only the file knows does nothing; the next `add` takes it.
//! - **activate** writes the database alone: all servers change over at once.
//! - **retire** writes the database, then the file. A key that only the database calls retired is retired; the next `retire` of it
//!   marks the file.

use std::{path::Path, time::Duration};

use rand::rngs::SysError;
use tokend_core::{
    audit::{Chain, Event, EventType, Origin, Outcome, RowAfter},
    credential::Kid,
    keyring::{AddKeyError, KeyState, KnownKey, RootKeys, WrongKeys},
    time::Timestamp,
};
use tokend_store::{Insert, LiveCredentials, Renewed, SealedTable, Store, StoreError, StoredKey, WriteTx};

use crate::{
    keyring_file::{self, KeyRingError},
    random,
};

/// How old a key must be before it signs: the servers look for new keys every second, but a mounted secret may take longer to reach
/// them (Kubernetes: up to about two minutes).
pub const LEARNING_TIME: Duration = Duration::from_secs(180);
/// Rows whose MACs one transaction renews.
const RENEWED_AT_ONCE: u64 = 500;

/// Why a key was not added, activated or retired.
#[derive(Debug, thiserror::Error)]
pub enum KeyLifeError {
    /// The file.
    #[error(transparent)]
    File(#[from] KeyRingError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file lacks what the database knows, or has something else.
    #[error("the key ring's file does not fit the database: {0}; put the newest one in its place and try again")]
    WrongFile(WrongKeys),
    /// No key was made.
    #[error(transparent)]
    Add(#[from] AddKeyError<SysError>),
    /// There is no such key.
    #[error("the database knows no key {0}; `tokend keyring status` lists the keys")]
    Unknown(Kid),
    /// A key that is in use can't be retired.
    #[error("key {0} is the active one; add and activate another before you retire it")]
    IsActive(Kid),
    /// Never again.
    #[error("key {0} is retired, and that is for good; add a new one")]
    IsRetired(Kid),
    /// The servers may not have it yet.
    #[error(
        "key {kid} was added {} s ago, and servers may not have it yet: wait until it is {} s old, or pass --force if you know that every server has it",
        .age.as_secs(),
        LEARNING_TIME.as_secs()
    )]
    TooYoung {
        /// The key.
        kid: Kid,
        /// Time since it was added.
        age: Duration,
    },
    /// Something that works was made with it.
    #[error("key {kid} is still needed by {} live tokens and {} live caller keys", .live.tokens, .live.caller_keys)]
    StillNeeded {
        /// The key.
        kid: Kid,
        /// What was made with it.
        live: LiveCredentials,
    },
    /// Somebody wrote to the database meanwhile.
    #[error("rows of {table} were sealed with key {kid} while it was being retired; try again")]
    SealedMeanwhile {
        /// The key.
        kid: Kid,
        /// The table.
        table: &'static str,
    },
}

/// A key that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// The key.
    pub kid: Kid,
    /// Whether its root was in the file already: an earlier `add` was interrupted.
    pub was_in_file: bool,
}

/// What came of retiring a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// Rows that are now sealed with the active key.
    pub renewed: u64,
    /// Rows that were left as they are, because they are not what tokend wrote. They stay refused.
    pub refused: u64,
}

/// A key, as file and database know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// The key.
    pub kid: Kid,
    /// What the database knows of it; nothing if only the file has it.
    pub stored: Option<StoredKey>,
    /// How the file stands to that.
    pub file: InFile,
    /// What was made with it and works.
    pub live: LiveCredentials,
}

/// What the file has of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFile {
    /// What it should.
    Right,
    /// A root that the database does not know: an `add` was interrupted.
    Unregistered,
    /// Another root.
    Another,
    /// Nothing.
    Missing,
    /// It does not say that the key is retired: a `retire` was interrupted, or the file is an older copy.
    NotMarked,
}

/// Adds a key, which only verifies at first.
///
/// # Errors
/// [`KeyLifeError`], one sentence for the operator.
pub async fn add(store: &Store, file: &Path) -> Result<Added, KeyLifeError> {
    let file = file.to_owned();
    let add = async move |tx: &WriteTx| {
        let known: Vec<_> = tx.stored_keys().await?.into_iter().map(|stored| stored.key).collect();
        let roots = read_fitting(&file, &known)?;
        let left_over =
            roots.fingerprints().find(|(kid, _)| !roots.is_retired(*kid) && known.iter().all(|known| known.kid != *kid));
        let (roots, kid) = match left_over {
            Some((kid, _)) => (roots, kid),
            None => {
                let (roots, kid) = random::with_new_key(&roots, &known)?;
                keyring_file::replace(&file, &roots)?;
                (roots, kid)
            }
        };
        for (_, fingerprint) in roots.fingerprints().filter(|(new, _)| *new == kid) {
            // Nobody can have come in between: the keys are locked.
            let _: Insert = tx.insert_key(&KnownKey { kid, fingerprint, state: KeyState::Verifies }).await?;
        }
        tx.audit(event(EventType::RingKeyAdded, kid)).await?;
        Ok(Added { kid, was_in_file: left_over.is_some() })
    };
    store.write_keys(move |tx| Box::pin(async move { add(tx).await })).await
}

/// Makes `kid` the key that signs, once the servers have had [`LEARNING_TIME`], or at once with `force`. One that does already stays
/// it. The key that did goes on verifying.
///
/// # Errors
/// [`KeyLifeError`], one sentence for the operator.
pub async fn activate(store: &Store, file: &Path, kid: Kid, force: bool) -> Result<(), KeyLifeError> {
    let file = file.to_owned();
    let activate = async move |tx: &WriteTx| {
        let keys = tx.stored_keys().await?;
        let StoredKey { key, create_time, .. } = find(&keys, kid)?;
        match key.state {
            KeyState::Active => return Ok(()),
            KeyState::Retired => return Err(KeyLifeError::IsRetired(kid)),
            KeyState::Verifies => {}
        }
        read_fitting(&file, &keys.iter().map(|stored| stored.key).collect::<Vec<_>>())?;
        let age = age(*create_time, tx.now().await?);
        if age < LEARNING_TIME && !force {
            return Err(KeyLifeError::TooYoung { kid, age });
        }
        // Told by the key that signs until now.
        tx.ring().await?;
        if tx.activate_key(kid).await? {
            tx.audit(event(EventType::RingKeyActivated, kid)).await?;
        }
        Ok(())
    };
    store.write_keys(move |tx| Box::pin(async move { activate(tx).await })).await
}

/// Retires `kid`: seals anew what it sealed, makes sure that nothing alive was made with it, and ends it for good. Refused without
/// consequences if something was; interrupted, it can be done again.
///
/// # Errors
/// [`KeyLifeError`], one sentence for the operator.
pub async fn retire(store: &Store, file: &Path, kid: Kid) -> Result<Retired, KeyLifeError> {
    let keys = store.stored_keys().await?;
    let mut done = Retired::default();
    match find(&keys, kid)?.key.state {
        KeyState::Active => return Err(KeyLifeError::IsActive(kid)),
        KeyState::Retired => {}
        KeyState::Verifies => {
            still_needed(kid, store.live_credentials(kid).await?)?;
            let mut refused = Vec::with_capacity(SealedTable::ALL.len());
            for table in SealedTable::ALL {
                let of_table = renew(store, table, kid).await?;
                done.renewed += of_table.renewed;
                done.refused += of_table.refused;
                refused.push((table, of_table.refused));
            }
            let retire = async move |tx: &WriteTx| finish(tx, kid, refused).await;
            store.write_keys(move |tx| Box::pin(async move { retire(tx).await })).await?;
        }
    }
    let roots = keyring_file::read(file)?;
    if !roots.is_retired(kid) {
        keyring_file::replace(file, &roots.with_retired(kid))?;
    }
    Ok(done)
}

/// Every key that the database or the file knows, in the order in which they were added.
///
/// # Errors
/// [`KeyLifeError`], one sentence for the operator.
pub async fn status(store: &Store, file: &Path) -> Result<Vec<KeyStatus>, KeyLifeError> {
    let roots = keyring_file::read(file)?;
    let mut keys = Vec::new();
    for stored in store.stored_keys().await? {
        let kid = stored.key.kid;
        let live = store.live_credentials(kid).await?;
        keys.push(KeyStatus { kid, file: in_file(&roots, &stored.key), stored: Some(stored), live });
    }
    let unregistered: Vec<_> = roots.fingerprints().filter(|(kid, _)| keys.iter().all(|key| key.kid != *kid)).collect();
    let live = LiveCredentials { tokens: 0, caller_keys: 0, until: None };
    keys.extend(unregistered.into_iter().map(|(kid, _)| KeyStatus { kid, stored: None, file: InFile::Unregistered, live }));
    Ok(keys)
}

/// Under the lock, after every write that could have used the key has ended.
async fn finish(tx: &WriteTx, kid: Kid, refused: Vec<(SealedTable, u64)>) -> Result<(), KeyLifeError> {
    still_needed(kid, tx.live_credentials(kid, tx.now().await?).await?)?;
    for (table, refused) in refused {
        if tx.rows_sealed_with(table, kid).await? != refused {
            return Err(KeyLifeError::SealedMeanwhile { kid, table: table.as_str() });
        }
    }
    // False if another command has just done it.
    if tx.retire_key(kid).await? {
        tx.audit(event(EventType::RingKeyRetired, kid)).await?;
    }
    Ok(())
}

/// What an operator did to a key.
fn event(kind: EventType, kid: Kid) -> Event {
    Event {
        chain: Chain::Installation,
        kind,
        origin: Origin::default(),
        resource: String::new(),
        outcome: Outcome::Done,
        reason: String::new(),
        detail: format!("key {kid}"),
        row: RowAfter::None,
    }
}

async fn renew(store: &Store, table: SealedTable, kid: Kid) -> Result<Retired, StoreError> {
    let (mut done, mut after) = (Retired::default(), None);
    loop {
        let renew = async move |tx: &WriteTx| tx.renew_macs(table, kid, after, RENEWED_AT_ONCE).await;
        let Renewed { renewed, refused, next } = store.write(move |tx| Box::pin(async move { renew(tx).await })).await?;
        done.renewed += renewed;
        done.refused += refused;
        match next {
            Some(next) => after = Some(next),
            None => return Ok(done),
        }
    }
}

fn still_needed(kid: Kid, live: LiveCredentials) -> Result<(), KeyLifeError> {
    if live.tokens + live.caller_keys > 0 { Err(KeyLifeError::StillNeeded { kid, live }) } else { Ok(()) }
}

/// The file's keys, if they are all that are in use.
fn read_fitting(file: &Path, known: &[KnownKey]) -> Result<RootKeys, KeyLifeError> {
    let roots = keyring_file::read(file)?;
    let ring = roots.ring(known).map_err(KeyLifeError::WrongFile)?;
    match ring.lacked() {
        [] => Ok(roots),
        [kid, ..] => Err(KeyLifeError::WrongFile(WrongKeys::Lacks(*kid))),
    }
}

fn find(keys: &[StoredKey], kid: Kid) -> Result<&StoredKey, KeyLifeError> {
    keys.iter().find(|stored| stored.key.kid == kid).ok_or(KeyLifeError::Unknown(kid))
}

fn in_file(roots: &RootKeys, known: &KnownKey) -> InFile {
    match roots.fingerprints().find(|(kid, _)| *kid == known.kid) {
        None => InFile::Missing,
        Some((_, ours)) if ours != known.fingerprint => InFile::Another,
        Some(_) if known.state == KeyState::Retired && !roots.is_retired(known.kid) => InFile::NotMarked,
        Some(_) => InFile::Right,
    }
}

fn age(create_time: Timestamp, now: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(now.unix_micros() - create_time.unix_micros()).unwrap_or(0))
}
