//! Records uses of tokens and caller keys in memory, from where a background job writes them to the database in
//! batches.
//!
//! ```text
//! Verify answers ALLOW, a key authenticates -> UsageRecorder: merges the use into the entry of the token or key
//!                                              UsageFlushJob: every 30 s, early if memory fills up, and at the end
//! ```
//!
//! Recording awaits nothing. Its lock is held only while another use is recorded, or while an empty map replaces a full
//! one. So a Verify never waits for usage, whatever the database does. A use shows in `GetToken` up to 30 s and the
//! time of a write later. A crash loses the uses that were not written.

mod shards;

use metrics::Counter;
use tokend_core::{
    credential::CredentialId,
    time::Timestamp,
    token::usage::{SeenUses, TokenUse},
};
use tokio::sync::Notify;

use self::shards::{ByCredential, Room, Shards};
use crate::observability::metrics::Telemetry;

const DROPPED: &str = "tokend_usage_dropped_total";

/// The maximum number of tokens whose uses are kept in memory: about 16 MiB.
pub(crate) const MAX_TOKENS: usize = 65_536;

/// The maximum number of caller keys whose uses are kept in memory.
const MAX_KEYS: usize = 16_384;

/// Records uses. The whole server shares one.
pub(crate) struct UsageRecorder {
    tokens: Shards<SeenUses>,
    keys: Shards<Timestamp>,
    fills_up: Notify,
    dropped: Counter,
}

impl UsageRecorder {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        telemetry.describe(
            DROPPED,
            "Uses of tokens and caller keys that were not recorded, for lack of memory.",
        );
        Self {
            tokens: Shards::new(MAX_TOKENS),
            keys: Shards::new(MAX_KEYS),
            fills_up: Notify::new(),
            dropped: telemetry.counter(DROPPED, None),
        }
    }

    /// Records a use of a token. Allocates nothing if the token was used since the last flush.
    pub(crate) fn note_token(&self, token: CredentialId, used: &TokenUse) {
        self.wake_if_full(
            self.tokens
                .upsert(token, || SeenUses::first(used), |seen| seen.record(used)),
        );
    }

    /// Records that a caller key authenticated a call at `at`, in database time.
    pub(crate) fn note_key(&self, key: CredentialId, at: Timestamp) {
        self.wake_if_full(self.keys.upsert(key, || at, |last| *last = at.max(*last)));
    }

    fn wake_if_full(&self, room: Room) {
        match room {
            Room::Plenty => {}
            Room::Scarce => self.fills_up.notify_one(),
            Room::None => {
                self.fills_up.notify_one();
                self.count_dropped(1);
            }
        }
    }

    /// Waits until memory fills up.
    pub(crate) async fn fills_up(&self) {
        self.fills_up.notified().await;
    }

    /// Takes all recorded uses of tokens, one shard at a time.
    pub(crate) fn take_tokens(&self) -> impl Iterator<Item = ByCredential<SeenUses>> {
        self.tokens.take()
    }

    /// Takes all recorded uses of caller keys, one shard at a time.
    pub(crate) fn take_keys(&self) -> impl Iterator<Item = ByCredential<Timestamp>> {
        self.keys.take()
    }

    /// Counts uses that were not recorded.
    pub(crate) fn count_dropped(&self, credentials: usize) {
        self.dropped.increment(u64::try_from(credentials).unwrap_or(u64::MAX));
    }
}

impl std::fmt::Debug for UsageRecorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UsageRecorder")
    }
}
