//! What a guard knows, and when it may answer from it.
//!
//! Lease, slots and entries are one object. It belongs to one stream, with the streams that resume it, and is replaced
//! as a whole: a verification takes all three from the same object, and a new stream never inherits a lease. Otherwise
//! a lease from a server that is up to date could cover an answer from one that lags behind (`FreshStreamEndsLease` and
//! `VerifyKeepsToOneStream` of the checked model). The rules S1 to S6, V1 and V2 are those of
//! `docs/revocation-protocol.md`.

use std::{sync::Arc, time::Duration};

use tokend_core::{
    feed::Revision,
    lease::{Lease, SlotKey, Slots},
    rule::{Rule, is_kept},
    time::{BootTime, Clock},
};

use super::{
    VerifiedToken,
    entries::{Entries, Entry, Key},
    token::Question,
};

/// The number of slots. Tokens that share one cost each other a look-up.
const SLOTS: usize = 1 << 14;

/// What a guard knows.
#[derive(Debug)]
pub(super) struct Memory {
    stream: Option<OfStream>,
    entries: Entries,
}

/// What a stream adds: it says which entries are outdated, and for how long that is complete.
#[derive(Debug)]
struct OfStream {
    epoch: u64,
    slots: Slots,
    lease: Lease,
}

/// The service's answer that a token is allowed something.
#[derive(Debug)]
pub(super) struct Allowed {
    pub(super) token: VerifiedToken,
    pub(super) revision: Option<Revision>,
    pub(super) cacheable_for: Duration,
    /// When the request was sent.
    pub(super) sent: BootTime,
}

/// What became of an answer that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// It is kept, and so many others had to leave.
    Kept { evicted: u64 },
    /// It may be used only once.
    Refused,
}

impl Memory {
    /// Creates a memory that no stream keeps up to date.
    pub(super) fn without_stream(max_bytes: usize) -> Self {
        Self {
            stream: None,
            entries: Entries::new(max_bytes),
        }
    }

    /// Creates the memory of a stream that begins at `revision` and resumes none. It has no lease (S3).
    pub(super) fn of_stream(revision: Revision, max_bytes: usize) -> Self {
        Self {
            stream: Some(OfStream {
                epoch: revision.epoch,
                slots: Slots::since(revision.number, SLOTS),
                lease: Lease::ended(),
            }),
            entries: Entries::new(max_bytes),
        }
    }

    /// Returns an entry that permits what the question asks, if it may be used now. `now` is asked again after the
    /// look-up: an answer must not leave after the lease has ended (V1).
    pub(super) fn look_up(&self, key: &Key, question: &Question, now: impl Fn() -> BootTime) -> Option<Arc<Entry>> {
        self.look_up_with(self, key, question, now)
    }

    /// The same with the slots of another memory, which only a guard without `VerifyKeepsToOneStream` uses.
    pub(super) fn look_up_with(
        &self,
        slots: &Self,
        key: &Key,
        question: &Question,
        now: impl Fn() -> BootTime,
    ) -> Option<Arc<Entry>> {
        // The lease comes first: whoever sees it renewed sees the slots that were raised before.
        if !self.may_answer(now()) {
            return None;
        }
        let entry = self.entries.get(key)?;
        let is_usable = slots.is_current(&entry) && entry.token.permits(question);
        let now = now();
        let is_in_time = entry.expires.is_none_or(|expires| now < expires)
            && match &self.stream {
                Some(_) => self.may_answer(now),
                None => now < entry.cacheable_until,
            };
        (is_usable && is_in_time).then(|| {
            entry.mark_used();
            entry
        })
    }

    /// Keeps an answer, if it may be used more than once: under a stream, if it is not older than the stream's
    /// beginning and than what the stream has invalidated since (S4); without one, for as long as the service says,
    /// from when the request was sent (S5).
    pub(super) fn store(&self, key: Key, allowed: Allowed) -> Stored {
        let Allowed {
            token,
            revision,
            cacheable_for,
            sent,
        } = allowed;
        let (Some(slots), Some(expires_in), Some(revision)) = (token.slots(), token.expires_in(), revision) else {
            return Stored::Refused;
        };
        let mut number = revision.number;
        // Without the rule, an invalidation concerns only what is there: an answer that comes later counts as new.
        if let Some(stream) = &self.stream
            && !is_kept(Rule::SdkRefusesBelowSlot)
        {
            number = (number..)
                .find(|number| stream.admits(slots, *number))
                .unwrap_or(number);
        }
        let is_worth_it = match &self.stream {
            Some(stream) => stream.epoch == revision.epoch && stream.admits(slots, number),
            None => !cacheable_for.is_zero(),
        };
        if !is_worth_it {
            return Stored::Refused;
        }
        let expires = expires_in.map(|span| sent.saturating_add(span));
        let counts_from = if is_kept(Rule::CacheableFromSend) {
            sent
        } else {
            Clock::system().boot_time()
        };
        let until = counts_from.saturating_add(cacheable_for);
        let evicted = self
            .entries
            .insert(key, Entry::new(token, slots, number, expires, until));
        Stored::Kept { evicted }
    }

    /// Makes everything outdated that the slot stands for and that was read before the revision.
    pub(super) fn invalidate(&self, slot: SlotKey, number: u64) {
        if let Some(stream) = &self.stream {
            stream.slots.raise(slot, number);
        }
    }

    /// Makes everything outdated that was read before the revision.
    pub(super) fn invalidate_all(&self, number: u64) {
        if let Some(stream) = &self.stream {
            stream.slots.raise_all(number);
        }
    }

    /// Renews the lease: the stream was complete at some time after `asked`, and is for `remaining` after that.
    pub(super) fn renew(&self, asked: BootTime, remaining: Duration) {
        if let Some(stream) = &self.stream {
            stream.lease.renew(asked, remaining);
        }
    }

    /// Returns the epoch of the stream.
    pub(super) fn epoch(&self) -> Option<u64> {
        self.stream.as_ref().map(|stream| stream.epoch)
    }

    /// Returns how much of the stream's lease is left.
    pub(super) fn lease_left(&self, now: BootTime) -> Duration {
        self.stream
            .as_ref()
            .map_or(Duration::ZERO, |stream| stream.lease.remaining(now))
    }

    /// Returns the number of entries, and about how many bytes they take.
    pub(super) fn size(&self) -> (usize, usize) {
        self.entries.size()
    }

    /// Returns whether the memory as a whole may be used. Without a stream, each entry has a time of its own.
    fn may_answer(&self, now: BootTime) -> bool {
        let runs = |stream: &OfStream| stream.lease.runs_at(now) || !is_kept(Rule::SdkChecksLease);
        self.stream.as_ref().is_none_or(runs)
    }

    fn is_current(&self, entry: &Entry) -> bool {
        self.stream
            .as_ref()
            .is_none_or(|stream| stream.admits(entry.slots, entry.revision))
    }
}

impl OfStream {
    fn admits(&self, slots: [SlotKey; 2], number: u64) -> bool {
        slots.into_iter().all(|slot| self.slots.admits(slot, number))
    }
}

#[cfg(test)]
mod tests;
