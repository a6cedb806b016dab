//! The client's side of a Watch stream, without its input and output: which pings are open, what a message from the
//! server changes, and from where a cut stream is resumed.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokend_core::{
    feed::Revision,
    lease::Subject,
    rule::{Rule, is_kept},
    time::{BootTime, Clock},
};

use super::{memory::Memory, token::plain_span};
use crate::v1::{self, Ping, Pong, WatchResponse, invalidation};

/// The most pings without a pong. Further ones would not make the lease longer.
const MAX_OPEN_PINGS: usize = 16;
/// The pause between pings until a pong says how long leases last.
const FIRST_INTERVAL: Duration = Duration::from_millis(250);
/// The bounds of the pause between pings.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
const LONGEST_INTERVAL: Duration = Duration::from_secs(5);

/// The memory that verifications use now.
pub(super) type Current = ArcSwap<Memory>;

/// One stream, and what it takes over from the stream that it resumes.
#[derive(Debug)]
pub(super) struct Session {
    /// Nothing until the first pong of a stream that resumes none.
    memory: Option<Arc<Memory>>,
    /// The revision of the latest pong: everything up to it is applied.
    applied: Option<Revision>,
    /// The newest invalidation before the first pong of a stream that resumes none.
    newest_before_pong: Option<Revision>,
    /// The pings without a pong, with the time at which each was sent, oldest first.
    open_pings: VecDeque<(u64, BootTime)>,
    last_ping: u64,
    /// About how long leases last.
    lease: Option<Duration>,
    max_bytes: usize,
}

/// What a message from the server did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// Whether there was a pong.
    pub(super) pong: bool,
    /// Whether everything that was cached had to be dropped.
    pub(super) resync: bool,
}

/// The server broke the protocol, so the stream can't be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("a pong names no open ping")]
    UnknownPing,
    #[error("a pong or an invalidation has no revision")]
    NoRevision,
    #[error("the epoch changed")]
    OtherEpoch,
}

/// What remains of a stream that was cut.
#[derive(Debug)]
pub(super) struct Cut {
    memory: Arc<Memory>,
    applied: Revision,
}

impl Session {
    /// Begins a stream. If `cut` is given, it resumes that one, and keeps its memory and lease.
    pub(super) fn begin(cut: Option<Cut>, max_bytes: usize) -> Self {
        // These rules are about streams that resume none.
        let may_resume = is_kept(Rule::FreshStreamEndsLease) && is_kept(Rule::VerifyKeepsToOneStream);
        let cut = cut.filter(|_| may_resume);
        let (memory, applied) = cut.map(|Cut { memory, applied }| (memory, applied)).unzip();
        Self {
            memory,
            applied,
            newest_before_pong: None,
            open_pings: VecDeque::new(),
            last_ping: 0,
            lease: None,
            max_bytes,
        }
    }

    /// Returns the revision from which the stream resumes an earlier one.
    pub(super) fn resumes(&self) -> Option<v1::Revision> {
        let applied = self.memory.as_ref().and(self.applied).map(message);
        applied.filter(|_| is_kept(Rule::ResumeReplays))
    }

    /// Returns a ping that is sent after `now`, unless too many are open.
    pub(super) fn ping(&mut self, now: BootTime) -> Option<Ping> {
        if self.open_pings.len() >= MAX_OPEN_PINGS {
            return None;
        }
        self.last_ping += 1;
        self.open_pings.push_back((self.last_ping, now));
        Some(Ping {
            number: self.last_ping,
            applied_revision: self.applied.map(message),
        })
    }

    /// Takes back the latest ping, which could not be sent.
    pub(super) fn unsend(&mut self) {
        self.open_pings.pop_back();
    }

