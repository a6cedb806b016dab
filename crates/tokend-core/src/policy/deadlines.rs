//! Deadlines: how a policy shortens the lifetime of existing tokens.
//!
//! No token is rewritten. When a policy with a `max_lifetime` is applied to existing tokens, it leaves a deadline:
//! tokens created until now expire no later than now plus that lifetime. A token's expiry is the earliest of its own
//! and of the deadlines that bind it. So no token has to be found, and none can be missed.
//!
//! A deadline that has passed is kept for good: **no edit revives a token**. A deadline in the future can be lifted or
//! replaced.

use std::{fmt, str::FromStr};

use super::Lifetime;
use crate::time::Timestamp;

/// Tokens created until a certain time expire no later than at another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Deadline {
    /// The last creation time that the deadline binds. A token created at exactly this time either follows the new
    /// policy or is bound by the deadline; both lead to the same expiry.
    pub created_until: Timestamp,
    /// When those tokens expire.
    pub end: Timestamp,
}

/// The deadlines of a policy, ordered. A later deadline binds tokens that were created later, and has a later end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deadlines(Vec<Deadline>);

/// A range of tokens that expire earlier under other deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortened {
    /// They were created after this time; no lower bound if `None`.
    pub created_after: Option<Timestamp>,
    /// They were created until this time, inclusive.
    pub created_until: Timestamp,
    /// When they expire, unless their own expiry is earlier.
    pub end: Timestamp,
}

/// The text is not an ordered list of deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be ordered pairs of times, with a colon inside each pair and a space between pairs")]
pub struct MalformedDeadlines;

impl Deadlines {
    /// The most deadlines that one policy keeps. Beyond that, the two oldest passed deadlines become one.
    pub const MAX: usize = 32;

    /// Returns the deadlines, ordered by creation time.
    #[must_use]
    pub fn as_slice(&self) -> &[Deadline] {
        &self.0
    }

    /// Returns whether no token is bound.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns when a token that was created at `create_time` expires, if a deadline binds it.
    #[must_use]
    pub fn end_of(&self, create_time: Timestamp) -> Option<Timestamp> {
        self.0
            .get(self.0.partition_point(|step| step.created_until < create_time))
            .map(|step| step.end)
    }

    /// Returns the time until which a token must have been created to have a deadline that ends before `time`. `None`
    /// if there is no such deadline.
    #[must_use]
    pub fn created_until_ending_before(&self, time: Timestamp) -> Option<Timestamp> {
        self.last_of(self.0.partition_point(|step| step.end < time))
    }

    /// Returns the time until which a token must have been created to have a deadline that has passed at `now`. `None`
    /// if there is no such deadline.
    #[must_use]
    pub fn created_until_ended(&self, now: Timestamp) -> Option<Timestamp> {
        self.last_of(self.0.partition_point(|step| step.end <= now))
    }

    /// Returns the deadlines after a policy edit at `now`. `before` and `after` are the lifetimes that the old and the
    /// new policy apply to existing tokens; `None` if a policy applies none.
    ///
    /// An equal or a shorter lifetime postpones nothing: tokens created in the meantime obeyed the old policy. A longer
    /// lifetime, or none, replaces the deadlines that have not passed.
    #[must_use]
    pub fn after_edit(&self, before: Option<Lifetime>, after: Option<Lifetime>, now: Timestamp) -> Self {
        if before == after {
            return self.clone();
        }
        let is_stricter = matches!((before, after), (Some(before), Some(after)) if after < before);
        let kept = self.0.iter().copied().filter(|step| is_stricter || step.end <= now);
        let added = after.map(|lifetime| Deadline {
            created_until: now,
            end: lifetime.end(now),
        });
        Self::staircase(kept.chain(added).collect()).bounded(now)
    }

    /// Returns the deadlines of two policies combined, as they bind a workspace in an organization.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (_, true) => self.clone(),
            (true, false) => other.clone(),
            (false, false) => Self::staircase(self.0.iter().chain(&other.0).copied().collect()),
        }
    }

    /// Returns the ranges of tokens that expire earlier under these deadlines than under `before`. No token is in two
    /// ranges.
    #[must_use]
    pub fn shortening(&self, before: &Self) -> Vec<Shortened> {
        let mut steps: Vec<_> = self.0.iter().chain(&before.0).map(|step| step.created_until).collect();
        steps.sort_unstable();
        steps.dedup();
        let created_after = std::iter::once(None).chain(steps.iter().copied().map(Some));
        let between = created_after.zip(&steps).filter_map(|(created_after, &created_until)| {
            let end = self.end_of(created_until)?;
            let is_earlier = before.end_of(created_until).is_none_or(|before| end < before);
            is_earlier.then_some(Shortened {
                created_after,
                created_until,
                end,
            })
        });
        between.collect()
    }

    /// Drops deadlines that another one makes redundant.
    fn staircase(mut steps: Vec<Deadline>) -> Self {
        steps.sort_unstable_by_key(|step| (step.created_until, step.end));
        let mut kept: Vec<Deadline> = Vec::with_capacity(steps.len());
        for step in steps.into_iter().rev() {
            if kept.last().is_none_or(|younger| step.end < younger.end) {
                if kept
                    .last()
                    .is_some_and(|younger| step.created_until == younger.created_until)
                {
                    kept.pop();
                }
                kept.push(step);
            }
        }
        kept.reverse();
        Self(kept)
    }

    /// Reduces the deadlines to [`Deadlines::MAX`]. Tokens that have expired stay expired; at most, an earlier time is
    /// reported for them.
    fn bounded(mut self, now: Timestamp) -> Self {
        while self.0.len() > Self::MAX {
            match self.0.partition_point(|step| step.end <= now) {
                // The oldest deadline in the future is dropped, since any of those may be replaced.
                passed @ (0 | 1) => drop(self.0.remove(passed)),
                _ => {
                    let oldest = self.0.remove(0);
                    self.0[0].end = oldest.end;
                }
            }
        }
        self
    }

    fn last_of(&self, count: usize) -> Option<Timestamp> {
        count.checked_sub(1).map(|last| self.0[last].created_until)
    }
}

/// The stored form: pairs of microseconds since the Unix epoch.
impl fmt::Display for Deadlines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Deadline { created_until, end }) in self.0.iter().enumerate() {
            let space = if index > 0 { " " } else { "" };
            write!(f, "{space}{}:{}", created_until.unix_micros(), end.unix_micros())?;
        }
        Ok(())
    }
}

impl FromStr for Deadlines {
    type Err = MalformedDeadlines;

    fn from_str(text: &str) -> Result<Self, MalformedDeadlines> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let time = |micros: &str| {
            micros
                .parse()
                .ok()
                .and_then(|micros| Timestamp::from_unix_micros(micros).ok())
        };
        let step = |pair: &str| {
            let (created_until, end) = pair.split_once(':')?;
            Some(Deadline {
                created_until: time(created_until)?,
                end: time(end)?,
            })
        };
        let steps: Vec<_> = text
            .split(' ')
            .map(step)
            .collect::<Option<_>>()
            .ok_or(MalformedDeadlines)?;
        let rises = |pair: &[Deadline]| pair[0].created_until < pair[1].created_until && pair[0].end < pair[1].end;
        if steps.windows(2).all(rises) {
            Ok(Self(steps))
        } else {
            Err(MalformedDeadlines)
        }
    }
}
