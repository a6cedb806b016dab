//! What use is made of tokens and caller keys is noted in memory, off the path of a Verify, and written down in batches.
//!
//! ```text
//! Verify answers ALLOW, a key authenticates -> Recorder: merged into the entry of the token or key, in memory
//!                                              Keeper: every 30 s, early if memory fills up, and at the end -> Store
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
    time::Timestamp,
    usage::{SeenUses, TokenUse},
};
use tokio::sync::Notify;

use self::shards::{Room, Shards};
use crate::layers::telemetry::Telemetry;

const DROPPED: &str = "tokend_usage_dropped_total";

/// Tokens of which uses are kept in memory, at most: about 16 MiB.
const MAX_TOKENS: usize = 65_536;

/// Likewise caller keys.
const MAX_KEYS: usize = 16_384;

/// Notes uses. One for the whole server.
pub(crate) struct Recorder {
    tokens: Shards<SeenUses>,
    keys: Shards<Timestamp>,
    fills_up: Notify,
    dropped: Counter,
}

impl Recorder {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        telemetry.describe(DROPPED, "Tokens and caller keys of which a use was not recorded, for lack of room: each time.");
        Self {
            tokens: Shards::new(MAX_TOKENS),
            keys: Shards::new(MAX_KEYS),
            fills_up: Notify::new(),
            dropped: telemetry.counter(DROPPED, None),
        }
    }

    /// Notes a use of a token. Of a token that was noted since the last flush this allocates nothing.
    pub(crate) fn note_token(&self, token: CredentialId, used: &TokenUse) {
        self.heed(self.tokens.upsert(token, || SeenUses::first(used), |seen| seen.note(used)));
    }

    /// Notes that a caller key authenticated a call at this time, database time.
    pub(crate) fn note_key(&self, key: CredentialId, at: Timestamp) {
        self.heed(self.keys.upsert(key, || at, |last| *last = at.max(*last)));
    }

    fn heed(&self, room: Room) {
        match room {
            Room::Plenty => {}
            Room::Scarce => self.fills_up.notify_one(),
            Room::None => {
                self.fills_up.notify_one();
                self.left_out(1);
            }
        }
    }

    /// Waits until memory fills up.
    async fn fills_up(&self) {
        self.fills_up.notified().await;
    }

    /// Takes everything that was noted of tokens, a piece at a time.
    fn take_tokens(&self) -> impl Iterator<Item = HashMap<CredentialId, SeenUses>> {
        self.tokens.take()
    }

    /// Likewise of caller keys.
    fn take_keys(&self) -> impl Iterator<Item = HashMap<CredentialId, Timestamp>> {
        self.keys.take()
    }

    /// Counts what was not recorded.
    fn left_out(&self, credentials: usize) {
        self.dropped.increment(u64::try_from(credentials).unwrap_or(u64::MAX));
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}
