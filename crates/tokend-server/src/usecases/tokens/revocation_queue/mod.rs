//! The revocations that wait in this process share transactions (W3).
//!
//! Every change locks the feed's row until its COMMIT is on disk, so that revisions have the order of commits. The
//! revocations of an installation are therefore committed one after the other, and each commit costs an fsync. When many
//! tokens are revoked at once, a commit for each would take too long. So while one transaction of revocations runs, the
//! calls that arrive wait here, and the next transaction takes them all, up to a bound:
//!
//! ```text
//! RevokeToken --> waiting, by caller --one of each caller in turn--> transaction --> answers --> each call waits (C1)
//!                                                                     |  it is busy, or it failed
//!                                          set aside, by workspace <--'
//!                                                   '--one workspace after the other--> transaction --> answers
//! ```
//!
//! - **Nobody waits for company.** The first call runs at once, alone. Calls wait only while a transaction runs.
//! - **Each call keeps its own outcome.** Its caller is checked in the transaction; what is refused, absent or unreadable
//!   fails its own call; its change is recorded with its own caller. All share a revision and one entry of the feed, and
//!   wait from the same acknowledgement of COMMIT.
//! - **Nobody waits for somebody else's lock.** The shared transaction skips callers and workspaces that another
//!   transaction has locked. Their revocations are set aside, and wait for the lock in transactions of one workspace. If
//!   a shared transaction fails before its COMMIT, its revocations are set aside, too. A workspace whose transaction
//!   fails there stays aside until one succeeds, so that it does not disturb the others again.
//! - **Nothing is lost or cut short.** The transactions run in tasks of their own, whoever waits for them. If the outcome
//!   of COMMIT is not known, all its calls fail with UNAVAILABLE; a repeat finds what was done. What was done twice is
//!   harmless, because a revocation never replaces another one.
//! - **Waiting takes nothing from others** but the room of the call and a bounded place here: a group takes a connection
//!   and the permit to write when it begins (C3). A call whose deadline has passed by then is not executed.

mod transaction;
mod waiting;

use std::{
    panic::resume_unwind,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use metrics::Gauge;
use tokend_core::{caller::Role, name::TokenName, text::Reason};
use tokend_store::{Committed, Store, StoreError, StoredToken};
use tokio::sync::oneshot;
use tracing::Span;

use self::{
    transaction::{Broken, Failure, Revocation, Settled},
    waiting::{Obstacle, Queued, Waiting},
};
use crate::{
    auth::{CallContext, Locking},
    error::ServiceError,
    limits::room::{Holder, Place, Room, Sizes},
    observability::metrics::Telemetry,
};

const CALLS: &str = "tokend_revocations";

/// How many revocations may wait. One caller may have half of them, and a quarter is reserved for ADMINs.
const SIZES: Sizes = Sizes {
    all: 4_096,
    each: 2_048,
    reserve: 1_024,
};

/// The bytes of text in an audit event besides those that a client chooses.
const EVENT_BYTES: usize = 256;

/// The revocations that wait, and the tasks that do them. Cheap to clone: all clones are the same queue.
#[derive(Clone)]
pub(crate) struct RevocationQueue {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    room: Arc<Room>,
    /// How many calls wait for a transaction to take them.
    waiting: Gauge,
    /// How many calls are in transactions.
    running: Gauge,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Waiting<Member>,
    /// Whether a task takes what waits, for each [`Lane`].
    is_running: [bool; 2],
    /// The number of calls that are in the transaction of each [`Lane`].
    running: [usize; 2],
}

/// One of the two tasks. Each has one transaction at a time, so that they leave connections of the reserved pool to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    /// Takes what waits, of all workspaces.
    Groups,
    /// Takes what was set aside, one workspace after the other.
    Aside,
}

/// A call that waits.
struct Member {
    revocation: Arc<Revocation>,
    answer: oneshot::Sender<Answer>,
    _place: Place,
}

type Answer = Result<(StoredToken, Committed), Failure>;

/// The task of a lane. If it ends early, nobody takes what waits: it is dropped, and its calls fail.
struct Runner {
    queue: RevocationQueue,
    lane: Lane,
    has_ended: bool,
}

