//! Deadlines: how a policy reaches back to tokens that there are.
//!
//! No token is rewritten. A policy that is applied at some time with a longest lifetime leaves a step: tokens made up to then end no later
//! than that time and lifetime. A token's end is the earliest of its own and those of the steps that bind it, so that nothing has to find
//! the tokens, and nothing can miss one.
//!
//! A step whose end has come is kept for good: **no edit revives a token**. One that is ahead can be lifted or replaced.

use std::{fmt, str::FromStr};

use super::Lifetime;
use crate::time::Timestamp;

/// Tokens made up to some time end no later than at another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Deadline {
    /// The last moment of making that it binds. A token made in that very moment obeys the policy that came in it, or is bound: to the
    /// same end.
    pub made_until: Timestamp,
    /// From when on those tokens are expired.
    pub end: Timestamp,
}

/// Deadlines that bind the same tokens: a staircase on which later ones bind younger tokens, to a later end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deadlines(Vec<Deadline>);

/// Tokens whose end comes earlier under other deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortened {
    /// They were made after this time, if there is one.
    pub made_after: Option<Timestamp>,
    /// They were made up to this time.
    pub made_until: Timestamp,
    /// Their end, for those whose own does not come before.
    pub end: Timestamp,
}

/// Text that is no staircase of deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must hold pairs of times with a colon between, ordered, one space from pair to pair")]
pub struct MalformedDeadlines;

impl Deadlines {
    /// Most steps that one policy leaves. Of more, the two oldest that have come become one.
    pub const MAX: usize = 32;

    /// The steps, the oldest tokens' first.
    #[must_use]
    pub fn as_slice(&self) -> &[Deadline] {
        &self.0
    }

    /// Whether no token is bound.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The end of a token that was made at `create_time`, if one is set.
    #[must_use]
    pub fn end_of(&self, create_time: Timestamp) -> Option<Timestamp> {
        self.0.get(self.0.partition_point(|step| step.made_until < create_time)).map(|step| step.end)
    }

    /// Tokens made up to the time that is returned, and no others, are given an end that lies before `time`.
    #[must_use]
    pub fn made_until_ending_before(&self, time: Timestamp) -> Option<Timestamp> {
        self.last_of(self.0.partition_point(|step| step.end < time))
    }

    /// Tokens made up to the time that is returned, and no others, have been ended at `now`.
    #[must_use]
    pub fn made_until_ended(&self, now: Timestamp) -> Option<Timestamp> {
        self.last_of(self.0.partition_point(|step| step.end <= now))
    }

    /// What is left of them when a policy that was applied with the lifetime `before`, or not at all, is replaced at `now` by one that is
    /// applied with `after`, or not at all.
    ///
    /// The same lifetime postpones nothing: what was made meanwhile obeyed it. A shorter one postpones nothing either. A longer one, or
    /// none, takes the place of what is still ahead.
    #[must_use]
    pub fn after_edit(&self, before: Option<Lifetime>, after: Option<Lifetime>, now: Timestamp) -> Self {
        if before == after {
            return self.clone();
        }
        let is_stricter = matches!((before, after), (Some(before), Some(after)) if after < before);
        let kept = self.0.iter().copied().filter(|step| is_stricter || step.end <= now);
        let added = after.map(|lifetime| Deadline { made_until: now, end: lifetime.end(now) });
        Self::staircase(kept.chain(added).collect()).bounded(now)
    }

    /// These and `other` together, as they bind a token of a workspace that is in an organization.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (_, true) => self.clone(),
            (true, false) => other.clone(),
            (false, false) => Self::staircase(self.0.iter().chain(&other.0).copied().collect()),
        }
    }

    /// Tokens whose end comes earlier under these than under `before`; each is in one entry at most.
    #[must_use]
    pub fn shortening(&self, before: &Self) -> Vec<Shortened> {
        let mut steps: Vec<_> = self.0.iter().chain(&before.0).map(|step| step.made_until).collect();
        steps.sort_unstable();
        steps.dedup();
        let made_after = std::iter::once(None).chain(steps.iter().copied().map(Some));
        let between = made_after.zip(&steps).filter_map(|(made_after, &made_until)| {
            let end = self.end_of(made_until)?;
            let is_earlier = before.end_of(made_until).is_none_or(|before| end < before);
            is_earlier.then_some(Shortened { made_after, made_until, end })
        });
        between.collect()
    }

    /// Leaves out what is bound by another step at least as tightly.
    fn staircase(mut steps: Vec<Deadline>) -> Self {
        steps.sort_unstable_by_key(|step| (step.made_until, step.end));
        let mut kept: Vec<Deadline> = Vec::with_capacity(steps.len());
        for step in steps.into_iter().rev() {
            if kept.last().is_none_or(|younger| step.end < younger.end) {
                if kept.last().is_some_and(|younger| step.made_until == younger.made_until) {
                    kept.pop();
                }
                kept.push(step);
            }
        }
        kept.reverse();
        Self(kept)
    }

    /// Not more than [`Deadlines::MAX`]. What has ended stays so, at a time that is at most told to be earlier.
    fn bounded(mut self, now: Timestamp) -> Self {
        while self.0.len() > Self::MAX {
            match self.0.partition_point(|step| step.end <= now) {
                // Of those that are ahead the oldest is replaced, as any of them may be.
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
        count.checked_sub(1).map(|last| self.0[last].made_until)
    }
}

/// The form in which they are stored: microseconds since the Unix epoch.
impl fmt::Display for Deadlines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Deadline { made_until, end }) in self.0.iter().enumerate() {
            let space = if index > 0 { " " } else { "" };
            write!(f, "{space}{}:{}", made_until.unix_micros(), end.unix_micros())?;
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
        let time = |micros: &str| micros.parse().ok().and_then(|micros| Timestamp::from_unix_micros(micros).ok());
        let step = |pair: &str| {
            let (made_until, end) = pair.split_once(':')?;
            Some(Deadline { made_until: time(made_until)?, end: time(end)? })
        };
        let steps: Vec<_> = text.split(' ').map(step).collect::<Option<_>>().ok_or(MalformedDeadlines)?;
        let rises = |pair: &[Deadline]| pair[0].made_until < pair[1].made_until && pair[0].end < pair[1].end;
        if steps.windows(2).all(rises) { Ok(Self(steps)) } else { Err(MalformedDeadlines) }
    }
}
