//! The feed's head: where the order of changes stands, on one row that is sealed as a whole.
//!
//! A backup that is put back, or a row that somebody edits, must not pass for the newest state. So the head says what the database knows
//! of its own past: the epoch and revision, the position of the last ending, and whether a restore was begun and not finished.

use std::time::Duration;

use crate::{
    revision::Revision,
    row_mac::{MacInput, Sealed},
};

/// The head of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedHead {
    /// The revision of the last change.
    pub revision: Revision,
    /// The position of the last line in the table of endings; 0 if there is none.
    pub last_ending: u64,
    /// Whether a restore was begun and not finished: revoked tokens may work again, and no server may start.
    pub is_restoring: bool,
    /// How long a replica may answer from memory after it asked for news.
    pub grant: Duration,
    /// How long a revocation waits for that; not shorter than `grant`.
    pub wait: Duration,
}

impl FeedHead {
    /// The head after a change that ended `endings` things.
    #[must_use]
    pub fn advanced(self, endings: u64) -> Self {
        let Revision { epoch, number } = self.revision;
        Self { revision: Revision { epoch, number: number + 1 }, last_ending: self.last_ending + endings, ..self }
    }
}

impl Sealed for FeedHead {
    const TABLE: &'static str = "feed";
    const LAYOUT: u8 = 1;

    fn write_sealed_columns(&self, input: &mut MacInput) {
        let Self { revision: Revision { epoch, number }, last_ending, is_restoring, grant, wait } = self;
        input.count(*epoch);
        input.count(*number);
        input.count(*last_ending);
        input.number((*is_restoring).into());
        for span in [grant, wait] {
            // A column holds 63 bits of microseconds at most.
            input.count(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
        }
    }
}
