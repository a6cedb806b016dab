//! How long the answer to a change waits, until no server and no client can answer from an older memory (C1).

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokend_core::{
    lease::Terms,
    rule::{self, Rule},
    time::{BootTime, Clock},
};
use tokend_store::Committed;

use super::{Mode, Verifier};

/// The leases that this process has given to watching clients of its own database.
#[derive(Debug)]
pub(super) struct OwnLeases {
    terms: Terms,
    /// When the last of them has ended for certain, in microseconds since boot.
    end: AtomicU64,
}

impl OwnLeases {
    /// Begins to count leases. Those that a former process has given may still run, unless the database is new.
    pub(super) fn start(clock: &Clock, terms: Terms, is_new: bool) -> Self {
        let leases = Self {
            terms,
            end: AtomicU64::new(0),
        };
        if !is_new && rule::is_kept(Rule::WaitAfterStart) {
            leases.record(clock.boot_time(), terms.wait);
        }
        leases
    }

    /// Gives a lease, which is recorded before its pong leaves.
    pub(super) fn give(&self, clock: &Clock) -> Duration {
        if rule::is_kept(Rule::LeaseRecordedBeforePong) {
            self.record(clock.boot_time(), self.terms.grant);
        }
        self.terms.grant
    }

    fn record(&self, now: BootTime, lease: Duration) {
        let end = now.saturating_add(Terms::with_margin(lease));
        self.end.fetch_max(end.as_micros(), Ordering::AcqRel);
    }
}

impl Verifier {
    /// Waits until whoever answers from memory knows of a change.
    ///
    /// On PostgreSQL that is the wait and its margin, from when COMMIT was acknowledged. A process with a database of its
    /// own waits for the leases of its watching clients, and for nothing if there are none.
    pub(crate) async fn wait_for_servers(&self, committed: &Committed) {
        if !rule::is_kept(Rule::AnswerWaits) {
            return;
        }
        let terms = if rule::is_kept(Rule::WaitReadWithRevision) {
            committed.terms
        } else {
            first(committed.terms)
        };
        let end = match &self.shared.mode {
            Mode::Polled => committed.acknowledged.saturating_add(terms.full_wait()).as_micros(),
            // The change was sent to all streams before this is read.
            Mode::Embedded(leases) => leases.end.load(Ordering::Acquire),
        };
        loop {
            // Timers stand still while the machine is suspended. Then this waits longer, which does no harm.
            let left = end.saturating_sub(self.shared.clock.boot_time().as_micros());
            if left == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_micros(left)).await;
        }
    }
}

/// Returns the first terms that this process has seen, which is what a server would know that does not read them with each
/// revision.
fn first(terms: Terms) -> Terms {
    static FIRST: OnceLock<Terms> = OnceLock::new();
    *FIRST.get_or_init(|| terms)
}
