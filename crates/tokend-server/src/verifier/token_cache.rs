//! Tokens in memory, within a number of bytes.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use foldhash::fast::RandomState;
use papaya::HashMap;
use tokend_core::{credential::CredentialId, lease::SlotKey, token::Token};

/// A token as it was at a revision. Whether that is up to date, its slot says.
#[derive(Debug)]
pub(super) struct CachedToken {
    pub(super) token: Arc<Token>,
    pub(super) revision: u64,
    pub(super) slot: SlotKey,
    /// Whether it was used since the clock's hand passed. That keeps it in memory, and never makes it newer.
    used: AtomicBool,
    bytes: usize,
}

/// A map of tokens that takes no more than a number of bytes.
///
/// What was not used since the hand passed is evicted first (the clock algorithm, Corbató 1968). A look-up takes no
/// lock; only insertions move the hand.
#[derive(Debug)]
pub(super) struct TokenCache {
    tokens: HashMap<CredentialId, Arc<CachedToken>, RandomState>,
    /// Every id in the map, in the order in which the hand reaches it.
    hand: Mutex<VecDeque<CredentialId>>,
    bytes: AtomicUsize,
    max_bytes: usize,
}

/// What an entry takes besides the token's own fields: its places in the map and in the order of the hand, and what the
/// allocator adds.
const OVERHEAD: usize = 160;

/// What each entry of a list of texts takes besides the text.
const PER_TEXT: usize = size_of::<String>() + 16;

impl TokenCache {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            tokens: HashMap::default(),
            hand: Mutex::default(),
            bytes: AtomicUsize::new(0),
            max_bytes,
        }
    }

    /// Calls `then` with the token, if it is here.
    pub(super) fn with<R>(&self, id: CredentialId, then: impl FnOnce(&CachedToken) -> Option<R>) -> Option<R> {
        let tokens = self.tokens.pin();
        let found = tokens.get(&id)?;
        // Written once for each round of the hand, so that hits share the cache line.
        if !found.used.load(Ordering::Relaxed) {
            found.used.store(true, Ordering::Relaxed);
        }
        then(found)
    }

    /// Keeps a token that was read at `revision`, unless a newer one is there.
    pub(super) fn insert(&self, token: Arc<Token>, revision: u64, slot: SlotKey) {
        let id = token.name.id;
        let bytes = bytes(&token);
        if bytes > self.max_bytes {
            return;
        }
        let entry = Arc::new(CachedToken {
            token,
            revision,
            slot,
            used: AtomicBool::new(false),
            bytes,
        });
        // Insertions are fills, which have read the database: a lock costs them nothing.
        let mut hand = self.hand.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = self.tokens.pin();
        match tokens.get(&id) {
            Some(found) if found.revision > revision => return,
            Some(found) => {
                self.bytes.fetch_sub(found.bytes, Ordering::Relaxed);
            }
            None => hand.push_back(id),
        }
        tokens.insert(id, entry);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        while self.bytes() > self.max_bytes
            && let Some(next) = hand.pop_front()
        {
            match tokens.get(&next) {
                Some(entry) if entry.used.swap(false, Ordering::Relaxed) => hand.push_back(next),
                Some(entry) => {
                    self.bytes.fetch_sub(entry.bytes, Ordering::Relaxed);
                    tokens.remove(&next);
                }
                None => {}
            }
        }
    }

    /// Returns the bytes that the entries take, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }
}

/// Returns the bytes that an entry takes, about.
fn bytes(token: &Token) -> usize {
    let scopes = token.scopes.granted().iter().chain(token.scopes.effective());
    let scopes: usize = scopes.map(|scope| scope.as_str().len() + PER_TEXT).sum();
    let labels: usize = token
        .labels
        .iter()
        .map(|(key, value)| key.len() + value.len() + 2 * PER_TEXT)
        .sum();
    size_of::<Token>()
        + size_of::<CachedToken>()
        + OVERHEAD
        + token.name.workspace.as_str().len()
        + token.resource.as_str().len()
        + token.display_name.as_str().len()
        + token.description.as_str().len()
        + token.creator.as_str().len()
        + token.revocation.as_ref().map_or(0, |found| found.reason.as_str().len())
        + size_of_val(token.allowed_addresses.networks())
        + scopes
        + labels
}
