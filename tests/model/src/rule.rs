//! The rules of the protocol, one variant each, and the set of those that a scenario leaves out.

/// Declares [`Rule`], `Rule::ALL` and `Rule::numbers` from one list.
macro_rules! rules {
    ($($(#[doc = $sentence:literal])+ $($number:ident)+ => $rule:ident,)+) => {
        /// One rule of the protocol, with its number in the protocol's text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $($(#[doc = $sentence])+ #[doc = concat!("\n\nNumber:" $(, " ", stringify!($number))+, ".")] $rule,)+
        }

        impl Rule {
            /// Every rule, in the order of the protocol's text.
            pub const ALL: &[Rule] = &[$(Rule::$rule),+];

            /// Returns the rule's numbers in the protocol's text, such as `V1 V6`.
            pub fn numbers(self) -> &'static str {
                match self { $(Rule::$rule => concat!($(stringify!($number), " ",)+).trim_ascii_end(),)+ }
            }
        }
    };
}

rules! {
    // Writing.
    /// A write that takes a revision locks the feed row until COMMIT, so that revisions are committed in their order.
    W1 => FeedRowLock,
    /// A poll that misses a revision, because its feed row was purged, resets the whole memory.
    W2 L5 => GapResets,
    /// A COMMIT acknowledged with a warning has an unknown outcome: it may not have reached the standby.
    W5 => WarnedCommitIsUnknown,
    /// COMMIT waits for a synchronous standby, so that a promotion keeps everything that was acknowledged.
    W5 => SynchronousReplication,
    /// The answer to a change names the epoch of its own COMMIT, not the one that the server remembers.
    W6 L4 => AnswerNamesItsEpoch,

    // Waiting.
    /// An answer that something is dead is held back for as long as a lease may run.
    C1 => AnswerWaits,
    /// The wait starts when COMMIT is acknowledged, not when the revision is taken.
    C1 => WaitFromAcknowledgement,
    /// An answer that finds the thing dead or gone already, such as that of a repeat, waits like that of the change.
    C2 => RepeatWaits,
    /// A repeat takes its own revision, so that its COMMIT comes after the change that it found.
    C2 => RepeatTakesRevision,
    /// The statement that takes the revision reads the wait.
    C4 => WaitReadWithRevision,
    /// The wait is longer than the longest lease by a margin for clock drift.
    C5 => Margin,

    // Polling and leases.
    /// A poll's answer is a snapshot of the primary, taken after the poll started.
    L1 => PollReadsPrimary,
    /// A server has one poll at a time, and never applies the answer of an abandoned poll.
    L1 => OnePoll,
    /// A lease counts from the start of its poll, not from the poll's answer.
    L2 => LeaseFromPollStart,
    /// Slots are raised before the lease is renewed.
    L2 => ApplyBeforeRenew,
    /// The lease is renewed only when every feed row up to the head is applied.
    L2 => ApplyEveryRow,
    /// The streams of a revoked caller are cut before the lease is renewed.
    L2 S2 => CutCallerBeforeRenew,
    /// No lease is longer than the wait.
    L3 => GrantWithinWait,
    /// Raising the lease changes grant and wait in one commit.
    L3 => RaiseTogether,
    /// Lowering the lease waits out the old wait, because leases of an earlier, longer grant may still run.
    L3 => LowerWaitsOldWait,
    /// Lowering the lease lowers the wait only if the terms have not changed meanwhile.
    L3 => LowerIsGuarded,
    /// The epoch includes PostgreSQL's timeline, which a promotion changes.
    L4 => EpochIncludesTimeline,
    /// A new epoch raises every slot to the head.
    L5 => ResetRaisesSlots,
    /// A restored database begins a new epoch before any server serves.
    L5 => RestoreBeginsEpoch,
    /// A deposed primary does not answer.
    L6 => DeposedPrimaryIsFenced,

    // Verify.
    /// Verify reads the lease before it looks into memory.
    V1 => LeaseBeforeLookUp,
    /// The revision in an answer is the head as it was before the look-up.
    V1 V6 => HeadBeforeLookUp,
    /// The bound of `cacheable_for` is the lease that was read before the look-up.
    V1 S5 => BoundBeforeLookUp,
    /// Every hit compares the entry with its slot.
    V2 => SlotOnHit,
    /// An entry of another epoch is a miss.
    V2 => EpochOnHit,
    /// A fill reads the row and the revision in one snapshot.
    V3 => FillInOneSnapshot,
    /// A Verify that can't be answered from memory reads the primary.
    V4 => ReadThroughPrimary,
    /// A server without a lease that can't read the database answers UNAVAILABLE.
    V4 => OutageIsUnavailable,
    /// A Verify whose `min_revision` is beyond the head, or of another epoch, is read through.
    V4 => MinRevisionReadsThrough,

    // Embedded.
    /// `serve` holds an exclusive lock beside the database file; no other process writes.
    Embedded => ExclusiveLock,
    /// Memory is invalidated regardless of the result of COMMIT.
    Embedded => InvalidateAfterError,
    /// Memory is invalidated before the next write begins.
    Embedded => InvalidateBeforeNextWrite,
    /// Changes wait for the longest Watch lease from before the process's restart.
    Embedded => WaitAfterStart,
    /// The end of a Watch lease is recorded before its pong leaves.
    Embedded => LeaseRecordedBeforePong,
    /// Invalidations are queued before the writer looks which Watch leases run.
    Embedded => QueueBeforeLeasesAreRead,

    // Watch and the SDK.
    /// A pong leaves after all invalidations up to its revision.
    S1 => PongAfterInvalidations,
    /// The SDK's lease counts from the sending of its ping.
    S1 => SdkLeaseFromSend,
    /// A pong names its ping.
    S1 => PongNamesPing,
    /// A stream begins between applies, never inside one.
    S3 => StreamBetweenApplies,
    /// A fresh stream, one that resumes none, begins without a lease: its server may lag behind that of the last
    /// stream.
    S3 => FreshStreamEndsLease,
    /// A Verify takes lease and slot from the same stream, though another one begins meanwhile.
    V1 S3 => VerifyKeepsToOneStream,
    /// A resumed stream first replays what was missed.
    S3 => ResumeReplays,
    /// A stream whose missed feed rows were purged can't be resumed.
    S3 => OldResumeResyncs,
    /// The SDK refuses an answer older than its slot.
    S4 => SdkRefusesBelowSlot,
    /// The SDK refuses an answer older than the revision at which its stream began.
    S4 => SdkRefusesBelowStreamStart,
    /// `cacheable_for` counts from the sending of the request.
    S5 => CacheableFromSend,
    /// A read-through answer must not be cached.
    S5 => ReadThroughIsNotCached,
    /// The SDK answers from its cache only under its lease.
    S6 => SdkChecksLease,
    /// A stream whose queue is full is cut; no message is dropped.
    S6 => SlowStreamIsCut,
}

/// The rules that a scenario leaves out. Empty for the protocol itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Broken(u64);

impl Broken {
    pub(crate) fn only(rule: Rule) -> Self {
        Self(1 << rule as u64)
    }

    pub(crate) fn keeps(self, rule: Rule) -> bool {
        self.0 >> (rule as u64) & 1 == 0
    }
}

// One bit for each rule.
const _: () = assert!(Rule::ALL.len() <= u64::BITS as usize);
