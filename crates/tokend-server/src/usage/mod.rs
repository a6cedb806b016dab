//! What use is made of tokens is noted in memory, off the path of a Verify, and written down in batches.
//!
//! ```text
//! Verify answers ALLOW -> Recorder: merged into the entry of its token, in memory
//!                         Keeper: every 30 s, early if memory fills up, and at the end -> Store
//! ```
//!
//! Noting awaits nothing, and takes a lock that is held only for another noting, or for as long as it takes to put an empty map in the place
//! of a full one. Whatever the database does, a Verify does not wait for usage. What was seen is told up to [`keeper::FLUSH_INTERVAL`] and
//! the time of a write later; a crash loses what was not written.

mod keeper;
mod shards;

pub(crate) use keeper::Keeper;

use std::collections::HashMap;

use metrics::Counter;
use tokend_core::{
    credential::CredentialId,
    usage::{SeenUses, TokenUse},
};
use tokio::sync::Notify;

use self::shards::{Room, Shards};
use crate::layers::telemetry::Telemetry;

const DROPPED: &str = "tokend_usage_dropped_total";

/// Tokens of which uses are kept in memory, at most: about 16 MiB.
const MAX_TOKENS: usize = 65_536;

/// Notes uses. One for the whole server.
pub(crate) struct Recorder {
    tokens: Shards<SeenUses>,
    fills_up: Notify,
    dropped: Counter,
}

impl Recorder {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        telemetry.describe(DROPPED, "Tokens of which a use was not recorded, for lack of room: each time that happened.");
        Self { tokens: Shards::new(MAX_TOKENS), fills_up: Notify::new(), dropped: telemetry.counter(DROPPED, None) }
    }

    /// Notes a use of a token. Of a token that was noted since the last flush this allocates nothing.
    pub(crate) fn note(&self, token: CredentialId, used: &TokenUse) {
        match self.tokens.upsert(token, || SeenUses::first(used), |seen| seen.note(used)) {
            Room::Plenty => {}
            Room::Scarce => self.fills_up.notify_one(),
            Room::None => {
                self.fills_up.notify_one();
                self.drop(1);
            }
        }
    }

    /// Waits until memory fills up.
    async fn fills_up(&self) {
        self.fills_up.notified().await;
    }

    /// Takes everything that was noted, a piece at a time.
    fn take(&self) -> impl Iterator<Item = HashMap<CredentialId, SeenUses>> {
        self.tokens.take()
    }

    /// Counts what was not recorded.
    fn drop(&self, tokens: usize) {
        self.dropped.increment(u64::try_from(tokens).unwrap_or(u64::MAX));
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}
