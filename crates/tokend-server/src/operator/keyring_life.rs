//! Adds, activates and retires keys of the key ring.
//!
//! The file has the roots, the database says what each key may do, and no transaction covers both. So each step locks
//! the keys in the database first, reads the file under that lock, and writes in an order in which a crash does no
//! harm:
//!
//! - **add** writes the file, then the database. A root that only the file has is unused; the next `add` registers it.
//! - **activate** writes only the database: all servers switch at once.
//! - **retire** writes the database, then the file. A key that is retired only in the database is retired; the next
//!   `retire` of it marks the file.

use std::{path::Path, time::Duration};

use rand::rngs::SysError;
use tokend_core::{
    change::Initiator,
    credential::Kid,
    keyring::{AddKeyError, KeyState, KnownKey, RootKeys, WrongKeys},
    time::Timestamp,
};
use tokend_store::{Insert, LiveCredentials, Resealed, SealedTable, Store, StoreError, StoredKey, WriteTx};

use crate::{
    operator::keyring_file::{self, KeyRingError},
    random,
};

/// The age that a key must have before it may sign. Servers look for new keys every second, but a mounted secret takes
/// longer to reach them (in Kubernetes up to about two minutes).
pub const LEARNING_TIME: Duration = Duration::from_secs(180);
/// The number of rows whose MACs one transaction renews.
const RENEWED_AT_ONCE: u64 = 500;

/// The key was not added, activated or retired. Each is one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum KeyLifeError {
    /// The file can't be used.
    #[error(transparent)]
    File(#[from] KeyRingError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file lacks a key that the database has, or has another root for it.
    #[error("the key ring's file does not fit the database: {0}; put the newest one in its place and try again")]
    WrongFile(WrongKeys),
    /// The key could not be created.
    #[error(transparent)]
    Add(#[from] AddKeyError<SysError>),
    /// The database has no such key.
    #[error("the database knows no key {0}; `tokend keyring status` lists the keys")]
    Unknown(Kid),
    /// The active key can't be retired.
    #[error("key {0} is the active one; add and activate another before you retire it")]
    IsActive(Kid),
    /// A retired key can't be used again.
    #[error("key {0} is retired, and that is for good; add a new one")]
    IsRetired(Kid),
    /// Servers may not have the key yet.
    #[error(
        "key {kid} was added {} s ago, and servers may not have it yet: wait until it is {} s old, or \
         pass --force if you know that every server has it",
        .age.as_secs(),
        LEARNING_TIME.as_secs()
    )]
    TooYoung {
        /// The key.
        kid: Kid,
        /// Time since it was added.
        age: Duration,
    },
    /// Tokens or caller keys that work were minted with it.
    #[error("key {kid} is still needed by {} live tokens and {} live caller keys", .live.tokens, .live.caller_keys)]
    StillNeeded {
        /// The key.
        kid: Kid,
        /// The number of tokens and caller keys that it minted and that work.
        live: LiveCredentials,
    },
    /// A write used the key while it was being retired.
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
    /// Whether its root was in the file already, because an earlier `add` was interrupted.
    pub was_in_file: bool,
}

/// The result of retiring a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// The number of rows whose MAC now uses the active key.
    pub renewed: u64,
    /// The number of rows that failed verification and were left unchanged. Servers go on refusing them.
    pub refused: u64,
}

/// A key, as the file and the database have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// The key.
    pub kid: Kid,
    /// The database's row. `None` if only the file has the key.
    pub stored: Option<StoredKey>,
    /// What the file has of it.
    pub file: InFile,
    /// The tokens and caller keys that it minted and that work.
    pub live: LiveCredentials,
}

/// How the file fits the database's row of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFile {
    /// It fits.
    Right,
    /// The file has a root that the database does not have: an `add` was interrupted.
    Unregistered,
    /// The file has another root.
    Another,
    /// The file does not have the key.
    Missing,
    /// The file does not mark the key as retired: a `retire` was interrupted, or the file is an older copy.
    NotMarked,
}

/// Adds a key. It only verifies until it is activated.
///
/// # Errors
/// [`KeyLifeError`], one sentence for the operator.
pub async fn add(store: &Store, file: &Path) -> Result<Added, KeyLifeError> {
    let file = file.to_owned();
    let add = async move |tx: &WriteTx| {
        let known: Vec<_> = tx.stored_keys().await?.into_iter().map(|stored| stored.key).collect();
        let roots = read_fitting(&file, &known)?;
        let left_over = roots
            .fingerprints()
            .find(|(kid, _)| !roots.is_retired(*kid) && known.iter().all(|known| known.kid != *kid));
        let (roots, kid) = match left_over {
            Some((kid, _)) => (roots, kid),
            None => {
                let (roots, kid) = random::with_new_key(&roots, &known)?;
                keyring_file::replace(&file, &roots)?;
                (roots, kid)
            }
        };
        for (_, fingerprint) in roots.fingerprints().filter(|(new, _)| *new == kid) {
            // No other process can have inserted it: the keys are locked.
            let _: Insert = tx
                .insert_key(&KnownKey {
                    kid,
                    fingerprint,
                    state: KeyState::Verifies,
                })
                .await?;
        }
        Ok(Added {
            kid,
            was_in_file: left_over.is_some(),
        })
    };
    store.acting_as(Initiator::Operator).write_keys(add).await
}

