//! What the file holds, what the database knows of it, and the ring that both make.

use std::{fmt, sync::Arc};

use rand::TryCryptoRng;

use super::{Fingerprint, Key, KeyRing};
use crate::credential::{Kid, Prefix};

/// The root of every key that this installation ever had, and the prefix of its tokens: all that is secret about it.
#[derive(Clone, Debug)]
pub struct RootKeys {
    pub(super) prefix: Prefix,
    /// At least one is not retired. The first of those is the one that a new installation signs with.
    pub(super) keys: Vec<Root>,
}

#[derive(Clone, Debug)]
pub(super) struct Root {
    pub(super) key: Arc<Key>,
    /// Never undone: whoever writes to the database can't bring a key back that the file calls retired.
    pub(super) is_retired: bool,
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// It recognizes what it made, and signs nothing new: not yet, or no longer.
    Verifies,
    /// It mints and seals. One key does.
    Active,
    /// It recognizes nothing. Its root is kept to read the records that it sealed.
    Retired,
}

impl KeyState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Verifies, Self::Active, Self::Retired];

    /// The word in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verifies => "VERIFIES",
            Self::Active => "ACTIVE",
            Self::Retired => "RETIRED",
        }
    }

    /// The state of that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// A key as the database knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// Which.
    pub kid: Kid,
    /// Tells whether a root is its.
    pub fingerprint: Fingerprint,
    /// What it may do.
    pub state: KeyState,
}

/// How the roots at hand do not fit what the database knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongKeys {
    /// A key that is in use is missing.
    #[error("it lacks key {0}")]
    Lacks(Kid),
    /// A key of that id is another key.
    #[error("its key {0} is another one")]
    Differs(Kid),
    /// The key that the database calls active was retired: the database is older than the ring.
    #[error("its key {0} is retired, and the database is from a time when it was active")]
    Retired(Kid),
    /// The database knows no key that signs.
    #[error("the database knows none of its keys as the active one")]
    NoneActive,
}

/// Why no key was added.
#[derive(Debug, thiserror::Error)]
pub enum AddKeyError<E> {
    /// Ids are one letter or digit, and none is used twice.
    #[error("all {} key ids are used", Kid::COUNT)]
    NoKidLeft,
    /// The random source's.
    #[error(transparent)]
    Random(#[from] E),
}

impl RootKeys {
    /// One new key.
    ///
    /// # Errors
    /// The random source's: without true randomness nothing is made.
    pub fn generate<R: TryCryptoRng>(prefix: Prefix, random: &mut R) -> Result<Self, R::Error> {
        let key = Arc::new(Key::generate(Kid::FIRST, random)?);
        Ok(Self { prefix, keys: vec![Root { key, is_retired: false }] })
    }

    /// These keys and a new one, and which that is: the first id that was never used, neither here nor by a key in `known`.
    ///
    /// # Errors
    /// [`AddKeyError`].
    pub fn with_new_key<R: TryCryptoRng>(&self, known: &[KnownKey], random: &mut R) -> Result<(Self, Kid), AddKeyError<R::Error>> {
        let is_used = |kid: &Kid| self.root(*kid).is_some() || known.iter().any(|known| known.kid == *kid);
        let kid = Kid::all().find(|kid| !is_used(kid)).ok_or(AddKeyError::NoKidLeft)?;
        let mut roots = self.clone();
        roots.keys.push(Root { key: Arc::new(Key::generate(kid, random)?), is_retired: false });
        Ok((roots, kid))
    }

    /// These keys, with `kid` retired for good.
    #[must_use]
    pub fn with_retired(&self, kid: Kid) -> Self {
        let mut roots = self.clone();
        roots.keys.iter_mut().filter(|root| root.key.kid() == kid).for_each(|root| root.is_retired = true);
        roots
    }

    /// The prefix of every token of this installation.
    #[must_use]
    pub const fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// Each key's id and fingerprint.
    pub fn fingerprints(&self) -> impl Iterator<Item = (Kid, Fingerprint)> + '_ {
        self.keys.iter().map(|root| (root.key.kid(), root.key.fingerprint(&self.prefix)))
    }

    /// Whether that key is at hand and retired.
    #[must_use]
    pub fn is_retired(&self, kid: Kid) -> bool {
        self.root(kid).is_some_and(|root| root.is_retired)
    }

    /// What the database of a new installation is to know: the first key that is not retired signs.
    #[must_use]
    pub fn known_at_first(&self) -> Vec<KnownKey> {
        let mut active = self.keys.iter().position(|root| !root.is_retired);
        let known = self.keys.iter().enumerate().map(|(index, Root { key, is_retired })| {
            let state = match *is_retired {
                true => KeyState::Retired,
                false if active.take_if(|active| *active == index).is_some() => KeyState::Active,
                false => KeyState::Verifies,
            };
            KnownKey { kid: key.kid(), fingerprint: key.fingerprint(&self.prefix), state }
        });
        known.collect()
    }

    /// The ring of these keys as the database knows them. A key that the database does not know does nothing; one that either of
    /// the two calls retired is.
    ///
    /// Keys that are not at hand are told by [`KeyRing::lacked`]. If the active one is among them, another stands in, so that what
    /// is known can still be recognized.
    ///
    /// # Errors
    /// [`WrongKeys`].
    pub fn ring(&self, known: &[KnownKey]) -> Result<KeyRing, WrongKeys> {
        let (mut active, mut verifying, mut lacked, mut lacked_active) = (None, Vec::new(), Vec::new(), None);
        for KnownKey { kid, fingerprint, state } in known {
            let key = match (self.root(*kid), state) {
                (_, KeyState::Retired) => continue,
                (Some(Root { is_retired: true, .. }), KeyState::Verifies) => continue,
                (Some(Root { is_retired: true, .. }), KeyState::Active) => return Err(WrongKeys::Retired(*kid)),
                (Some(Root { key, .. }), _) if key.fingerprint(&self.prefix) != *fingerprint => {
                    return Err(WrongKeys::Differs(*kid));
                }
                (Some(Root { key, .. }), _) => Some(Arc::clone(key)),
                (None, _) => {
                    lacked.push(*kid);
                    None
                }
            };
            match (state, key) {
                (KeyState::Active, None) => lacked_active = Some(*kid),
                (KeyState::Active, Some(key)) => active = Some(key),
                (_, key) => verifying.extend(key),
            }
        }
        let active = match (active, lacked_active) {
            (Some(active), _) => active,
            (None, Some(kid)) => verifying.pop().ok_or(WrongKeys::Lacks(kid))?,
            (None, None) => return Err(WrongKeys::NoneActive),
        };
        let at_hand = self.keys.iter().map(|root| Arc::clone(&root.key)).collect();
        Ok(KeyRing { prefix: self.prefix, active, verifying, at_hand, lacked, lacked_active })
    }

    fn root(&self, kid: Kid) -> Option<&Root> {
        self.keys.iter().find(|root| root.key.kid() == kid)
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
