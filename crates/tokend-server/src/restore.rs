//! A database that was restored from a backup: what ended since is ended again, before a server runs on it.
//!
//! ```text
//! new epoch -> what the export knows and the backup does not, in batches -> one event that tells of it
//! ```
//!
//! Each ending is applied where it still has to be, so that all of it can be done again: after a crash, or by mistake.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use rand::rngs::SysError;
use tokend_core::{
    audit::{Chain, Event, EventType, Origin, Outcome, RowAfter},
    credential::CredentialId,
    ending::{Ending, NotAnEnding, Place},
    keyring::KeyRing,
    name::{CallerId, MalformedChosenId, TokenName},
    organization::Organization,
    policy::PolicyName,
    text::{Reason, TextError},
    token::{Expiry, Revocation, Token},
    workspace::{Workspace, WorkspaceState},
};
use tokend_store::{Governed, Locked, Store, StoreError, WriteTx};

use crate::random;

/// Endings that one transaction applies.
const AT_ONCE: usize = 100;
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

/// Ends again what the export at `path` tells and the backup does not know.
///
/// # Errors
/// [`RestoreError`]; before anything is changed, if the export can't be relied on.
pub async fn from_export(store: &Store, path: &Path) -> Result<Restored, RestoreError> {
    let keys = store.keys();
    let endings = read_export(&keys, path)?;
    check_beginning(store, &endings).await?;
    begin_epoch(store).await?;
    let mut done = Restored::default();
    for batch in what_counts(endings).chunks(AT_ONCE) {
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
        done.add(apply(store, batch).await?);
    }
    tell(store, &done, "by an export").await?;
    Ok(done)
}

/// Revokes every token that is alive in the backup.
///
/// # Errors
/// [`RestoreError`].
pub async fn revoking_all(store: &Store) -> Result<Restored, RestoreError> {
    begin_epoch(store).await?;
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
        done.add(apply(store, batch).await?);
    }
    tell(store, &done, "by revoking every token").await?;
    Ok(done)
}

/// Every line of the export, with its number; all of them are ours, and none is missing between the first and the last of an epoch.
fn read_export(keys: &KeyRing, path: &Path) -> Result<Vec<(usize, Place, Ending)>, RestoreError> {
    let io = |source| RestoreError::Io { path: path.to_owned(), source };
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let mut endings: Vec<(usize, Place, Ending)> = Vec::new();
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        file.read_line(&mut line).map_err(io)?;
        // A last line without its end was cut short by a crash, and is whole in the database that wrote it.
        let Some(whole) = line.strip_suffix('\n') else { break };
        let (place, ending) = keys.read_ending(whole).map_err(|problem| RestoreError::Line { number, problem })?;
        if endings.last().is_some_and(|(_, before, _)| before.epoch == place.epoch && before.position + 1 != place.position) {
            return Err(RestoreError::Gap { number });
        }
        endings.push((number, place, ending));
    }
    Ok(endings)
}

/// Everything but the changes of a workspace's state and of a policy that later ones replaced: what was resumed must not be suspended on
/// the way.
fn what_counts(endings: Vec<(usize, Place, Ending)>) -> Vec<Ending> {
    let mut seen = HashSet::new();
    let mut counts: Vec<_> = endings.into_iter().rev().map(|(_, _, ending)| ending).collect();
    counts.retain(|ending| match ending {
        Ending::Workspace { id, create_time, state: _ } => seen.insert((id.name(), *create_time)),
        Ending::Policy { name, create_time, state: _ } => seen.insert((name.to_string(), *create_time)),
        Ending::Token { .. } | Ending::TokenRotated { .. } | Ending::Caller { .. } | Ending::CallerKey { .. } => true,
    });
    counts.reverse();
    counts
}

/// The export must begin where the backup ends, or before.
async fn check_beginning(store: &Store, endings: &[(usize, Place, Ending)]) -> Result<(), RestoreError> {
    let (epoch, known) = (store.epoch().await?, store.last_ending().await?);
    match endings.iter().find(|(_, place, _)| place.epoch == epoch && place.position > known) {
        Some((number, place, _)) if place.position > known + 1 => Err(RestoreError::Gap { number: *number }),
        _ => Ok(()),
    }
}

async fn begin_epoch(store: &Store) -> Result<(), RestoreError> {
    let epoch = random::epoch()?;
    let begin = async move |tx: &WriteTx| tx.begin_epoch(epoch).await;
    store.write_advancing::<_, StoreError, _>(move |tx| Box::pin(async move { begin(tx).await })).await?;
    Ok(())
}

async fn apply(store: &Store, batch: Vec<Ending>) -> Result<Restored, StoreError> {
    let apply = async move |tx: &WriteTx| {
        let mut done = Restored::default();
        for ending in batch {
            match end_again(tx, ending, &mut done).await {
                Err(StoreError::Tampered { .. } | StoreError::Corrupt { .. }) => done.refused += 1,
                result => result?,
            }
        }
        Ok(done)
    };
    let (done, _) = store.write_advancing::<_, StoreError, _>(move |tx| Box::pin(async move { apply(tx).await })).await?;
    Ok(done)
}