/// Makes `kid` the key that signs, if it is at least [`LEARNING_TIME`] old or `force` is set. Does nothing if it is
/// active already. The key that was active goes on verifying.
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
        tx.activate_key(kid).await?;
        Ok(())
    };
    store.acting_as(Initiator::Operator).write_keys(activate).await
}

/// Retires `kid` for good: renews the MACs that use it, and checks that it minted nothing that works. If it did, the
/// key stays as it is. After an interruption this can be repeated.
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
            store.acting_as(Initiator::Operator).write_keys(retire).await?;
        }
    }
    let roots = keyring_file::read(file)?;
    if !roots.is_retired(kid) {
        keyring_file::replace(file, &roots.with_retired(kid))?;
    }
    Ok(done)
}

/// Returns every key that the database or the file has, in the order in which they were added.
///
/// # Errors
/// [`KeyLifeError`], one sentence for the operator.
pub async fn status(store: &Store, file: &Path) -> Result<Vec<KeyStatus>, KeyLifeError> {
    let roots = keyring_file::read(file)?;
    let mut keys = Vec::new();
    for stored in store.stored_keys().await? {
        let kid = stored.key.kid;
        let live = store.live_credentials(kid).await?;
        keys.push(KeyStatus {
            kid,
            file: in_file(&roots, &stored.key),
            stored: Some(stored),
            live,
        });
    }
    let unregistered: Vec<_> = roots
        .fingerprints()
        .filter(|(kid, _)| keys.iter().all(|key| key.kid != *kid))
        .collect();
    let live = LiveCredentials {
        tokens: 0,
        caller_keys: 0,
        until: None,
    };
    keys.extend(unregistered.into_iter().map(|(kid, _)| KeyStatus {
        kid,
        stored: None,
        file: InFile::Unregistered,
        live,
    }));
    Ok(keys)
}

/// Retires the key under the lock, when no write that could use it is under way.
async fn finish(tx: &WriteTx, kid: Kid, refused: Vec<(SealedTable, u64)>) -> Result<(), KeyLifeError> {
    still_needed(kid, tx.live_credentials(kid, tx.now().await?).await?)?;
    for (table, refused) in refused {
        if tx.rows_sealed_with(table, kid).await? != refused {
            return Err(KeyLifeError::SealedMeanwhile {
                kid,
                table: table.as_str(),
            });
        }
    }
    // Another command may have retired it in the meantime, which changes nothing.
    tx.retire_key(kid).await?;
    Ok(())
}

async fn renew(store: &Store, table: SealedTable, kid: Kid) -> Result<Retired, StoreError> {
    let (mut done, mut after) = (Retired::default(), None);
    loop {
        let renew = async move |tx: &WriteTx| tx.reseal(table, kid, after, RENEWED_AT_ONCE).await;
        let Resealed { renewed, refused, next } = store.write(renew).await?;
        done.renewed += renewed;
        done.refused += refused;
        match next {
            Some(next) => after = Some(next),
            None => return Ok(done),
        }
    }
}

fn still_needed(kid: Kid, live: LiveCredentials) -> Result<(), KeyLifeError> {
    if live.tokens + live.caller_keys > 0 {
        Err(KeyLifeError::StillNeeded { kid, live })
    } else {
        Ok(())
    }
}

/// Reads the file and checks that it has every key that is in use.
fn read_fitting(file: &Path, known: &[KnownKey]) -> Result<RootKeys, KeyLifeError> {
    let roots = keyring_file::read(file)?;
    let ring = roots.ring(known).map_err(KeyLifeError::WrongFile)?;
    match ring.missing_keys() {
        [] => Ok(roots),
        [kid, ..] => Err(KeyLifeError::WrongFile(WrongKeys::Missing(*kid))),
    }
}

fn find(keys: &[StoredKey], kid: Kid) -> Result<&StoredKey, KeyLifeError> {
    keys.iter()
        .find(|stored| stored.key.kid == kid)
        .ok_or(KeyLifeError::Unknown(kid))
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