/// The task that was to revoke a token has ended early.
#[derive(Debug, thiserror::Error)]
#[error("the outcome of a revocation is not known, because its task has ended")]
struct Unanswered;

impl RevocationQueue {
    /// Creates the queue. Its transactions run in the pool of `store`.
    pub(crate) fn new(store: Store, telemetry: &Telemetry) -> Self {
        let calls = |state| {
            let help = "Calls of RevokeToken that wait for a transaction to take them, and those in transactions.";
            telemetry.labelled_gauge(CALLS, help, ("state", state))
        };
        Self {
            shared: Arc::new(Shared {
                store,
                room: Room::new(SIZES),
                waiting: calls("waiting"),
                running: calls("running"),
                state: Mutex::default(),
            }),
        }
    }

    /// Revokes a token with those of the other calls that wait. If the call is dropped, its token is revoked all the same.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub(crate) async fn revoke(
        &self,
        call: CallContext,
        name: TokenName,
        reason: Reason,
    ) -> Result<(StoredToken, Committed), ServiceError> {
        let place = self
            .shared
            .room
            .take(Holder::caller(&call.caller), 1, call.caller.role == Role::Admin)
            .ok_or(ServiceError::Overloaded)?;
        let (answer, answered) = oneshot::channel();
        let actor = call.actor.as_ref().map_or(0, |actor| actor.as_str().len());
        let queued = Queued {
            caller: call.caller.id.clone(),
            workspace: name.workspace.clone(),
            bytes: EVENT_BYTES + actor + reason.as_str().len(),
            item: Member {
                revocation: Arc::new(Revocation {
                    call,
                    name,
                    reason,
                    span: Span::current(),
                }),
                answer,
                _place: place,
            },
        };
        self.push(queued);
        match answered.await {
            Ok(Ok(revoked)) => Ok(revoked),
            // This may write to the database, so it comes after the transaction.
            Ok(Err(Failure::Invalidated(why))) => Err(why.into_error(&self.shared.store).await),
            Ok(Err(Failure::Error(error))) => Err(error),
            Ok(Err(Failure::Panic(panic))) => resume_unwind(panic),
            Err(_) => Err(ServiceError::Storage(StoreError::Unavailable {
                source: Box::new(Unanswered),
            })),
        }
    }

    fn push(&self, queued: Queued<Member>) {
        let mut state = self.lock();
        state.waiting.push(queued);
        self.start(state);
    }

    /// Starts the tasks that have something to do and do not run.
    fn start(&self, mut state: MutexGuard<'_, State>) {
        let mut starting = Vec::new();
        for lane in [Lane::Groups, Lane::Aside] {
            let has_work = match lane {
                Lane::Groups => state.waiting.has_group(),
                Lane::Aside => state.waiting.has_aside(),
            };
            if has_work && !state.is_running[lane as usize] {
                state.is_running[lane as usize] = true;
                starting.push(lane);
            }
        }
        self.measure(&state);
        drop(state);
        for lane in starting {
            let mut runner = Runner {
                queue: self.clone(),
                lane,
                has_ended: false,
            };
            self.shared.store.spawn(async move { runner.run().await });
        }
    }

    /// Takes what shares the next transaction, and what keeps it apart from others, if anything does. If there is none,
    /// the task of the lane ends.
    fn next(&self, lane: Lane) -> Option<(Vec<Queued<Member>>, Option<Obstacle>)> {
        let mut state = self.lock();
        let next = match lane {
            Lane::Groups => Some((state.waiting.next_group(), None)).filter(|(group, _)| !group.is_empty()),
            Lane::Aside => state
                .waiting
                .next_aside()
                .map(|(batch, obstacle)| (batch, Some(obstacle))),
        };
        state.is_running[lane as usize] = next.is_some();
        state.running[lane as usize] = next.as_ref().map_or(0, |(group, _)| group.len());
        self.measure(&state);
        next
    }

    /// Runs one transaction, and answers its calls or sets them aside.
    async fn serve(&self, group: Vec<Queued<Member>>, obstacle: Option<Obstacle>) {
        let group = in_time(group);
        let Some(first) = group.first() else { return };
        let (workspace, is_alone) = (first.workspace.clone(), group.len() == 1);
        let revocations = group.iter().map(|member| Arc::clone(&member.item.revocation)).collect();
        let locking = match obstacle {
            None => Locking::Skip,
            Some(_) => Locking::Wait,
        };
        let outcome = transaction::revoke(&self.shared.store, revocations, locking).await;
        let has_failed = matches!(outcome, Err(Broken::RolledBack(_) | Broken::Panicked(_)));
        match obstacle {
            None if is_alone && has_failed => self.lock().waiting.set_disturbed(&workspace, true),
            Some(Obstacle::Workspace | Obstacle::Company) => {
                self.lock().waiting.set_disturbed(&workspace, has_failed);
            }
            None | Some(Obstacle::Caller) => {}
        }
        match (obstacle, outcome) {
            (_, Ok(settled)) => self.settle(group, settled),
            (_, Err(Broken::NotBegun(error))) => {
                fail_each(group, &error);
                // The others would wait as long for the same database, and get the same error later.
                if matches!(error, StoreError::Unavailable { .. }) {
                    let others = self.lock().waiting.drain();
                    fail_each(others, &error);
                }
            }
            (_, Err(Broken::OutcomeUnknown(error))) => fail_each(group, &error),
            (None, Err(Broken::RolledBack(_) | Broken::Panicked(_))) if !is_alone => {
                self.set_aside(group, Obstacle::Workspace);
            }
            // What went wrong concerns one row, and passes quickly: the others are done one by one.
            (
                Some(_),
                Err(
                    Broken::RolledBack(
                        StoreError::Corrupt { .. } | StoreError::Tampered { .. } | StoreError::Refused { .. },
                    )
                    | Broken::Panicked(_),
                ),
            ) if !is_alone => self.set_aside(group, Obstacle::Company),
            // A lock of the workspace was not released in time, or the connection was lost.
            (_, Err(Broken::RolledBack(error))) => fail_each(group, &error),
            (_, Err(Broken::Panicked(panic))) => {
                if let Some(member) = group.into_iter().next() {
                    member.item.answer(Err(Failure::Panic(panic)));
                }
            }
        }
    }

    fn settle(&self, group: Vec<Queued<Member>>, settled: Vec<Settled>) {
        for (queued, settled) in group.into_iter().zip(settled) {
            match settled {
                Settled::Revoked(token, committed) => queued.item.answer(Ok((*token, committed))),
                Settled::Failed(failure) => queued.item.answer(Err(failure)),
                Settled::Busy { is_caller: true } => self.set_aside(vec![queued], Obstacle::Caller),
                Settled::Busy { is_caller: false } => self.set_aside(vec![queued], Obstacle::Workspace),
            }
        }
    }

    fn set_aside(&self, members: Vec<Queued<Member>>, obstacle: Obstacle) {
        let mut state = self.lock();
        for member in members {
            state.waiting.set_aside(member, obstacle);
        }
        self.start(state);
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
    fn measure(&self, state: &State) {
        self.shared.waiting.set(state.waiting.len() as f64);
        self.shared.running.set(state.running.iter().sum::<usize>() as f64);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    fn answer(self, answer: Answer) {
        // The client may be gone.
        let _ = self.answer.send(answer);
    }
}

/// Returns the calls whose deadlines have not passed, and answers the others.
fn in_time(group: Vec<Queued<Member>>) -> Vec<Queued<Member>> {
    let mut in_time = Vec::with_capacity(group.len());
    for queued in group {
        match queued.item.revocation.call.check_deadline() {
            Ok(()) => in_time.push(queued),
            Err(error) => queued.item.answer(Err(Failure::Error(error))),
        }
    }
    in_time
}

fn fail_each(group: Vec<Queued<Member>>, error: &StoreError) {
    for queued in group {
        queued.item.answer(Err(Failure::Error(error.again().into())));
    }
}

impl Runner {
    async fn run(&mut self) {
        while let Some((group, obstacle)) = self.queue.next(self.lane) {
            self.queue.serve(group, obstacle).await;
        }
        self.has_ended = true;
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let mut state = self.queue.lock();
        state.is_running[self.lane as usize] = false;
        state.running[self.lane as usize] = 0;
        let unanswered = state.waiting.drain();
        self.queue.measure(&state);
        drop(state);
        drop(unanswered);
    }
}

impl std::fmt::Debug for RevocationQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RevocationQueue")
    }
}
