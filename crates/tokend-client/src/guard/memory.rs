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
    time::BootTime,
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
        // The lease comes first: whoever sees it renewed sees the slots that were raised before.
        if !self.may_answer(now()) {
            return None;
        }
        let entry = self.entries.get(key)?;
        let is_usable = self.is_current(&entry) && entry.token.permits(question);
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
        let is_worth_it = match &self.stream {
            Some(stream) => stream.epoch == revision.epoch && stream.admits(slots, revision.number),
            None => !cacheable_for.is_zero(),
        };
        if !is_worth_it {
            return Stored::Refused;
        }
        let expires = expires_in.map(|span| sent.saturating_add(span));
        let until = sent.saturating_add(cacheable_for);
        let evicted = self
            .entries
            .insert(key, Entry::new(token, slots, revision.number, expires, until));
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
        self.stream.as_ref().is_none_or(|stream| stream.lease.runs_at(now))
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
mod tests {
    use std::cell::Cell;

    use tokend_core::{lease::Subject, time::Clock};

    use super::*;
    use crate::{
        guard::token::tests::{NAME, message, question},
        v1,
    };

    const KEY: Key = [7; 32];
    const SECOND: Duration = Duration::from_secs(1);
    const RESOURCE: &str = "workspaces/acme/projects/web/repositories/site";

    /// A memory, and a clock that the test moves.
    struct Case {
        memory: Memory,
        began: BootTime,
    }

    impl Case {
        fn of_stream_at(number: u64) -> Self {
            Self {
                memory: Memory::of_stream(Revision { epoch: 5, number }, 1 << 20),
                began: Clock::system().boot_time(),
            }
        }

        fn without_stream() -> Self {
            Self {
                memory: Memory::without_stream(1 << 20),
                ..Self::of_stream_at(0)
            }
        }

        fn at(&self, after: Duration) -> BootTime {
            self.began.saturating_add(after)
        }

        fn store(&self, message: v1::VerifiedToken, epoch: u64, number: u64) -> Stored {
            let allowed = Allowed {
                token: VerifiedToken::new(message),
                revision: Some(Revision { epoch, number }),
                cacheable_for: SECOND,
                sent: self.began,
            };
            self.memory.store(KEY, allowed)
        }

        fn hits(&self, after: Duration) -> bool {
            let question = question(RESOURCE, &["repository"], None);
            self.memory.look_up(&KEY, &question, || self.at(after)).is_some()
        }

        fn invalidate(&self, name: &str, number: u64) {
            let subject: Subject = name.parse().expect("a subject");
            self.memory.invalidate(subject.slot(), number);
        }
    }

    const KEPT: Stored = Stored::Kept { evicted: 0 };

    #[test]
    fn memory_answers_only_under_a_lease_that_counts_from_the_ping() {
        let case = Case::of_stream_at(3);
        assert_eq!(case.store(message(), 5, 3), KEPT);
        assert!(!case.hits(Duration::ZERO), "a new stream has no lease");
        case.memory.renew(case.began, SECOND);
        assert!(case.hits(SECOND - Duration::from_millis(1)));
        assert!(!case.hits(SECOND));
        case.memory.renew(case.at(3 * SECOND), SECOND);
        assert!(
            case.hits(3 * SECOND),
            "the entry is as good as before, since the stream was complete"
        );
    }

    #[test]
    fn an_answer_does_not_leave_after_the_lease_has_ended() {
        let case = Case::of_stream_at(3);
        case.store(message(), 5, 3);
        case.memory.renew(case.began, SECOND);
        let asked = Cell::new(0);
        let late = || {
            asked.set(asked.get() + 1);
            case.at(if asked.get() == 1 { Duration::ZERO } else { SECOND })
        };
        let question = question(RESOURCE, &[], None);
        assert!(case.memory.look_up(&KEY, &question, late).is_none());
        assert_eq!(asked.get(), 2);
    }

    #[test]
    fn what_is_invalidated_is_outdated() {
        for name in [NAME, "workspaces/acme"] {
            let case = Case::of_stream_at(3);
            case.memory.renew(case.began, SECOND);
            case.store(message(), 5, 7);
            case.invalidate("workspaces/globex", 9);
            case.invalidate(name, 7);
            assert!(case.hits(Duration::ZERO), "the answer was read at revision 7");
            case.invalidate(name, 8);
            assert!(!case.hits(Duration::ZERO), "{name}");
            assert_eq!(case.store(message(), 5, 7), Stored::Refused, "a late answer");
            assert_eq!(case.store(message(), 5, 8), KEPT);
            assert!(case.hits(Duration::ZERO));
            case.memory.invalidate_all(9);
            assert!(!case.hits(Duration::ZERO));
        }
    }

    #[test]
    fn an_answer_from_before_the_stream_or_of_another_epoch_is_used_once() {
        let case = Case::of_stream_at(3);
        case.memory.renew(case.began, SECOND);
        assert_eq!(case.store(message(), 5, 2), Stored::Refused);
        assert_eq!(case.store(message(), 6, 9), Stored::Refused);
        let of_no_revision = Allowed {
            token: VerifiedToken::new(message()),
            revision: None,
            cacheable_for: SECOND,
            sent: case.began,
        };
        assert_eq!(case.memory.store(KEY, of_no_revision), Stored::Refused);
        assert!(!case.hits(Duration::ZERO));
    }

    #[test]
    fn an_entry_lives_as_long_as_its_token() {
        let case = Case::of_stream_at(3);
        case.memory.renew(case.began, 60 * SECOND);
        let expiring = v1::VerifiedToken {
            expire_time: Some(prost_types::Timestamp::default()),
            expires_in: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
            ..message()
        };
        case.store(expiring.clone(), 5, 3);
        assert!(case.hits(5 * SECOND - Duration::from_nanos(1_000)));
        assert!(!case.hits(5 * SECOND), "expired means now >= expire_time");
        let unclear = v1::VerifiedToken {
            expires_in: None,
            ..expiring
        };
        assert_eq!(case.store(unclear, 5, 3), Stored::Refused);
    }

    #[test]
    fn without_a_stream_the_service_says_how_long() {
        let case = Case::without_stream();
        assert_eq!(case.store(message(), 5, 3), KEPT);
        assert!(case.hits(SECOND - Duration::from_micros(1)));
        assert!(!case.hits(SECOND), "counted from when the request was sent");
        let read_through = Allowed {
            token: VerifiedToken::new(message()),
            revision: Some(Revision { epoch: 5, number: 3 }),
            cacheable_for: Duration::ZERO,
            sent: case.began,
        };
        assert_eq!(case.memory.store([8; 32], read_through), Stored::Refused);
    }

    #[test]
    fn only_what_is_clearly_allowed_is_decided_here() {
        let case = Case::of_stream_at(3);
        case.memory.renew(case.began, SECOND);
        case.store(message(), 5, 3);
        for (resource, scopes) in [("workspaces/acme", &["repository"][..]), (RESOURCE, &["webhook"])] {
            let question = question(resource, scopes, None);
            assert!(case.memory.look_up(&KEY, &question, || case.began).is_none());
        }
        let other_token = case
            .memory
            .look_up(&[1; 32], &question(RESOURCE, &[], None), || case.began);
        assert!(other_token.is_none());
    }
}
