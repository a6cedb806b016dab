//! The change feed: one entry for each revision, and the head, which is the current revision and what must not be
//! forgotten, in one row that is sealed as a whole.
//!
//! A restored backup or an edited row must not pass for the newest state. The head therefore holds the epoch and
//! revision, the position of the last line of the revocations file, and whether a restore was started and not finished.

mod entry;

pub use entry::FeedEntry;

use crate::{
    lease::Terms,
    row_mac::{MacInput, Sealed},
};

/// A position in the order of all changes. Within an epoch the number grows by one with each change, in commit order. A
/// restored or failed-over database starts a new epoch, and positions of different epochs can't be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Revision {
    /// The history of the database that the position belongs to.
    pub epoch: u64,
    /// The number of changes in that history so far.
    pub number: u64,
}

/// The head of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedHead {
    /// The revision of the last change.
    pub revision: Revision,
    /// The position of the last row in the table `endings`, which holds the lines of the revocations file; 0 if it is
    /// empty.
    pub last_revocation: u64,
    /// Whether a restore was started and not finished. Revoked tokens may work again then, so no server may start.
    pub is_restoring: bool,
    /// How long leases last and changes wait.
    pub terms: Terms,
}

impl Revision {
    /// Returns the revision as clients see it: with an epoch that names the timeline of PostgreSQL, too (L4). A promoted
    /// standby has another timeline and may lack changes that were reported, so what was read before the promotion must
    /// not be compared with what is read after it. `timeline` is 0 on SQLite.
    #[must_use]
    pub const fn on_timeline(self, timeline: u32) -> Self {
        Self {
            // The stored epoch is random, so that no two installations or restores differ by a timeline only.
            epoch: self.epoch ^ ((timeline as u64) << 31),
            number: self.number,
        }
    }
}

impl FeedHead {
    /// Returns the head after a change that added `endings` lines to the revocations file.
    #[must_use]
    pub fn advanced(self, endings: u64) -> Self {
        let Revision { epoch, number } = self.revision;
        Self {
            revision: Revision {
                epoch,
                number: number + 1,
            },
            last_revocation: self.last_revocation + endings,
            ..self
        }
    }
}

impl Sealed for FeedHead {
    const TABLE: &'static str = "feed";
    const LAYOUT: u8 = 2;

    fn write_sealed_columns(&self, input: &mut MacInput) {
        let Self {
            revision: Revision { epoch, number },
            last_revocation,
            is_restoring,
            terms: Terms {
                grant,
                wait,
                number: terms,
            },
        } = self;
        input.count(*epoch);
        input.count(*number);
        input.count(*last_revocation);
        input.number((*is_restoring).into());
        for span in [grant, wait] {
            // The column holds at most 63 bits of microseconds.
            input.count(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
        }
        input.since(2, *terms == 0, |input| input.count(*terms));
    }
}
