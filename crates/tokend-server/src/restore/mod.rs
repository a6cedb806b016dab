//! A database that was restored from a backup: what ended since is ended again, before a server runs on it.
//!
//! ```text
//! new epoch, marked as unfinished -> what the export says, in batches -> its lines -> one event, and the mark is taken away
//! ```
//!
//! No server starts on a database with the mark. Each ending is applied where it still has to be, so that all of it can be done again:
//! after a crash, or by mistake. The lines of the export become the database's own, so that both are one chain and go on as one.

mod again;
mod export;

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use rand::rngs::SysError;
use tokend_core::{
    audit::{Chain, Event, EventType, RowAfter},
    credential::CredentialId,
    ending::{Ending, NotAnEnding},
    ending_chain::{EndingChain, NotContinued},
    name::{CallerId, MalformedChosenId, TokenName},
    policy::PolicyName,
    text::{Reason, TextError},
    token::Revocation,
};
use tokend_store::{Store, StoreError, StoredEnding, WriteTx};

use self::again::{end_again, event};
use crate::random;

/// Endings that one transaction applies.
const AT_ONCE: usize = 100;
/// Lines that one transaction imports.
const IMPORTED_AT_ONCE: usize = 500;
/// As whom the operator at the machine revokes.
const OPERATOR: &str = "operator";

