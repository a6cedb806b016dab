//! What this process remembers of the database, and until when it may be trusted.

mod reading;

use std::{
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use tokend_core::{
    caller::{Caller, CallerKey, CertificateSan},
    credential::CredentialId,
    feed::{FeedEntry, Revision},
    lease::{Lease, SlotKey, Slots},
    name::WorkspaceId,
    rule::{self, Rule},
    time::{BootTime, Clock},
    token::TokenContext,
};
use tokend_store::FeedPage;

pub(crate) use self::reading::{Kept, Reading};
use super::{token_cache::TokenCache, watchers::Watchers};

/// The number of slots. Each takes 8 bytes.
const SLOTS: usize = 1 << 16;

/// The most workspaces, caller keys and certificates that are remembered, of each. They are few. A map that is full is
/// emptied, so that a client that invents certificates takes no more than this.
const MAX_ENTRIES: usize = 1 << 16;

/// The memory of the current epoch.
#[derive(Debug)]
pub(super) struct Memory {
    clock: Clock,
    current: ArcSwap<Generation>,
    max_bytes: usize,
    pub(super) watchers: Watchers,
}

/// The memory of one epoch. It is replaced as a whole, so that what was read in one epoch is never compared with what
/// was read in another.
#[derive(Debug)]
struct Generation {
    /// As clients see it.
    epoch: u64,
    /// Every change up to this revision is applied to the slots.
    head: AtomicU64,
    slots: Slots,
    lease: Lease,
    tokens: TokenCache,
    workspaces: Entries<WorkspaceId, Arc<TokenContext>>,
    keys: Entries<CredentialId, RememberedKey>,
    certificates: Entries<Vec<CertificateSan>, Arc<Caller>>,
}

/// What is remembered of one kind, except for tokens.
type Entries<K, T> = papaya::HashMap<K, Arc<Cached<T>>, RandomState>;

/// Something that was read at a revision. Its slots say whether it is up to date.
#[derive(Debug)]
struct Cached<T> {
    value: T,
    revision: u64,
    slots: [SlotKey; 2],
}

/// A caller key in memory, and its caller.
#[derive(Clone, Debug)]
pub(crate) struct RememberedKey {
    pub(crate) key: Arc<CallerKey>,
    pub(crate) caller: Arc<Caller>,
}

/// What an applied poll says about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// The lease is renewed.
    UpToDate,
    /// There are more entries than one poll reads. The lease is not renewed.
    More,
    /// Memory was emptied: the epoch is another one, or entries were purged before they were read.
    Emptied,
    /// The head is lower than before in the same epoch. Somebody has put an older database in place of this one.
    WentBack,
}

impl Memory {
    /// Creates a memory that is not trusted until something is applied.
    pub(super) fn new(clock: Clock, max_bytes: usize) -> Self {
        let unknown = Revision { epoch: 0, number: 0 };
        Self {
            clock,
            current: ArcSwap::from_pointee(Generation::since(unknown, max_bytes)),
            max_bytes,
            watchers: Watchers::default(),
        }
    }

    /// Returns the memory for a request, if a lease runs and `min_revision` is known to be applied.
    pub(super) fn reading(&self, min_revision: Option<Revision>) -> Option<Reading> {
        let generation = self.current.load();
        let now = self.clock.boot_time();
        let lease = generation.lease.remaining(now);
        let head = generation.head.load(Ordering::Acquire);
        let is_reached = min_revision.is_none_or(|min| min.epoch == generation.epoch && min.number <= head);
        let needs_lease = rule::is_kept(Rule::LeaseBeforeLookUp) && rule::is_kept(Rule::OutageIsUnavailable);
        (is_reached && (!lease.is_zero() || !needs_lease)).then_some(Reading {
            generation,
            now,
            lease,
            head,
        })
    }

    /// Returns the revision up to which changes are applied, as clients see it.
    pub(super) fn head(&self) -> Revision {
        self.current.load().revision()
    }

    /// Returns the number of tokens in memory, and the bytes that they take.
    pub(super) fn size(&self) -> (usize, usize) {
        let generation = self.current.load();
        (generation.tokens.len(), generation.tokens.bytes())
    }

