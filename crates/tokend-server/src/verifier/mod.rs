//! The one path from a presented string to a verified token or caller key, from memory or from the database.
//!
//! ```text
//! string --check--> Presented --look up, recognize--> Outcome
//!        spelling,            finds the row, and compares the digest of the
//!        prefix, key,         secret in constant time
//!        tag: no query
//! ```
//!
//! A string that this installation did not issue costs a hash and no query. [`Presented`] is what is known before the
//! row is found: the credential may be revoked, expired or deleted. Only [`VerifiedToken`] and [`VerifiedCallerKey`]
//! hold rows, and nothing else creates them.
//!
//! # The promise
//!
//! A Verify that *starts* after the answer to a change said that something is dead never allows it, on any server and in
//! any SDK. The rules are numbered as in `docs/revocation-protocol.md`; `tests/model` checks them, and finds a
//! counter-example without each of them.
//!
//! **Servers with PostgreSQL.** Every change that can end a verdict takes the next revision and writes what it was about
//! into the feed, in its own transaction (W1, W2). Each server polls the feed ([`follower`], L1). A poll that was sent at
//! `t` reads every change that was committed before `t`. When the server has applied all of them to its [`memory`], it
//! may answer from memory until `t + grant` ([`Lease`](tokend_core::lease::Lease), L2). The answer to a change leaves
//! only `wait` and a margin after its COMMIT was acknowledged ([`commit_wait`], C1). `grant` is never more than `wait`
//! (L3), so at that time every lease has ended that was given for a poll before the COMMIT, and whoever has a lease has
//! applied the change.
//!
//! Applying a change raises [slots](tokend_core::lease::Slots) and removes nothing. An entry says at which revision it
//! was read, in the same snapshot (V3), and is compared with its slots at each use (V2): a fill that was delayed for
//! however long is outdated when it arrives. A reading takes the lease and the head before it looks anything up (V1,
//! V6), and the lease is looked at again before the answer leaves.
//!
//! What can't be answered from memory is read from the primary, caller and token in one statement (V4): a miss, a lease
//! that has ended, `fully_consistent`, and a `min_revision` that is not reached. If that fails, the answer is
//! UNAVAILABLE: never an old ALLOW, and never a DENY made of an outage.
//!
//! A promoted standby may lack what the old primary had reported. Its timeline is part of the epoch (L4), and another
//! epoch empties memory as a whole (L5).
//!
//! **Embedded (SQLite).** This process alone writes to the database. It invalidates its own memory after each COMMIT,
//! whatever that answered, before the next write begins, so that its memory needs no lease, and changes wait only for
//! the leases of watching clients.
//!
//! **Watching clients** ([`watchers`]) get what is applied before the lease is renewed (S1). Their own leases end no later
//! than the server's, or, of an embedded server, before its changes are answered.

mod callers;
mod commit_wait;
mod database_time;
pub(crate) mod follower;
pub(crate) mod measures;
mod memory;
mod presented;
mod token_cache;
mod tokens;
mod trusted;
mod watch;
pub(crate) mod watchers;

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, Ordering},
};

use tokend_core::{
    credential::AuthenticationError,
    time::{BootTime, Clock, Timestamp},
};
use tokend_store::Store;

pub(crate) use self::{
    callers::RememberedCallerKey,
    memory::Kept,
    presented::{Outcome, Presented},
    tokens::{Freshness, VerifiedToken},
    trusted::{RememberedToken, Trusted},
};
use self::{
    commit_wait::OwnLeases,
    database_time::DatabaseTime,
    measures::LookUpCounters,
    memory::{Memory, Reading},
    presented::Issued,
};
use crate::error::ServiceError;

/// Verifies credentials. Cheap to clone: all clones share one memory.
#[derive(Clone, Debug)]
pub(crate) struct Verifier {
    shared: Arc<Shared>,
}