/// Ends what is there and has not ended.
async fn end_again(tx: &WriteTx, ending: Ending, done: &mut Restored) -> Result<(), StoreError> {
    match ending {
        Ending::Token { name, revocation } => {
            let Some(_) = tx.lock_workspace(&name.workspace).await? else { return Ok(()) };
            let Some(read) = tx.token(&name).await?.filter(|token| token.revocation.is_none()) else { return Ok(()) };
            let reason = revocation.reason.as_str().to_owned();
            let Some(token) = tx.revoke_token(&read, revocation).await? else { return Ok(()) };
            let chain = Chain::Workspace(name.workspace.clone());
            let event = event(chain, EventType::TokenRevoked, name.to_string(), tx.row_is(&*token).await?);
            tx.audit(Event { reason, ..event }).await?;
            done.tokens += 1;
        }
        Ending::Workspace { id, create_time, state } => {
            // One of that id that was made later is another.
            let read = tx.lock_workspace(&id).await?.filter(|read| read.create_time == create_time && read.state != state);
            let Some(read) = read.filter(|read| !matches!(read.state, WorkspaceState::Deleted { .. })) else { return Ok(()) };
            let changed = Workspace { state, ..(**read).clone() };
            let Some(workspace) = tx.update_workspace(&read, changed).await? else { return Ok(()) };
            let kind = match state {
                WorkspaceState::Active => EventType::WorkspaceResumed,
                WorkspaceState::Suspended { .. } => EventType::WorkspaceSuspended,
                WorkspaceState::Deleted { .. } => EventType::WorkspaceDeleted,
            };
            let row = tx.row_is(&*workspace).await?;
            tx.audit(event(Chain::Workspace(id.clone()), kind, id.name(), row)).await?;
            done.workspaces += 1;
        }
        Ending::Policy { name: PolicyName::Workspace(id), create_time, state } => {
            let is_older = |read: &Governed| read.create_time == create_time && read.policy.update_time < state.update_time;
            let Some(read) = tx.lock_workspace(&id).await?.filter(is_older) else { return Ok(()) };
            let changed = Workspace { policy: state, ..(**read).clone() };
            let Some(workspace) = tx.update_workspace(&read, changed).await? else { return Ok(()) };
            let row = tx.row_is(&*workspace).await?;
            tx.audit(event(Chain::Workspace(id.clone()), EventType::PolicyUpdated, id.name(), row)).await?;
            done.policies += 1;
        }
        Ending::Policy { name: PolicyName::Organization(id), create_time, state } => {
            let is_older =
                |read: &Locked<Organization>| read.create_time == create_time && read.policy.update_time < state.update_time;
            let Some(read) = tx.lock_organization(&id).await?.filter(is_older) else { return Ok(()) };
            let changed = Organization { policy: state, ..(*read).clone() };
            let Some(organization) = tx.update_organization(&read, changed).await? else { return Ok(()) };
            let row = tx.row_is(&*organization).await?;
            tx.audit(event(Chain::Installation, EventType::PolicyUpdated, id.name(), row)).await?;
            done.policies += 1;
        }
        Ending::TokenRotated { name, end } => {
            let Some(_) = tx.lock_workspace(&name.workspace).await? else { return Ok(()) };
            let Some(read) = tx.token(&name).await?.filter(|token| token.revocation.is_none()) else { return Ok(()) };
            // Its successor was made after the backup and is lost: it may be rotated again.
            let cut = Token { own_expiry: read.own_expiry.earlier(Expiry::At(end)), ..(*read).clone() };
            if cut.own_expiry == read.own_expiry {
                return Ok(());
            }
            let Some(token) = tx.rotate_token(&read, cut).await? else { return Ok(()) };
            let chain = Chain::Workspace(name.workspace.clone());
            tx.audit(event(chain, EventType::TokenRotated, name.to_string(), tx.row_is(&*token).await?)).await?;
            done.tokens += 1;
        }
        Ending::Caller { id, create_time, at: _ } => {
            // One of that id that was made later is another.
            let Some(_) = tx.caller(&id).await?.filter(|caller| caller.create_time == create_time) else { return Ok(()) };
            tx.delete_caller(&id).await?;
            tx.audit(event(Chain::Installation, EventType::CallerDeleted, id.name(), RowAfter::Gone)).await?;
            done.callers += 1;
        }
        Ending::CallerKey { name, at } => {
            let Some(read) = tx.caller_key(&name).await?.filter(|key| key.revoke_time.is_none()) else { return Ok(()) };
            let Some(key) = tx.revoke_caller_key(&read, at).await? else { return Ok(()) };
            let row = tx.row_is(&*key).await?;
            tx.audit(event(Chain::Installation, EventType::CallerKeyRevoked, name.to_string(), row)).await?;
            done.caller_keys += 1;
        }
    }
    Ok(())
}

/// Says in the installation's chain what was done.
async fn tell(store: &Store, done: &Restored, how: &str) -> Result<(), StoreError> {
    let Restored { workspaces, policies, tokens, callers, caller_keys, refused: _ } = done;
    let event = event(Chain::Installation, EventType::InstallationRestored, String::new(), RowAfter::None);
    let event = Event {
        detail: format!(
            "{how}: {policies} policies set, and {workspaces} workspaces, {tokens} tokens, {callers} callers, {caller_keys} caller keys ended again"
        ),
        ..event
    };
    store.write(move |tx: &WriteTx| Box::pin(async move { tx.audit(event).await })).await
}

/// What an operator did at the machine.
fn event(chain: Chain, kind: EventType, resource: String, row: RowAfter) -> Event {
    Event {
        chain,
        kind,
        origin: Origin::default(),
        resource,
        outcome: Outcome::Done,
        reason: String::new(),
        detail: "restored from a backup".to_owned(),
        row,
    }
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