    /// Applies the answer to a poll that was sent at `asked` (L2): raises slots, tells the watchers, and only then renews
    /// the lease. Polls are applied one at a time.
    pub(super) fn apply(&self, asked: BootTime, page: &FeedPage) -> Applied {
        // A stream begins between two applies, never inside one (S3).
        let mut streams = self.watchers.lock();
        let generation = self.current.load_full();
        let known = generation.revision();
        if page.head.epoch != known.epoch || !page.is_gapless_after(known.number) && page.head.number > known.number {
            // Everyone who watches has to begin anew, before anyone trusts the new memory (L5).
            streams.resync();
            generation.lease.end();
            let emptied = Generation::since(page.head, self.max_bytes);
            emptied.lease.renew(asked, page.terms.grant);
            self.current.store(Arc::new(emptied));
            return Applied::Emptied;
        }
        if page.head.number < known.number {
            generation.lease.end();
            return Applied::WentBack;
        }
        let grant = page.terms.grant * if rule::is_kept(Rule::GrantWithinWait) { 1 } else { 2 };
        if !rule::is_kept(Rule::ApplyBeforeRenew) {
            generation.lease.renew(asked, grant);
            thread::sleep(rule::WINDOW);
        }
        for entry in &page.entries {
            generation.raise(entry);
            streams.forward(entry);
            generation.head.store(entry.revision.number, Ordering::Release);
            if !rule::is_kept(Rule::ApplyEveryRow) {
                break;
            }
        }
        if !page.is_complete_after(known.number) {
            return Applied::More;
        }
        generation.lease.renew(asked, grant);
        Applied::UpToDate
    }

    /// Begins to trust memory for as long as this process runs, because nobody else writes to the database.
    pub(super) fn embed(&self, head: Revision) {
        let generation = Generation::since(head, self.max_bytes);
        generation.lease.renew(self.clock.boot_time(), Duration::MAX);
        self.current.store(Arc::new(generation));
    }

    /// Applies a change that this process has made to its own database, whatever COMMIT answered.
    pub(super) fn apply_own(&self, entry: &FeedEntry, is_acknowledged: bool) {
        let mut streams = self.watchers.lock();
        let generation = self.current.load_full();
        if generation.epoch != entry.revision.epoch {
            return;
        }
        generation.raise(entry);
        streams.forward(entry);
        if is_acknowledged {
            generation.head.fetch_max(entry.revision.number, Ordering::AcqRel);
        }
    }
}

impl Generation {
    /// Creates a memory in which nothing is older than `head` (L5). It has no lease yet.
    fn since(head: Revision, max_bytes: usize) -> Self {
        Self {
            epoch: head.epoch,
            head: AtomicU64::new(head.number),
            slots: Slots::since(head.number, SLOTS),
            lease: Lease::ended(),
            tokens: TokenCache::new(max_bytes),
            workspaces: Entries::default(),
            keys: Entries::default(),
            certificates: Entries::default(),
        }
    }

    fn revision(&self) -> Revision {
        Revision {
            epoch: self.epoch,
            number: self.head.load(Ordering::Acquire),
        }
    }

    fn raise(&self, entry: &FeedEntry) {
        for subject in &entry.subjects {
            self.slots.raise(subject.slot(), entry.revision.number);
        }
    }

    fn admits<T>(&self, cached: &Cached<T>) -> bool {
        cached
            .slots
            .iter()
            .all(|slot| self.slots.admits(*slot, cached.revision))
    }

    fn get<K: Hash + Eq, T>(&self, entries: &Entries<K, T>, key: &K) -> Option<Arc<Cached<T>>> {
        entries.pin().get(key).filter(|cached| self.admits(cached)).cloned()
    }
}

/// Keeps what was read, unless something newer is there.
fn keep<K: Hash + Eq, T>(entries: &Entries<K, T>, key: K, cached: Cached<T>) {
    let entries = entries.pin();
    if entries.len() >= MAX_ENTRIES {
        entries.clear();
    }
    if entries.get(&key).is_none_or(|found| found.revision <= cached.revision) {
        entries.insert(key, Arc::new(cached));
    }
}