/// What the clones of a verifier share.
#[derive(Debug)]
pub(crate) struct Shared {
    store: Store,
    clock: Clock,
    memory: Memory,
    time: DatabaseTime,
    mode: Mode,
    look_ups: LookUpCounters,
    /// Set when the database went back to an older state: then nothing is answered any more.
    is_stopped: AtomicBool,
}

/// How memory is kept up to date.
#[derive(Debug)]
enum Mode {
    /// By polling the feed, as every server on a PostgreSQL database does.
    Polled,
    /// By this process itself, which alone writes to its SQLite database.
    Embedded(OwnLeases),
}

/// How memory begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemorySettings {
    /// Most bytes that tokens take.
    pub(crate) max_bytes: usize,
    /// Whether no client can have a lease from before, because the database was only just created.
    pub(crate) is_new_database: bool,
}

/// Whose look-ups a look-up waits behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Everybody's.
    Ordinary,
    /// Those of revocations, for which a part of the database's connections is reserved.
    Reserved,
}

impl Verifier {
    /// Creates the verifier of a server that has opened `store` alone.
    ///
    /// # Errors
    /// [`StoreError`](tokend_store::StoreError).
    pub(crate) async fn start(
        store: Store,
        clock: Clock,
        settings: MemorySettings,
        look_ups: LookUpCounters,
    ) -> Result<Self, tokend_store::StoreError> {
        let memory = Memory::new(clock.clone(), settings.max_bytes);
        if !store.is_sqlite() {
            return Ok(Self::new(store, clock, memory, Mode::Polled, look_ups));
        }
        let page = store.feed().poll_feed(follower::HEAD_ONLY).await?;
        memory.embed(page.head);
        let leases = OwnLeases::start(&clock, page.terms, settings.is_new_database);
        let verifier = Self::new(store, clock, memory, Mode::Embedded(leases), look_ups);
        // Weak, because the verifier holds the store.
        let observer: Weak<Shared> = Arc::downgrade(&verifier.shared);
        verifier.shared.store.observe_commits(observer);
        Ok(verifier)
    }

    fn new(store: Store, clock: Clock, memory: Memory, mode: Mode, look_ups: LookUpCounters) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                clock,
                memory,
                time: DatabaseTime::default(),
                mode,
                look_ups,
                is_stopped: AtomicBool::new(false),
            }),
        }
    }

    /// Checks whether this installation issued `text`. Reads nothing.
    ///
    /// # Errors
    /// [`ServiceError::KeyNotAtHand`] if this server does not have the key yet that would decide it.
    pub(crate) fn check(&self, text: &str) -> Result<Presented, ServiceError> {
        let ring = self.shared.store.keys();
        match ring.authenticate(text) {
            Ok(credential) => Ok(Presented::issued(Issued { credential, ring })),
            Err(AuthenticationError::Unrecognized) => Ok(Presented::foreign()),
            Err(AuthenticationError::MissingKey(kid)) => Err(ServiceError::KeyNotAtHand(kid)),
        }
    }

    /// Returns whether this server gives no more verdicts, because the database went back to an older state (L5).
    pub(crate) fn has_stopped(&self) -> bool {
        self.shared.is_stopped.load(Ordering::Acquire)
    }

    /// Returns the memory to answer from, if it may be trusted (V4).
    fn reading(&self, freshness: Freshness) -> Result<Option<Reading>, ServiceError> {
        if self.has_stopped() {
            return Err(ServiceError::RevisionNotReached);
        }
        Ok(match freshness {
            Freshness {
                fully_consistent: false,
                min_revision,
            } => self.shared.memory.reading(min_revision),
            Freshness { .. } => None,
        })
    }

    fn store_of(&self, lane: Lane) -> Store {
        match lane {
            Lane::Ordinary => self.shared.store.clone(),
            Lane::Reserved => self.shared.store.reserved(),
        }
    }
}

impl Shared {
    /// Returns database time at `now`, for what is answered from memory.
    fn now(&self, now: BootTime) -> Timestamp {
        match self.mode {
            Mode::Polled => self.time.at(&self.clock, now),
            Mode::Embedded(_) => self.store.embedded_time(),
        }
    }
}
