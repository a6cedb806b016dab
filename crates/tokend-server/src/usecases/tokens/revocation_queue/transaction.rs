//! The transaction that several revocations share.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::FutureExt;
use tokend_core::{
    name::{TokenName, WorkspaceId},
    text::Reason,
    time::Timestamp,
    token::TokenState,
};
use tokend_store::{Committed, LockAttempt, Store, StoreError, StoredToken, WorkspaceWithPolicy, WriteTx};
use tracing::{Instrument, Span};

use crate::{
    auth::{Acting, CallContext, Invalidated, Locking, NotServed, SharedTx},
    error::ServiceError,
    usecases::tokens::revoke::revoke_locked,
};

/// One call of RevokeToken.
#[derive(Debug)]
pub(super) struct Revocation {
    pub(super) call: CallContext,
    pub(super) name: TokenName,
    pub(super) reason: Reason,
    /// The span of its request.
    pub(super) span: Span,
}

/// What a transaction did for one call.
pub(super) enum Settled {
    /// The token is revoked.
    Revoked(Box<StoredToken>, Committed),
    /// Nothing was changed.
    Failed(Failure),
    /// Nothing was changed, because another transaction has a lock that the call needs: that of its caller, or that of
    /// its workspace.
    Busy { is_caller: bool },
}

/// Why a call failed.
pub(super) enum Failure {
    /// Its caller is no longer served.
    Invalidated(Invalidated),
    /// For this reason.
    Error(ServiceError),
    /// Its transaction panicked.
    Panic(Box<dyn Any + Send>),
}

/// Why a transaction did nothing for any call.
pub(super) enum Broken {
    /// It did not begin: the database gives no connection, or lets nobody write.
    NotBegun(StoreError),
    /// It was rolled back.
    RolledBack(StoreError),
    /// It may have been committed.
    OutcomeUnknown(StoreError),
    /// The code panicked, and it was rolled back.
    Panicked(Box<dyn Any + Send>),
}

/// What was done for one call in a transaction that is not committed yet.
type Done = Result<StoredToken, NotDone>;

enum NotDone {
    Failed(Failure),
    Busy { is_caller: bool },
}

enum Aborted {
    /// No call needs the transaction to be committed.
    NothingDone(Vec<NotDone>),
    Failed(StoreError),
}

/// Revokes the tokens of all calls in one transaction. Returns what it did for each, in their order.
pub(super) async fn revoke(
    store: &Store,
    revocations: Vec<Arc<Revocation>>,
    locking: Locking,
) -> Result<Vec<Settled>, Broken> {
    let has_begun = Arc::new(AtomicBool::new(false));
    let begun = Arc::clone(&has_begun);
    let work = async move |tx: &WriteTx| {
        begun.store(true, Ordering::Relaxed);
        let done = revoke_each(tx, &revocations, locking).await?;
        if done.iter().any(Result::is_ok) {
            Ok(done)
        } else {
            Err(Aborted::NothingDone(done.into_iter().filter_map(Result::err).collect()))
        }
    };
    match AssertUnwindSafe(store.write_advancing(work)).catch_unwind().await {
        Ok(Ok((done, committed))) => {
            let settle =
                |done: Done| done.map_or_else(Settled::from, |token| Settled::Revoked(Box::new(token), committed));
            Ok(done.into_iter().map(settle).collect())
        }
        Ok(Err(Aborted::NothingDone(not_done))) => Ok(not_done.into_iter().map(Settled::from).collect()),
        Ok(Err(Aborted::Failed(error))) => Err(if !has_begun.load(Ordering::Relaxed) {
            Broken::NotBegun(error)
        } else if error.is_outcome_unknown() {
            Broken::OutcomeUnknown(error)
        } else {
            Broken::RolledBack(error)
        }),
        Err(panic) => Err(Broken::Panicked(panic)),
    }
}

