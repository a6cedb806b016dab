//! Counters of a guard.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
};

use super::DeniedKind;

/// What a guard has done since it was created, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardStats {
    /// Requests that were allowed from the cache.
    pub hits: u64,
    /// Questions that the cache could not answer.
    pub misses: u64,
    /// Calls of Verify that were sent. Fewer than misses if several requests shared one.
    pub calls: u64,
    /// Requests that were allowed, from the cache or by the service.
    pub allowed: u64,
    /// Requests that were denied, by the name of their [`DeniedKind`]. Kinds without any are left out.
    pub denied: BTreeMap<&'static str, u64>,
    /// Requests that shadow mode let through although they would have been denied, likewise.
    pub shadow_denied: BTreeMap<&'static str, u64>,
    /// Requests that could not be decided because of an outage: part of `denied` or `shadow_denied`.
    pub outages: u64,
    /// Answers that were used once and not cached, because they were older than what the stream had invalidated.
    pub refused_answers: u64,
    /// Entries that left the cache because there was no room.
    pub evictions: u64,
    /// The tokens in the cache.
    pub cached_tokens: usize,
    /// About how many bytes they take.
    pub cached_bytes: usize,
    /// The state of the stream.
    pub stream: StreamState,
    /// How often a stream began.
    pub streams: u64,
    /// How often everything in the cache had to be dropped because the service could not say what had changed.
    pub resyncs: u64,
    /// Reports of uses of cached tokens that were sent.
    pub reported_uses: u64,
    /// Uses that are not reported because too many tokens waited for their report.
    pub lost_uses: u64,
}

/// The state of the stream that keeps the cache up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamState {
    /// There is no stream yet, or it was cut and is being opened again.
    #[default]
    Connecting,
    /// The stream is open.
    Open,
    /// The service has no Watch, or refuses it. Answers are cached for as long as each one says.
    Refused,
    /// The guard caches nothing, or was shut down.
    Off,
}

/// The counters behind [`GuardStats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) calls: AtomicU64,
    pub(super) allowed: AtomicU64,
    pub(super) denied: ByKind,
    pub(super) shadow_denied: ByKind,
    pub(super) refused_answers: AtomicU64,
    pub(super) evictions: AtomicU64,
    pub(super) streams: AtomicU64,
    pub(super) resyncs: AtomicU64,
    pub(super) reported_uses: AtomicU64,
    stream: AtomicU8,
}

#[derive(Debug, Default)]
pub(super) struct ByKind([AtomicU64; DeniedKind::ALL.len()]);

impl ByKind {
    pub(super) fn count(&self, kind: DeniedKind) {
        if let Some(counter) = self.0.get(kind as usize) {
            add(counter, 1);
        }
    }

    fn snapshot(&self) -> BTreeMap<&'static str, u64> {
        let counts = DeniedKind::ALL
            .into_iter()
            .map(DeniedKind::as_str)
            .zip(self.0.iter().map(get));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

impl Counters {
    pub(super) fn set_stream(&self, state: StreamState) {
        self.stream.store(state as u8, Ordering::Relaxed);
    }

    /// Returns the counts. What the cache and the uses know themselves is left at zero.
    pub(super) fn snapshot(&self) -> GuardStats {
        let (denied, shadow_denied) = (self.denied.snapshot(), self.shadow_denied.snapshot());
        let outages = |counts: &BTreeMap<&'static str, u64>| {
            counts
                .get(DeniedKind::Unavailable.as_str())
                .copied()
                .unwrap_or_default()
        };
        GuardStats {
            hits: get(&self.hits),
            misses: get(&self.misses),
            calls: get(&self.calls),
            allowed: get(&self.allowed),
            outages: outages(&denied) + outages(&shadow_denied),
            denied,
            shadow_denied,
            refused_answers: get(&self.refused_answers),
            evictions: get(&self.evictions),
            stream: match self.stream.load(Ordering::Relaxed) {
                state if state == StreamState::Open as u8 => StreamState::Open,
                state if state == StreamState::Refused as u8 => StreamState::Refused,
                state if state == StreamState::Off as u8 => StreamState::Off,
                _ => StreamState::Connecting,
            },
            streams: get(&self.streams),
            resyncs: get(&self.resyncs),
            reported_uses: get(&self.reported_uses),
            ..GuardStats::default()
        }
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
