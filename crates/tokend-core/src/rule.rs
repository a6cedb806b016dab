//! Rules of the revocation protocol that tests leave out, to see that the loss of each one is noticed.
//!
//! Where the code keeps such a rule, it asks [`is_kept`]. In a build without debug assertions, as every release build is,
//! that is `true` at compile time: nothing of this module is left in the program, and no rule can be left out. A Cargo
//! feature would not do, because features are united across a workspace: the tests would turn it on for the program,
//! too.
//!
//! In other builds, only the programs under test can leave out a rule; `clippy.toml` forbids it to everybody else.

use std::time::Duration;

/// Declares [`Rule`], `Rule::ALL` and `Rule::name` from one list.
macro_rules! rules {
    ($($number:ident: $($rule:ident)+;)+) => {
        /// A rule that can be left out, by its name in `tests/model/src/rule.rs`, which says what it demands.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Rule {
            $($(#[doc = concat!("A part of ", stringify!($number), " in `docs/revocation-protocol.md`.")] $rule,)+)+
        }

        #[cfg(debug_assertions)]
        impl Rule {
            /// Every rule that can be left out.
            pub const ALL: &[Self] = &[$($(Self::$rule,)+)+];

            /// Returns the rule's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $($(Self::$rule => stringify!($rule),)+)+
                }
            }
        }
    };
}

rules! {
    W2: GapResets;
    C1: AnswerWaits WaitFromAcknowledgement;
    C2: RepeatWaits;
    C4: WaitReadWithRevision;
    L2: LeaseFromPollStart ApplyBeforeRenew ApplyEveryRow CutCallerBeforeRenew;
    L3: GrantWithinWait LowerWaitsOldWait LowerIsGuarded;
    V1: LeaseBeforeLookUp HeadBeforeLookUp BoundBeforeLookUp;
    V2: SlotOnHit;
    V3: FillInOneSnapshot;
    V4: OutageIsUnavailable MinRevisionReadsThrough;
    Embedded: InvalidateBeforeNextWrite WaitAfterStart LeaseRecordedBeforePong;
    S1: PongAfterInvalidations SdkLeaseFromSend PongNamesPing;
    S3: StreamBetweenApplies FreshStreamEndsLease VerifyKeepsToOneStream ResumeReplays OldResumeResyncs;
    S4: SdkRefusesBelowSlot SdkRefusesBelowStreamStart;
    S5: CacheableFromSend ReadThroughIsNotCached;
    S6: SdkChecksLease SlowStreamIsCut;
}

/// For how long a hook keeps a window open that is otherwise too short to be hit, when its rule is left out.
pub const WINDOW: Duration = Duration::from_millis(500);

/// Returns whether the code has to keep the rule.
#[cfg(not(debug_assertions))]
#[must_use]
#[inline]
pub const fn is_kept(_: Rule) -> bool {
    true
}

#[cfg(debug_assertions)]
pub use left_out::{is_kept, leave_out};

#[cfg(debug_assertions)]
mod left_out {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Rule;

    // One bit for each rule.
    const _: () = assert!(Rule::ALL.len() <= u64::BITS as usize);
    static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

    /// Returns whether the code has to keep the rule.
    #[must_use]
    #[inline]
    pub fn is_kept(rule: Rule) -> bool {
        LEFT_OUT.load(Ordering::Relaxed) & bit(rule) == 0
    }

    /// Leaves out the rule from now on, in the whole process.
    pub fn leave_out(rule: Rule) {
        LEFT_OUT.fetch_or(bit(rule), Ordering::Relaxed);
    }

    const fn bit(rule: Rule) -> u64 {
        1 << rule as u64
    }
}
