//! The change log of a transaction. Just before COMMIT, the transaction stores what derives from it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokend_core::{
    audit::{Chain, Event},
    change::{Change, Initiator},
    lease::Subject,
    revocation::RevocationRecord,
};

use super::WriteTx;
use crate::{error::StoreError, feed::writes::Advanced};

/// The changes and events of a transaction.
pub(super) struct ChangeLog {
    /// Who makes the changes that are recorded from now on.
    initiator: Arc<Initiator>,
    changes: Vec<AttributedChange>,
    /// Events that are about no change.
    events: Vec<Event>,
    /// Whether the lines of the revocations file are imported later, so that this transaction stores none.
    leaves_lines: bool,
}

/// A change and who made it. Calls that share a transaction have an initiator each.
struct AttributedChange {
    initiator: Arc<Initiator>,
    change: Change,
}

/// What is stored together with the next revision.
pub(crate) struct Advance {
    /// The lines of the revocations file.
    pub(crate) records: Vec<RevocationRecord>,
    /// What memory is outdated.
    pub(crate) subjects: Vec<Subject>,
    /// Whether servers may start again.
    pub(crate) finishes_restore: bool,
}

/// The error of a change that ends verdicts in a write whose answer waits for no server.
#[derive(Debug, thiserror::Error)]
#[error("a verdict was to be ended without a wait")]
struct ChangeWithoutRevision;

impl ChangeLog {
    /// Begins a log of changes by `initiator`.
    pub(super) fn of(initiator: Initiator) -> Mutex<Self> {
        Mutex::new(Self {
            initiator: Arc::new(initiator),
            changes: Vec::new(),
            events: Vec::new(),
            leaves_lines: false,
        })
    }

    fn take(&mut self) -> Self {
        Self {
            initiator: Arc::clone(&self.initiator),
            changes: std::mem::take(&mut self.changes),
            events: std::mem::take(&mut self.events),
            leaves_lines: std::mem::take(&mut self.leaves_lines),
        }
    }
}

impl WriteTx {
    /// Sets who makes the changes that are recorded from now on. Until then it is the initiator of the store's handle. Use
    /// it before each part of a transaction that several calls share.
    pub fn attribute_to(&self, initiator: Initiator) {
        self.change_log().initiator = Arc::new(initiator);
    }

    /// Records a change. Methods that change a sealed row already do so; use this for all other changes.
    pub fn record(&self, change: Change) {
        let mut log = self.change_log();
        let initiator = Arc::clone(&log.initiator);
        log.changes.push(AttributedChange { initiator, change });
    }

    /// Appends an event that is about no change, such as a refused call.
    pub fn append_event(&self, event: Event) {
        self.change_log().events.push(event);
    }

    /// Stores no lines of the revocations file for the changes of this transaction, because they are imported later.
    pub fn leave_lines_to_import(&self) {
        self.change_log().leaves_lines = true;
    }

    /// Stores what derives from the changes, and takes the next revision.
    pub(super) async fn store_changes_and_advance(&self) -> Result<Advanced, StoreError> {
        let advance = self.store_changes().await?;
        self.advance(advance).await
    }

    /// Stores what derives from the changes, if none of them must be waited for. Takes a revision only if memory is
    /// outdated.
    pub(super) async fn store_changes_without_wait(&self) -> Result<Option<Advanced>, StoreError> {
        let advance = self.store_changes().await?;
        if !advance.records.is_empty() || advance.finishes_restore {
            return Err(StoreError::refused(ChangeWithoutRevision));
        }
        if advance.subjects.is_empty() {
            return Ok(None);
        }
        self.advance(advance).await.map(Some)
    }

    /// Stores the messages and the audit events of the changes. Returns what must be stored with the next revision,
    /// because the positions of lines are known only when the feed's row is locked. Locks the heads of the audit log,
    /// the installation's first, and nothing after them in the order of locks.
    pub(super) async fn store_changes(&self) -> Result<Advance, StoreError> {
        let ChangeLog {
            initiator,
            changes: attributed,
            mut events,
            leaves_lines,
        } = self.change_log().take();
        let changes = || attributed.iter().map(|attributed| &attributed.change);
        let mut advance = Advance {
            records: Vec::new(),
            subjects: changes().flat_map(Change::subjects).collect(),
            finishes_restore: changes().any(|change| matches!(change, Change::InstallationRestored(_))),
        };
        if attributed.is_empty() && events.is_empty() {
            return Ok(advance);
        }
        let ring = self.ring().await?;
        if self.shared.settings().has_webhook {
            for message in changes().filter_map(|change| change.message(ring.prefix())) {
                // A message with the same id has the same content.
                let _ = self.enqueue(&message).await?;
            }
        }
        let of_changes = attributed
            .iter()
            .flat_map(|AttributedChange { initiator, change }| change.events(initiator, ring));
        events.splice(..0, of_changes);
        // In the order of locks. Within a chain the events stay in the order in which they happened.
        events.sort_by(|one, other| one.chain.cmp(&other.chain));
        for of_chain in events.chunk_by(|one, other| one.chain == other.chain) {
            match self.append_to_chain(of_chain).await {
                Err(StoreError::Tampered { .. } | StoreError::Corrupt { .. })
                    if outlives_records(&initiator, of_chain) => {}
                appended => appended?,
            }
        }
        if !leaves_lines {
            advance.records = changes().filter_map(Change::revocation_record).collect();
        }
        Ok(advance)
    }

    fn change_log(&self) -> MutexGuard<'_, ChangeLog> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether the changes are committed even if these events can't be recorded. A restore revokes what was revoked
/// since the backup, even in a workspace whose chain was damaged: `tokend audit verify` reports the chain, but a token
/// that works again would harm someone.
fn outlives_records(initiator: &Initiator, events: &[Event]) -> bool {
    *initiator == Initiator::Restore && events.iter().all(|event| event.chain != Chain::Installation)
}
