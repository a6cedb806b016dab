//! When the tokens of a load were created, when they expire, and which of them were revoked.

use rand::{RngExt, distr::weighted::WeightedIndex, rngs::ChaCha8Rng};
use tokend_core::{
    name::CallerId,
    text::Reason,
    time::Timestamp,
    token::{
        Expiry, Revocation, Token,
        expiry_notice::{ExpiryNotice, SentNotices},
    },
    workspace::WorkspaceState,
};
use tokend_server::background::retention;
use tokend_store::NoticeState;

use crate::BoxError;

/// Microseconds of a day.
const DAY: i64 = 24 * 60 * 60 * 1_000_000;
/// The lifetime of a token that expires, in days.
const LIFETIME: std::ops::RangeInclusive<i64> = 30..=365;
/// The age up to which tokens work that never expire, in days.
const OLDEST: i64 = 730;
/// How many of 100 tokens never expire, will expire, have expired, were revoked.
const FATES: [u32; 4] = [10, 72, 10, 8];

/// The life of a token in microseconds, relative to the moment at which it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    age: i64,
    lifetime: Option<i64>,
    revoked_before: Option<i64>,
}

/// The times of a token.
pub(super) struct Times {
    pub(super) create: Timestamp,
    pub(super) expiry: Expiry,
    pub(super) revoke: Option<Timestamp>,
}

/// Draws lives.
pub(super) struct Lives {
    fates: WeightedIndex<u32>,
    /// How long ago a token may have ended: a server keeps no longer those that have.
    kept: i64,
}

impl Lives {
    pub(super) fn new() -> Result<Self, BoxError> {
        Ok(Self {
            fates: WeightedIndex::new(FATES)?,
            kept: i64::try_from(retention::DEFAULT.as_micros())?,
        })
    }

    pub(super) fn draw(&self, random: &mut ChaCha8Rng) -> Life {
        let lifetime = random.random_range(LIFETIME) * DAY;
        let ended_before = random.random_range(0..self.kept);
        match random.sample(&self.fates) {
            0 => Life {
                age: random.random_range(0..OLDEST * DAY),
                lifetime: None,
                revoked_before: None,
            },
            1 => Life {
                age: random.random_range(0..lifetime),
                lifetime: Some(lifetime),
                revoked_before: None,
            },
            2 => Life {
                age: lifetime + ended_before,
                lifetime: Some(lifetime),
                revoked_before: None,
            },
            _ => Life {
                age: random.random_range(0..lifetime) + ended_before,
                lifetime: Some(lifetime),
                revoked_before: Some(ended_before),
            },
        }
    }
}

impl Life {
    /// Returns the times of a token that is stored now.
    pub(super) fn times(self, now: Timestamp) -> Times {
        let Self {
            age,
            lifetime,
            revoked_before,
        } = self;
        let create = now.saturating_add_micros(-age);
        Times {
            create,
            expiry: lifetime.map_or(Expiry::Never, |lifetime| {
                Expiry::At(create.saturating_add_micros(lifetime))
            }),
            revoke: revoked_before.map(|before| now.saturating_add_micros(-before)),
        }
    }
}

/// Returns the revocation at `at`.
pub(super) fn revocation(at: Timestamp, by: CallerId) -> Result<Revocation, BoxError> {
    Ok(Revocation {
        at,
        by,
        reason: Reason::new("no longer needed".to_owned())?,
    })
}

/// Returns the state of the token's notices as it is when it was stored, and as it is after those were given that were
/// due before `now`. `None` if none was due.
///
/// Otherwise a server would give the notices of a year after it has started, which no real installation has to.
pub(super) fn given_notices(token: &Token, now: Timestamp) -> Option<[NoticeState; 2]> {
    let plan = token.notice_plan(WorkspaceState::Active, token.own_expiry);
    let told = plan
        .due(SentNotices::NONE, now)
        .fold(SentNotices::NONE, SentNotices::with);
    if told == SentNotices::NONE {
        return None;
    }
    let stored = NoticeState {
        told: SentNotices::NONE,
        look_time: plan.next(SentNotices::NONE),
        end_time: None,
    };
    let given = NoticeState {
        told,
        look_time: plan.next(told),
        end_time: token.own_expiry.time().filter(|_| told.has(ExpiryNotice::End)),
    };
    Some([stored, given])
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;

    #[test]
    fn each_fate_has_its_share_and_nothing_ended_too_long_ago() {
        let (lives, mut random) = (Lives::new().expect("weights"), ChaCha8Rng::seed_from_u64(1));
        let now = Timestamp::from_unix_micros(NOW).expect("in range");
        let mut fates = [0_u32; 4];
        for _ in 0..10_000 {
            let times = lives.draw(&mut random).times(now);
            assert!(times.create <= now);
            let fate = match (times.revoke, times.expiry) {
                (Some(at), _) => {
                    assert!(
                        times.create <= at && !times.expiry.has_passed(at),
                        "revoked while it worked"
                    );
                    assert!(now.saturating_since(at) <= retention::DEFAULT);
                    3
                }
                (None, Expiry::Never) => 0,
                (None, Expiry::At(end)) if end > now => 1,
                (None, Expiry::At(end)) => {
                    assert!(now.saturating_since(end) <= retention::DEFAULT);
                    2
                }
            };
            fates[fate] += 1;
        }
        for (found, expected) in fates.into_iter().zip(FATES) {
            assert!(found.abs_diff(expected * 100) < 150, "{fates:?}");
        }
    }
}
