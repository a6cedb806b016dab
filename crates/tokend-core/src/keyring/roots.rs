//! The roots in the file, the keys known to the database, and how the ring is built from both.

use std::{fmt, sync::Arc};

use rand::TryCryptoRng;

use super::{Fingerprint, Key, KeyRing};
use crate::credential::{Kid, Prefix};

/// The root of every key that this installation ever had, and the prefix of its tokens. Everything secret about an
/// installation is in here.
#[derive(Clone, Debug)]
pub struct RootKeys {
    pub(super) prefix: Prefix,
    /// At least one is not retired. The first of those signs in a new installation.
    pub(super) keys: Vec<Root>,
}

#[derive(Clone, Debug)]
pub(super) struct Root {
    pub(super) key: Arc<Key>,
    /// Never undone: write access to the database is not enough to bring a retired key back.
    pub(super) is_retired: bool,
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// It accepts credentials and rows that it signed, and signs nothing new.
    Verifies,
    /// It mints and seals. Exactly one key is active.
    Active,
    /// It accepts nothing. Its root is kept to verify audit records and revocation lines that it sealed.
    Retired,
}

impl KeyState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Verifies, Self::Active, Self::Retired];

    /// Returns the name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verifies => "VERIFIES",
            Self::Active => "ACTIVE",
            Self::Retired => "RETIRED",
        }
    }

    /// Returns the state with that name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// A key as it is stored in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// The id.
    pub kid: Kid,
    /// Identifies the root.
    pub fingerprint: Fingerprint,
    /// What the key may do.
    pub state: KeyState,
}

/// Why the roots in the file do not fit the keys in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongKeys {
    /// A key that is in use is missing from the file.
    #[error("it lacks key {0}")]
    Missing(Kid),
    /// The file has another key under the same id.
    #[error("its key {0} differs from the one in the database")]
    Differs(Kid),
    /// The active key of the database is retired in the file: the database is an old backup.
    #[error("its key {0} is retired, and the database is from a time when it was active")]
    Retired(Kid),
    /// The database has no active key.
    #[error("no key is active in the database")]
    NoneActive,
}

/// Why no key was added.
#[derive(Debug, thiserror::Error)]
pub enum AddKeyError<E> {
    /// All ids are used. An id is one letter or digit and is never reused.
    #[error("all {} key ids are used", Kid::COUNT)]
    NoKidLeft,
    /// The error of the random source.
    #[error(transparent)]
    Random(#[from] E),
}

impl RootKeys {
    /// Generates the first key.
    ///
    /// # Errors
    /// The error of the random source.
    pub fn generate<R: TryCryptoRng>(prefix: Prefix, random: &mut R) -> Result<Self, R::Error> {
        let key = Arc::new(Key::generate(Kid::FIRST, random)?);
        Ok(Self {
            prefix,
            keys: vec![Root { key, is_retired: false }],
        })
    }

    /// Returns these keys with a new one, and its id: the first id that was never used, neither here nor in `known`.
    ///
    /// # Errors
    /// [`AddKeyError`].
    pub fn with_new_key<R: TryCryptoRng>(
        &self,
        known: &[KnownKey],
        random: &mut R,
    ) -> Result<(Self, Kid), AddKeyError<R::Error>> {
        let is_used = |kid: &Kid| self.root(*kid).is_some() || known.iter().any(|known| known.kid == *kid);
        let kid = Kid::all().find(|kid| !is_used(kid)).ok_or(AddKeyError::NoKidLeft)?;
        let mut roots = self.clone();
        roots.keys.push(Root {
            key: Arc::new(Key::generate(kid, random)?),
            is_retired: false,
        });
        Ok((roots, kid))
    }

    /// Returns these keys, with `kid` permanently retired.
    #[must_use]
    pub fn with_retired(&self, kid: Kid) -> Self {
        let mut roots = self.clone();
        roots
            .keys
            .iter_mut()
            .filter(|root| root.key.kid() == kid)
            .for_each(|root| root.is_retired = true);
        roots
    }

    /// Returns the prefix of every token of this installation.
    #[must_use]
    pub const fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// Returns the id and fingerprint of each key.
    pub fn fingerprints(&self) -> impl Iterator<Item = (Kid, Fingerprint)> + '_ {
        self.keys
            .iter()
            .map(|root| (root.key.kid(), root.key.fingerprint(&self.prefix)))
    }

    /// Returns whether the file has that key as retired.
    #[must_use]
    pub fn is_retired(&self, kid: Kid) -> bool {
        self.root(kid).is_some_and(|root| root.is_retired)
    }

    /// Returns the keys to store in the database of a new installation. The first key that is not retired becomes
    /// active.
    #[must_use]
    pub fn initial_keys(&self) -> Vec<KnownKey> {
        let mut active = self.keys.iter().position(|root| !root.is_retired);
        let known = self.keys.iter().enumerate().map(|(index, Root { key, is_retired })| {
            let state = if *is_retired {
                KeyState::Retired
            } else if active.take_if(|active| *active == index).is_some() {
                KeyState::Active
            } else {
                KeyState::Verifies
            };
            KnownKey {
                kid: key.kid(),
                fingerprint: key.fingerprint(&self.prefix),
                state,
            }
        });
        known.collect()
    }

    /// Builds the ring from the roots and the keys in the database. A key that the database does not list is ignored. A
    /// key is retired if either side says so.
    ///
    /// Keys whose roots are missing are reported by [`KeyRing::missing_keys`]. If the active key is among them, another
    /// key takes its place, so that credentials can still be checked.
    ///
    /// # Errors
    /// [`WrongKeys`].
    pub fn ring(&self, known: &[KnownKey]) -> Result<KeyRing, WrongKeys> {
        let (mut active, mut verifying, mut missing_keys, mut missing_active_key) =
            (None, Vec::new(), Vec::new(), None);
        for KnownKey {
            kid,
            fingerprint,
            state,
        } in known
        {
            let key = match (self.root(*kid), state) {
                (_, KeyState::Retired) => continue,
                (Some(Root { is_retired: true, .. }), KeyState::Verifies) => continue,
                (Some(Root { is_retired: true, .. }), KeyState::Active) => return Err(WrongKeys::Retired(*kid)),
                (Some(Root { key, .. }), _) if key.fingerprint(&self.prefix) != *fingerprint => {
                    return Err(WrongKeys::Differs(*kid));
                }
                (Some(Root { key, .. }), _) => Some(Arc::clone(key)),
                (None, _) => {
                    missing_keys.push(*kid);
                    None
                }
            };
            match (state, key) {
                (KeyState::Active, None) => missing_active_key = Some(*kid),
                (KeyState::Active, Some(key)) => active = Some(key),
                (_, key) => verifying.extend(key),
            }
        }
        let active = match (active, missing_active_key) {
            (Some(active), _) => active,
            (None, Some(kid)) => verifying.pop().ok_or(WrongKeys::Missing(kid))?,
            (None, None) => return Err(WrongKeys::NoneActive),
        };
        let at_hand = self.keys.iter().map(|root| Arc::clone(&root.key)).collect();
        Ok(KeyRing {
            prefix: self.prefix,
            active,
            verifying,
            at_hand,
            missing_keys,
            missing_active_key,
        })
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