/// Why a database was not restored. Each is one sentence that says what to do; what was done by then is harmless, and done again.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The export can't be read.
    #[error("can't read the export {path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of it is not to be relied on.
    #[error("line {number} of the export can't be relied on: {problem}; use an intact copy, or --revoke-all")]
    Line {
        /// Its number, from 1.
        number: usize,
        /// What is wrong with it.
        problem: NotAnEnding,
    },
    /// Lines are missing.
    #[error("lines are missing before line {number} of the export; use a whole copy, or --revoke-all")]
    Gap {
        /// The number of the line behind the gap, from 1.
        number: usize,
    },
    /// It is not what came after the backup.
    #[error("the export does not continue this backup: {0}; use the newest copy, or --revoke-all")]
    NotContinued(#[from] NotContinued),
    /// There is no export, and nobody has said what to do.
    #[error(
        "{live} tokens are alive in the backup, and without an export nobody knows which of them were revoked since: pass --revocations FILE, or --revoke-all to end them all"
    )]
    NobodyKnows {
        /// How many.
        live: u64,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system's random source failed.
    #[error("the system's random source failed: {0}")]
    Random(#[from] SysError),
    /// A constant of this module is no name.
    #[error(transparent)]
    Name(#[from] MalformedChosenId),
    /// A constant of this module is no reason.
    #[error(transparent)]
    Reason(#[from] TextError),
}

/// What becomes of the lines of what is ended again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    /// They are in the export, and are imported.
    Imported,
    /// Nobody has any.
    New,
}

/// What was ended again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Workspaces that were suspended, resumed or deleted.
    pub workspaces: u64,
    /// Policies that were set.
    pub policies: u64,
    /// Tokens.
    pub tokens: u64,
    /// Callers, with their keys.
    pub callers: u64,
    /// Callers' keys.
    pub caller_keys: u64,
    /// Rows that are not what tokend wrote. They are refused in any case.
    pub refused: u64,
}

/// Ends again what the export at `path` says and the backup does not know.
///
/// # Errors
/// [`RestoreError`]; before anything is changed, if the export can't be relied on or does not continue the backup.
pub async fn from_export(store: &Store, path: &Path) -> Result<Restored, RestoreError> {
    let chain = export::read(&store.keys(), path)?;
    let lacking = lacking_lines(store, &chain).await?;
    begin(store).await?;
    let mut done = Restored::default();
    for batch in what_counts(&chain).chunks(AT_ONCE) {
        let mut batch = batch.to_vec();
        // In the order of locks: what belongs to workspaces, then organizations, then what belongs to callers.
        batch.sort_by_cached_key(|ending| match ending {
            Ending::Workspace { id, .. } => (0, id.name()),
            Ending::Token { name, .. } | Ending::TokenRotated { name, .. } => (0, name.to_string()),
            Ending::Policy { name: PolicyName::Workspace(id), .. } => (0, id.name()),
            Ending::Policy { name: PolicyName::Organization(id), .. } => (1, id.name()),
            Ending::Caller { id, .. } => (2, id.to_string()),
            Ending::CallerKey { name, .. } => (2, name.caller.to_string()),
        });
        done.add(apply(store, batch, Lines::Imported).await?);
    }
    // Not before everything was applied: what is done again after a crash goes on behind the last line that the database has.
    import(store, lacking).await?;
    finish(store, &done, "by an export").await?;
    Ok(done)
}

/// Revokes every token that is alive in the backup.
///
/// # Errors
/// [`RestoreError`].
pub async fn revoking_all(store: &Store) -> Result<Restored, RestoreError> {
    begin(store).await?;
    let mut done = Restored::default();
    let mut after: Option<CredentialId> = None;
    let by: CallerId = OPERATOR.parse()?;
    let reason = Reason::new("restored from a backup without an export of revocations".to_owned())?;
    loop {
        let live = store.live_tokens(after, AT_ONCE as u64).await?;
        let Some(last) = live.last() else { break };
        after = Some(last.id);
        let at = store.now().await?;
        let ending =
            |name: TokenName| Ending::Token { name, revocation: Revocation { at, by: by.clone(), reason: reason.clone() } };
        let mut batch: Vec<_> = live.into_iter().map(ending).collect();
        batch.sort_by_cached_key(|ending| if let Ending::Token { name, .. } = ending { name.to_string() } else { String::new() });
        done.add(apply(store, batch, Lines::New).await?);
    }
    finish(store, &done, "by revoking every token").await?;
    Ok(done)
}

/// Everything but the changes of a workspace's state and of a policy that later ones replaced: what was resumed must not be suspended on
/// the way.
fn what_counts(chain: &EndingChain) -> Vec<Ending> {
    let mut seen = HashSet::new();
    let mut counts: Vec<_> = chain.endings().rev().cloned().collect();
    counts.retain(|ending| match ending {
        Ending::Workspace { id, create_time, state: _ } => seen.insert((id.name(), *create_time)),
        Ending::Policy { name, create_time, state: _ } => seen.insert((name.to_string(), *create_time)),
        Ending::Token { .. } | Ending::TokenRotated { .. } | Ending::Caller { .. } | Ending::CallerKey { .. } => true,
    });
    counts.reverse();
    counts
}

/// The lines of the export that the database lacks.
async fn lacking_lines(store: &Store, chain: &EndingChain) -> Result<Vec<StoredEnding>, RestoreError> {
    let last = store.last_ending().await?;
    let lacking = chain.behind(last.as_ref().map(|last| (last.place, last.line.as_str())))?;
    Ok(lacking.into_iter().map(|entry| StoredEnding { place: entry.place, line: entry.line.clone() }).collect())
}

/// Begins another epoch, and has no server start before [`finish`].
async fn begin(store: &Store) -> Result<(), RestoreError> {
    let epoch = random::epoch()?;
    let begin = async move |tx: &WriteTx| tx.begin_restore(epoch).await;
    store.write_advancing::<_, StoreError, _>(move |tx| Box::pin(async move { begin(tx).await })).await?;
    Ok(())
}

/// Stores the export's lines in the database, in order: its servers go on in the file, and the next restore finds where.
async fn import(store: &Store, lines: Vec<StoredEnding>) -> Result<(), StoreError> {
    for some in lines.chunks(IMPORTED_AT_ONCE) {
        let some = some.to_vec();
        let import = async move |tx: &WriteTx| tx.import_endings(some).await;
        store.write_advancing::<_, StoreError, _>(move |tx| Box::pin(async move { import(tx).await })).await?;
    }
    Ok(())
}

async fn apply(store: &Store, batch: Vec<Ending>, lines: Lines) -> Result<Restored, StoreError> {
    let apply = async move |tx: &WriteTx| {
        let mut done = Restored::default();
        for ending in batch {
            match end_again(tx, ending, &mut done).await {
                Err(StoreError::Tampered { .. } | StoreError::Corrupt { .. }) => done.refused += 1,
                result => result?,
            }
        }
        if lines == Lines::Imported {
            tx.leave_endings_to_import();
        }
        Ok(done)
    };
    let (done, _) = store.write_advancing::<_, StoreError, _>(move |tx| Box::pin(async move { apply(tx).await })).await?;
    Ok(done)
}

/// Records in the installation's chain what was done, and lets servers start.
async fn finish(store: &Store, done: &Restored, how: &str) -> Result<(), StoreError> {
    let Restored { workspaces, policies, tokens, callers, caller_keys, refused: _ } = done;
    let event = event(Chain::Installation, EventType::InstallationRestored, String::new(), RowAfter::None);
    let event = Event {
        detail: format!(
            "{how}: {policies} policies set, and {workspaces} workspaces, {tokens} tokens, {callers} callers, {caller_keys} caller keys ended again"
        ),
        ..event
    };
    let finish = async move |tx: &WriteTx| {
        tx.audit(event).await?;
        tx.finish_restore().await
    };
    store.write_advancing::<_, StoreError, _>(move |tx| Box::pin(async move { finish(tx).await })).await?;
    Ok(())
}

impl Restored {
    fn add(&mut self, other: Self) {
        let Self { workspaces, policies, tokens, callers, caller_keys, refused } = other;
        self.workspaces += workspaces;
        self.policies += policies;
        self.tokens += tokens;
        self.callers += callers;
        self.caller_keys += caller_keys;
        self.refused += refused;
    }
}