/// Takes the locks in their order, and revokes each token. An error is one of the transaction as a whole: what is wrong
/// with one call, or with a row that only one call needs, is its own outcome.
async fn revoke_each(tx: &WriteTx, revocations: &[Arc<Revocation>], locking: Locking) -> Result<Vec<Done>, StoreError> {
    let callers: BTreeSet<_> = revocations
        .iter()
        .map(|revocation| revocation.call.authenticated().reference())
        .collect();
    let shared = SharedTx::hold(tx, callers, locking).await?;
    let mut wanted = BTreeSet::new();
    for revocation in revocations {
        if shared.check(&revocation.call).is_ok() {
            wanted.insert(revocation.name.workspace.clone());
        }
    }
    let mut workspaces = BTreeMap::new();
    for id in wanted {
        let locked = lock(tx, &id, locking).await;
        match locked {
            Err(error) if tx.has_failed() => return Err(error),
            locked => workspaces.insert(id, locked),
        };
    }
    // The workspaces' locks are held, which keep their tokens from changing.
    let now = tx.now().await?;
    // In the order in which tokens are locked; of several calls about one token the first one revokes it.
    let mut order: Vec<_> = (0..).zip(revocations).collect();
    let by_name = |revocation: &Revocation| (revocation.name.workspace.clone(), revocation.name.id);
    order.sort_by_cached_key(|(_, revocation)| by_name(revocation));
    let mut done = Vec::with_capacity(order.len());
    for (place, revocation) in order {
        let outcome = match shared.act_for(&revocation.call) {
            Ok(acting) => {
                let workspace = workspaces.get(&revocation.name.workspace);
                let one = revoke_one(&acting, revocation, workspace, now);
                one.instrument(revocation.span.clone()).await
            }
            Err(not_served) => Err(not_served.into()),
        };
        match outcome {
            Err(NotDone::Failed(Failure::Error(ServiceError::Storage(error)))) if tx.has_failed() => return Err(error),
            outcome => done.push((place, outcome)),
        }
    }
    done.sort_by_key(|(place, _): &(usize, _)| *place);
    Ok(done.into_iter().map(|(_, outcome)| outcome).collect())
}

async fn lock(
    tx: &WriteTx,
    id: &WorkspaceId,
    locking: Locking,
) -> Result<LockAttempt<WorkspaceWithPolicy>, StoreError> {
    match locking {
        Locking::Skip => tx.try_lock_workspace(id).await,
        Locking::Wait => {
            let locked = tx.lock_workspace(id).await?;
            Ok(locked.map_or(LockAttempt::Absent, LockAttempt::Locked))
        }
    }
}

async fn revoke_one(
    tx: &Acting<'_>,
    revocation: &Revocation,
    workspace: Option<&Result<LockAttempt<WorkspaceWithPolicy>, StoreError>>,
    now: Timestamp,
) -> Done {
    let name = &revocation.name;
    let absent = || ServiceError::TokenNotFound(name.clone());
    let workspace = match workspace {
        Some(Ok(LockAttempt::Locked(workspace))) => workspace,
        Some(Ok(LockAttempt::Busy)) => return Err(NotDone::Busy { is_caller: false }),
        Some(Err(error)) => return Err(error.again().into()),
        Some(Ok(LockAttempt::Absent)) | None => return Err(absent().into()),
    };
    let read = tx.token(name).await?.ok_or_else(absent)?;
    // A token of a deleted workspace is revoked with it.
    let is_revoked = read.state(workspace.token_context(), now) == TokenState::Revoked;
    let token = if is_revoked {
        read
    } else {
        revoke_locked(tx, &read, now, revocation.reason.clone(), Vec::new()).await?
    };
    Ok(StoredToken {
        token: token.into_inner(),
        usage: None,
        token_context: workspace.token_context().clone(),
        now,
    })
}

impl From<NotDone> for Settled {
    fn from(not_done: NotDone) -> Self {
        match not_done {
            NotDone::Failed(failure) => Self::Failed(failure),
            NotDone::Busy { is_caller } => Self::Busy { is_caller },
        }
    }
}

impl From<NotServed> for NotDone {
    fn from(not_served: NotServed) -> Self {
        match not_served {
            NotServed::Busy => Self::Busy { is_caller: true },
            NotServed::Invalidated(why) => Self::Failed(Failure::Invalidated(why)),
            NotServed::Unreadable(error) => error.into(),
        }
    }
}

impl From<ServiceError> for NotDone {
    fn from(error: ServiceError) -> Self {
        Self::Failed(Failure::Error(error))
    }
}

impl From<StoreError> for NotDone {
    fn from(error: StoreError) -> Self {
        ServiceError::from(error).into()
    }
}

impl From<StoreError> for Aborted {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}