    /// Returns the pause between pings: a quarter of a lease.
    pub(super) fn interval(&self) -> Duration {
        self.lease.map_or(FIRST_INTERVAL, |lease| {
            (lease / 4).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL)
        })
    }

    /// Applies a message: a resync first, then the invalidations, then the pong.
    ///
    /// # Errors
    /// [`Broken`]: drop everything and begin a stream that resumes none.
    pub(super) fn receive(&mut self, response: WatchResponse, current: &Current) -> Result<Received, Broken> {
        let WatchResponse {
            invalidations,
            pong,
            resync_required,
        } = response;
        if resync_required && is_kept(Rule::OldResumeResyncs) {
            current.store(Arc::new(Memory::without_stream(self.max_bytes)));
            self.memory = None;
            self.applied = None;
            self.newest_before_pong = None;
        }
        for invalidation in invalidations {
            self.invalidate(invalidation)?;
        }
        let has_pong = pong.is_some();
        if let Some(pong) = pong {
            self.renew(pong, current)?;
        }
        Ok(Received {
            pong: has_pong,
            resync: resync_required,
        })
    }

    fn invalidate(&mut self, invalidation: v1::Invalidation) -> Result<(), Broken> {
        let v1::Invalidation { subject, revision } = invalidation;
        let revision = domain(revision)?;
        let Some(memory) = &self.memory else {
            if self
                .newest_before_pong
                .is_none_or(|newest| newest.number < revision.number)
            {
                self.newest_before_pong = Some(revision);
            }
            return Ok(());
        };
        if memory.epoch() != Some(revision.epoch) {
            return Err(Broken::OtherEpoch);
        }
        let name = match subject {
            Some(invalidation::Subject::Token(name) | invalidation::Subject::Workspace(name)) => name,
            // What the caller may know has changed, so everything that was sent to it is outdated.
            Some(invalidation::Subject::Caller(_)) | None => String::new(),
        };
        match name.parse() {
            Ok(subject @ (Subject::Token(_) | Subject::Workspace(_))) => {
                memory.invalidate(subject.slot(), revision.number);
            }
            _ => memory.invalidate_all(revision.number),
        }
        Ok(())
    }

    fn renew(&mut self, pong: Pong, current: &Current) -> Result<(), Broken> {
        let Pong {
            number,
            lease_remaining,
            revision,
        } = pong;
        let revision = domain(revision)?;
        let mut asked = self.take_ping(number).ok_or(Broken::UnknownPing)?;
        if !is_kept(Rule::SdkLeaseFromSend) {
            asked = Clock::system().boot_time();
        }
        let remaining = lease_remaining.as_ref().and_then(plain_span).unwrap_or_default();
        let memory = match &self.memory {
            Some(memory) if memory.epoch() == Some(revision.epoch) => Arc::clone(memory),
            Some(_) => return Err(Broken::OtherEpoch),
            None => {
                let memory = Arc::new(self.first_memory(revision)?);
                if !is_kept(Rule::FreshStreamEndsLease) {
                    memory.renew(asked, current.load().lease_left(asked));
                }
                current.store(Arc::clone(&memory));
                self.memory = Some(Arc::clone(&memory));
                memory
            }
        };
        memory.renew(asked, remaining);
        self.applied = Some(revision);
        if !remaining.is_zero() {
            // A server's lease is at its longest after it has polled. Forget that slowly.
            let before = self.lease.unwrap_or_default();
            self.lease = Some(remaining.max(before * 7 / 8));
        }
        Ok(())
    }

    /// Returns the memory of a stream that resumes none, at its first pong. An invalidation may have overtaken the
    /// revision of the pong.
    fn first_memory(&self, revision: Revision) -> Result<Memory, Broken> {
        let begins = match self.newest_before_pong {
            Some(newest) if newest.epoch != revision.epoch => return Err(Broken::OtherEpoch),
            Some(newest) if is_kept(Rule::StreamBetweenApplies) => newest.number.max(revision.number),
            Some(_) | None => revision.number,
        };
        let begins = Revision {
            number: if is_kept(Rule::SdkRefusesBelowStreamStart) {
                begins
            } else {
                0
            },
            ..revision
        };
        Ok(Memory::of_stream(begins, self.max_bytes))
    }

    /// Returns when the ping was sent, and forgets it and all earlier ones.
    fn take_ping(&mut self, number: u64) -> Option<BootTime> {
        let index = self.open_pings.iter().position(|(open, _)| *open == number)?;
        let latest = self.open_pings.back().copied();
        let named = self.open_pings.drain(..=index).next_back();
        let ping = if is_kept(Rule::PongNamesPing) { named } else { latest };
        ping.map(|(_, sent)| sent)
    }

    /// Ends the stream. Returns what another one needs to resume it.
    pub(super) fn cut(self) -> Option<Cut> {
        let (memory, applied) = self.memory.zip(self.applied)?;
        Some(Cut { memory, applied })
    }
}

impl Cut {
    /// Returns how much of the lease is left.
    pub(super) fn lease_left(&self, now: BootTime) -> Duration {
        self.memory.lease_left(now)
    }
}

fn message(Revision { epoch, number }: Revision) -> v1::Revision {
    v1::Revision { epoch, number }
}

fn domain(revision: Option<v1::Revision>) -> Result<Revision, Broken> {
    let v1::Revision { epoch, number } = revision.ok_or(Broken::NoRevision)?;
    Ok(Revision { epoch, number })
}

#[cfg(test)]
mod tests;
