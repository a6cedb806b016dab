//! Memory and key ring as a call may use them that waits for nothing.

use std::time::Duration;

use tokend_core::{
    credential::Recognized,
    feed::Revision,
    rule::{self, Rule},
    time::Timestamp,
    token::{Token, TokenContext},
};
use tokend_store::KeysInUse;

use super::{Freshness, Shared, Verifier, memory::Reading};

/// The rules of which V1 consists.
pub(super) const PARTS_OF_V1: [Rule; 3] = [Rule::LeaseBeforeLookUp, Rule::HeadBeforeLookUp, Rule::BoundBeforeLookUp];

/// Memory that may be trusted, as it was before anything was looked up (V1), and the keys at that time. Whatever it does
/// not know, [`Verifier`] finds out.
///
/// Nothing that it hands out is counted or copied, and it writes to no memory that other threads use, so that calls on
/// several threads do not slow each other down.
#[derive(Debug)]
pub(crate) struct Trusted<'a> {
    shared: &'a Shared,
    pub(super) reading: Reading,
    pub(super) keys: KeysInUse,
    /// Database time.
    pub(crate) now: Timestamp,
}

/// A token in memory of which the secret was presented, with everything that a verdict depends on.
#[derive(Debug)]
pub(crate) struct RememberedToken<'a> {
    pub(crate) token: Recognized<&'a Token>,
    pub(crate) token_context: &'a TokenContext,
}

impl Verifier {
    /// Returns the memory to answer from without a read of the database, if it may be trusted (V4).
    pub(crate) fn trusted_memory(&self) -> Option<Trusted<'_>> {
        let reading = self.reading(Freshness::default()).ok()??;
        Some(Trusted {
            keys: self.shared.store.keys_in_use(),
            now: self.shared.now(reading.now),
            shared: &self.shared,
            reading,
        })
    }
}

impl Trusted<'_> {
    /// Calls `then` with the token that was presented, if memory has it.
    pub(crate) fn with_token<R>(&self, text: &str, then: impl FnOnce(RememberedToken<'_>) -> Option<R>) -> Option<R> {
        // If a test leaves out a part of V1, the layers answer, which can hold its window open.
        if !PARTS_OF_V1.into_iter().all(rule::is_kept) {
            return None;
        }
        let credential = self.keys.authenticate(text).ok()?;
        self.reading.with_token(credential.id(), |token, token_context| {
            let token = self.keys.recognize(&credential, &**token).ok()?;
            then(RememberedToken { token, token_context })
        })
    }

    /// Returns the revision of every answer from this memory (V6).
    pub(crate) fn revision(&self) -> Revision {
        self.reading.revision()
    }

    /// Returns whether an answer from this memory may leave: its lease has to run now (V1).
    pub(crate) fn may_answer(&self) -> bool {
        self.reading.is_current(&self.shared.clock)
    }

    /// Returns how long an answer may be cached; see [`Verifier::cacheable_for`].
    pub(crate) fn cacheable_for(&self) -> Duration {
        self.shared.cacheable_for(&self.reading)
    }

    /// Counts a token that was found here.
    pub(crate) fn count_look_up(&self) {
        self.shared.look_ups.memory.increment();
    }
}
