//! Uses of cached tokens, which the service does not see unless they are reported: one report for each token and
//! address, with the last time and all scopes that were required.

use std::{
    mem,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokend_core::time::Timestamp;

use super::{entries::Entry, token::Question};

/// The most tokens that wait for a report. Uses of further ones are not reported.
const MAX_TOKENS: usize = 10_000;
/// The most addresses of a token in a report, as many as the service keeps. Of more, the earlier ones are left out.
const MAX_ADDRESSES: usize = 5;

/// Uses that have not been reported.
#[derive(Debug, Default)]
pub(super) struct Uses {
    /// The entries that have uses.
    waiting: Mutex<Vec<Arc<Entry>>>,
    lost: AtomicU64,
}

/// The uses of one entry that have not been reported, the latest last.
#[derive(Debug, Default)]
pub(super) struct PendingUses(Mutex<Vec<PendingUse>>);

#[derive(Debug)]
struct PendingUse {
    address: Option<IpAddr>,
    time: Timestamp,
    scopes: ScopeBits,
}

/// Which of the token's scopes were required: a bit for each position in its list.
#[derive(Clone, Copy, Debug, Default)]
struct ScopeBits([u64; 4]);

/// The uses of a token from an address.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Use {
    pub(super) token: String,
    pub(super) time: Timestamp,
    pub(super) address: Option<IpAddr>,
    pub(super) scopes: Vec<String>,
}

impl Uses {
    /// Records that a cached token was used.
    pub(super) fn record(&self, entry: &Arc<Entry>, question: &Question, now: Timestamp) {
        let mut pending = lock(&entry.uses.0);
        if pending.is_empty() {
            let mut waiting = lock(&self.waiting);
            if waiting.len() >= MAX_TOKENS {
                self.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
            waiting.push(Arc::clone(entry));
        }
        let known = pending.iter().position(|pending| pending.address == question.address);
        let mut latest = match known {
            Some(index) => pending.remove(index),
            None => {
                if pending.len() >= MAX_ADDRESSES {
                    pending.remove(0);
                }
                PendingUse {
                    address: question.address,
                    time: now,
                    scopes: ScopeBits::default(),
                }
            }
        };
        latest.time = latest.time.max(now);
        for scope in &question.scopes {
            latest
                .scopes
                .insert(entry.token.scopes().iter().position(|own| own == scope));
        }
        pending.push(latest);
    }

    /// Returns whether nothing waits for a report.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.waiting).is_empty()
    }

    /// Returns the uses of some tokens, at most `tokens` of them, which then count as reported.
    pub(super) fn take(&self, tokens: usize) -> Vec<Use> {
        let taken: Vec<_> = {
            let mut waiting = lock(&self.waiting);
            let rest = waiting.len().saturating_sub(tokens);
            waiting.split_off(rest)
        };
        let uses = taken.iter().flat_map(|entry| {
            let pending = mem::take(&mut *lock(&entry.uses.0));
            pending.into_iter().map(|pending| pending.of(entry))
        });
        uses.collect()
    }

    /// Returns how many uses could not be recorded because too many tokens waited.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl PendingUse {
    fn of(self, entry: &Entry) -> Use {
        let scopes = entry.token.scopes().iter().enumerate();
        let required = scopes.filter(|(index, _)| self.scopes.contains(*index));
        Use {
            token: entry.token.name().to_owned(),
            time: self.time,
            address: self.address,
            scopes: required.map(|(_, scope)| scope.clone()).collect(),
        }
    }
}

impl ScopeBits {
    fn insert(&mut self, index: Option<usize>) {
        let Some(index) = index else { return };
        if let Some(word) = self.0.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
    }

    fn contains(self, index: usize) -> bool {
        self.0
            .get(index / 64)
            .is_some_and(|word| word & (1 << (index % 64)) != 0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokend_core::time::Clock;

    use super::*;
    use crate::guard::{
        VerifiedToken,
        token::tests::{NAME, message, question},
    };

    const RESOURCE: &str = "workspaces/acme/projects/web";

    fn entry() -> Arc<Entry> {
        let token = VerifiedToken::new(message());
        let slots = token.slots().expect("slots");
        Arc::new(Entry::new(token, slots, 1, None, Clock::system().boot_time()))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds, 0).expect("in range")
    }

    #[test]
    fn uses_of_a_token_from_an_address_are_one_report() {
        let (uses, entry) = (Uses::default(), entry());
        let home = Some("192.0.2.7");
        uses.record(&entry, &question(RESOURCE, &["repository:write"], home), at(1));
        uses.record(&entry, &question(RESOURCE, &[], None), at(2));
        uses.record(&entry, &question(RESOURCE, &["repository"], home), at(3));
        let of = |address: Option<&str>, time, scopes: &[&str]| Use {
            token: NAME.to_owned(),
            time,
            address: address.map(|address| address.parse().expect("an address")),
            scopes: scopes.iter().map(ToString::to_string).collect(),
        };
        assert!(!uses.is_empty());
        assert_eq!(
            uses.take(10),
            [
                of(None, at(2), &[]),
                of(home, at(3), &["repository", "repository:write"])
            ]
        );
        assert!(uses.is_empty() && uses.take(10).is_empty());
        uses.record(&entry, &question(RESOURCE, &[], home), at(4));
        assert_eq!(
            uses.take(10),
            [of(home, at(4), &[])],
            "what was reported is not reported again"
        );
    }

    #[test]
    fn reports_are_bounded() {
        let uses = Uses::default();
        let entries: Vec<_> = (0..=MAX_TOKENS).map(|_| entry()).collect();
        for entry in &entries {
            uses.record(entry, &question(RESOURCE, &[], None), at(1));
        }
        assert_eq!(uses.lost(), 1);
        assert_eq!(uses.take(256).len(), 256);
        let wanderer = entry();
        for last in 0..20 {
            let address = format!("192.0.2.{last}");
            uses.record(&wanderer, &question(RESOURCE, &[], Some(&address)), at(1));
        }
        let addresses: Vec<_> = uses.take(1).into_iter().filter_map(|used| used.address).collect();
        let latest: Vec<IpAddr> = (15..20).map(|last| IpAddr::from([192, 0, 2, last])).collect();
        assert_eq!(addresses, latest);
    }
}
