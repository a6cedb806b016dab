//! Re-applies revocations to a database that was restored from a backup, before a server uses it.
//!
//! ```text
//! new epoch, marked as unfinished -> the export's revocations, in batches -> its lines -> one event, mark removed
//! ```
//!
//! No server starts on a database with the mark. Revocations that are applied already are skipped, so that a restore
//! can be repeated, after a crash or by mistake. The database imports the lines of the export, so that its own later
//! ones continue the same chain.

mod again;
mod export;

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use rand::rngs::SysError;
use tokend_core::{
    change::{Initiator, RestoreSource, RestoreSummary},
    credential::CredentialId,
    name::{CallerId, MalformedChosenId, TokenName},
    policy::PolicyName,
    revocation::{NotContinued, RevocationChain, RevocationLineError, RevocationRecord},
    text::{Reason, TextError},
    token::Revocation,
};
use tokend_store::{Store, StoreError, StoredRevocation, WriteTx};

use self::again::end_again;
use crate::random;

/// The number of revocations that one transaction applies.
const BATCH_SIZE: usize = 100;
/// The number of lines that one transaction imports.
const IMPORT_BATCH_SIZE: usize = 500;
/// The revoker of tokens that an operator revokes here.
const OPERATOR: &str = "operator";

/// The database was not restored. Each is one sentence that says what to do. A restore can be repeated after any of
/// them.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The export can't be read.
    #[error("can't read the export {path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A line can't be trusted.
    #[error("line {number} of the export can't be trusted: {problem}; use an intact copy, or --revoke-all")]
    Line {
        /// The line's number, from 1.
        number: usize,
        /// What is wrong with the line.
        problem: RevocationLineError,
    },
    /// Lines are missing.
    #[error("lines are missing before line {number} of the export; use a complete copy, or --revoke-all")]
    Gap {
        /// The number of the line after the gap, from 1.
        number: usize,
    },
    /// The export does not continue the backup.
    #[error("the export does not continue this backup: {0}; use the newest copy, or --revoke-all")]
    NotContinued(#[from] NotContinued),
    /// There is no export, and the operator has not chosen what to do.
    #[error(
        "{live} tokens are alive in the backup, and without an export it is unknown which of them were revoked since: \
         pass --revocations FILE, or --revoke-all to revoke them all"
    )]
    NobodyKnows {
        /// The number of live tokens.
        live: u64,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system's random source failed.
    #[error("the system's random source failed: {0}")]
    Random(#[from] SysError),
    /// A constant of this module is not a valid name.
    #[error(transparent)]
    Name(#[from] MalformedChosenId),
    /// A constant of this module is not a valid reason.
    #[error(transparent)]
    Reason(#[from] TextError),
}

/// The source of the lines in the revocations file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    /// The export has them, and they are imported.
    Imported,
    /// They are written now, because there is no export.
    New,
}

/// The number of rows that a restore has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Workspaces that were suspended, resumed or deleted.
    pub workspaces: u64,
    /// Policies that were set.
    pub policies: u64,
    /// Tokens that were revoked or whose end was moved.
    pub tokens: u64,
    /// Callers that were deleted with their keys.
    pub callers: u64,
    /// Caller keys that were revoked.
    pub caller_keys: u64,
    /// Rows that failed verification. Servers refuse them in any case.
    pub refused: u64,
}

/// Re-applies the revocations in the export at `path` that the backup lacks.
///
/// # Errors
/// [`RestoreError`]. If the export can't be trusted or does not continue the backup, nothing was changed.
pub async fn from_export(store: &Store, path: &Path) -> Result<Restored, RestoreError> {
    let store = &store.acting_as(Initiator::Restore);
    let chain = export::read(&store.keys(), path)?;
    let lacking = lacking_lines(store, &chain).await?;
    begin(store).await?;
    let mut done = Restored::default();
    for batch in effective_records(&chain).chunks(BATCH_SIZE) {
        let mut batch = batch.to_vec();
        // The order in which transactions take locks: workspaces and their tokens, organizations, callers and their
        // keys.
        batch.sort_by_cached_key(|ending| match ending {
            RevocationRecord::Workspace { id, .. } => (0, id.name()),
            RevocationRecord::Token { name, .. } | RevocationRecord::TokenRotated { name, .. } => (0, name.to_string()),
            RevocationRecord::Policy {
                name: PolicyName::Workspace(id),
                ..
            } => (0, id.name()),
            RevocationRecord::Policy {
                name: PolicyName::Organization(id),
                ..
            } => (1, id.name()),
            RevocationRecord::Caller { id, .. } => (2, id.to_string()),
            RevocationRecord::CallerKey { name, .. } => (2, name.caller.to_string()),
        });
        done.add(apply(store, batch, Lines::Imported).await?);
    }
    // Only after everything was applied: a repetition after a crash starts behind the last line in the database.
    import(store, lacking).await?;
    finish(store, &done, RestoreSource::Export).await?;
    Ok(done)
}

/// Revokes every token that is alive in the backup.
///
/// # Errors
/// [`RestoreError`].
pub async fn revoking_all(store: &Store) -> Result<Restored, RestoreError> {
    let store = &store.acting_as(Initiator::Restore);
    begin(store).await?;
    let mut done = Restored::default();
    let mut after: Option<CredentialId> = None;
    let by: CallerId = OPERATOR.parse()?;
    let reason = Reason::new("restored from a backup without an export of revocations".to_owned())?;
    loop {
        let live = store.live_tokens(after, BATCH_SIZE as u64).await?;
        let Some(last) = live.last() else { break };
        after = Some(last.id);
        let at = store.now().await?;
        let ending = |name: TokenName| RevocationRecord::Token {
            name,
            revocation: Revocation {
                at,
                by: by.clone(),
                reason: reason.clone(),
            },
        };
        let mut batch: Vec<_> = live.into_iter().map(ending).collect();
        batch.sort_by_cached_key(|ending| {
            if let RevocationRecord::Token { name, .. } = ending {
                name.to_string()
            } else {
                String::new()
            }
        });
        done.add(apply(store, batch, Lines::New).await?);
    }
    finish(store, &done, RestoreSource::RevokeAll).await?;
    Ok(done)
}

/// Returns all revocations, but of each workspace's states and of each policy only the last: a workspace that was
/// resumed must not be suspended in between.
fn effective_records(chain: &RevocationChain) -> Vec<RevocationRecord> {
    let mut seen = HashSet::new();
    let mut effective: Vec<_> = chain.records().rev().cloned().collect();
    effective.retain(|ending| match ending {
        RevocationRecord::Workspace {
            id,
            create_time,
            state: _,
        } => seen.insert((id.name(), *create_time)),
        RevocationRecord::Policy {
            name,
            create_time,
            state: _,
        } => seen.insert((name.to_string(), *create_time)),
        RevocationRecord::Token { .. }
        | RevocationRecord::TokenRotated { .. }
        | RevocationRecord::Caller { .. }
        | RevocationRecord::CallerKey { .. } => true,
    });
    effective.reverse();
    effective
}

/// Returns the lines of the export that the database lacks.
async fn lacking_lines(store: &Store, chain: &RevocationChain) -> Result<Vec<StoredRevocation>, RestoreError> {
    let last = store.last_revocation().await?;
    let lacking = chain.lines_after(last.as_ref().map(|last| (last.place, last.line.as_str())))?;
    Ok(lacking
        .into_iter()
        .map(|entry| StoredRevocation {
            place: entry.place,
            line: entry.text.clone(),
        })
        .collect())
}

/// Begins a new epoch, and marks the database so that no server starts before [`finish`].
async fn begin(store: &Store) -> Result<(), RestoreError> {
    let epoch = random::epoch()?;
    let begin = async move |tx: &WriteTx| tx.begin_restore(epoch).await;
    store.write_advancing::<_, StoreError, _>(begin).await?;
    Ok(())
}

/// Stores the export's lines in the database in their order, so that servers continue the file, and the next restore
/// can compare both.
async fn import(store: &Store, lines: Vec<StoredRevocation>) -> Result<(), StoreError> {
    for batch in lines.chunks(IMPORT_BATCH_SIZE) {
        let batch = batch.to_vec();
        let import = async move |tx: &WriteTx| tx.import_revocations(batch).await;
        store.write_advancing::<_, StoreError, _>(import).await?;
    }
    Ok(())
}

async fn apply(store: &Store, batch: Vec<RevocationRecord>, lines: Lines) -> Result<Restored, StoreError> {
    let apply = async move |tx: &WriteTx| {
        let mut done = Restored::default();
        for ending in batch {
            match end_again(tx, ending, &mut done).await {
                Err(StoreError::Tampered { .. } | StoreError::Corrupt { .. }) => done.refused += 1,
                result => result?,
            }
        }
        if lines == Lines::Imported {
            tx.leave_lines_to_import();
        }
        Ok(done)
    };
    let (done, _) = store.write_advancing::<_, StoreError, _>(apply).await?;
    Ok(done)
}

/// Records what was restored, and lets servers start.
async fn finish(store: &Store, done: &Restored, source: RestoreSource) -> Result<(), StoreError> {
    let Restored {
        workspaces,
        policies,
        tokens,
        callers,
        caller_keys,
        refused: _,
    } = *done;
    let summary = RestoreSummary {
        source,
        policies,
        workspaces,
        tokens,
        callers,
        caller_keys,
    };
    let finish = async move |tx: &WriteTx| {
        tx.finish_restore(summary);
        Ok::<_, StoreError>(())
    };
    store.write_advancing(finish).await?;
    Ok(())
}

impl Restored {
    fn add(&mut self, other: Self) {
        let Self {
            workspaces,
            policies,
            tokens,
            callers,
            caller_keys,
            refused,
        } = other;
        self.workspaces += workspaces;
        self.policies += policies;
        self.tokens += tokens;
        self.callers += callers;
        self.caller_keys += caller_keys;
        self.refused += refused;
    }
}
