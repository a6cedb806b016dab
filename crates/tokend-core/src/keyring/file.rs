//! The text form of the root keys, kept in a file with mode 0600 or in a mounted secret.
//!
//! In version 2 the file says which keys are retired; the rest of their state is in the database. Version 1, in which
//! the file also says which key is active, can still be read.

use std::{fmt::Write, sync::Arc};

use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use super::{Key, RootKeys, roots::Root};
use crate::credential::{Kid, Prefix};

const VERSION: u32 = 2;
/// The oldest version that can be read.
const OLDEST: u32 = 1;

/// Why a text is not a key ring. Never quotes the text, since it contains keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingFileError {
    /// The text is not TOML, or has other fields.
    #[error("it is not a tokend key ring file (a field is missing, unknown or of the wrong type)")]
    NotAKeyRing,
    /// A later version of tokend wrote the file.
    #[error("its version is {0}, this tokend reads versions {OLDEST} to {VERSION}")]
    Version(u32),
    /// The prefix is malformed.
    #[error("its prefix is not 3 to 12 lower-case letters or digits")]
    Prefix,
    /// The id of the key at this position, counted from 1, is malformed or used twice. It is not quoted, since it may
    /// be a misplaced root.
    #[error("key number {0}: the kid must be one letter or digit that no other key has")]
    Kid(usize),
    /// A key's root is not 64 hexadecimal digits.
    #[error("key {0}: the root must be 64 hexadecimal digits")]
    Root(Kid),
    /// In version 1: not exactly one key is active.
    #[error("{0} of its keys are active; exactly one must be")]
    Active(usize),
    /// In version 2: there is no key, or every key is retired.
    #[error("it has no key that is not retired")]
    NoKey,
}

/// The version is read first, so that fields which a later version added do not hide that the file is newer.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RingText<K> {
    #[serde(rename = "version")]
    _version: u32,
    prefix: String,
    keys: Vec<K>,
}

/// A key in either version. The flag is `active` in version 1 and `retired` in version 2; a missing flag is false.
trait KeyText: for<'de> Deserialize<'de> {
    fn parts(&self) -> (&str, &str, bool);
}

/// Declares the key of one version. The versions differ in the name of the flag. The root is wiped on drop.
macro_rules! key_text {
    ($name:ident, $flag:ident) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $name {
            kid: String,
            root: String,
            #[serde(default)]
            $flag: bool,
        }

        impl KeyText for $name {
            fn parts(&self) -> (&str, &str, bool) {
                (&self.kid, &self.root, self.$flag)
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                self.root.zeroize();
            }
        }
    };
}

key_text!(KeyTextV1, active);
key_text!(KeyTextV2, retired);

impl RootKeys {
    /// Parses the text form.
    ///
    /// # Errors
    /// [`KeyRingFileError`], which says what to fix and quotes no key.
    pub fn from_toml(text: &str) -> Result<Self, KeyRingFileError> {
        let Versioned { version } = toml::from_str(text).map_err(|_| KeyRingFileError::NotAKeyRing)?;
        match version {
            1 => {
                let (prefix, mut keys) = parse::<KeyTextV1>(text)?;
                let active: Vec<_> = keys
                    .iter()
                    .enumerate()
                    .filter(|(_, (_, active))| *active)
                    .map(|(index, _)| index)
                    .collect();
                let [active] = active[..] else {
                    return Err(KeyRingFileError::Active(active.len()));
                };
                // The key that signs in a new installation comes first.
                keys[..=active].rotate_right(1);
                let keys = keys
                    .into_iter()
                    .map(|(key, _)| Root { key, is_retired: false })
                    .collect();
                Ok(Self { prefix, keys })
            }
            VERSION => {
                let (prefix, keys) = parse::<KeyTextV2>(text)?;
                let keys: Vec<_> = keys
                    .into_iter()
                    .map(|(key, is_retired)| Root { key, is_retired })
                    .collect();
                if keys.iter().all(|root| root.is_retired) {
                    return Err(KeyRingFileError::NoKey);
                }
                Ok(Self { prefix, keys })
            }
            other => Err(KeyRingFileError::Version(other)),
        }
    }

    /// Returns the text form. It contains the keys in clear: the file must be readable by its owner only.
    #[must_use]
    pub fn to_toml(&self) -> Zeroizing<String> {
        const HEAD: &str = "# tokend key ring: keep it secret (mode 0600), back it up apart from the database.\n";
        // The capacity is set up front: a growing string would leave copies of the keys behind.
        let mut text = Zeroizing::new(String::with_capacity(HEAD.len() + 64 + 160 * self.keys.len()));
        text.push_str(HEAD);
        // Writing to a String can't fail.
        let _ = write!(text, "version = {VERSION}\nprefix = \"{}\"\n", self.prefix);
        for Root { key, is_retired } in &self.keys {
            let root = Zeroizing::new(blake3::Hash::from_bytes(*key.root()).to_hex().to_string());
            let _ = write!(
                text,
                "\n[[keys]]\nkid = \"{}\"\nroot = \"{}\"\nretired = {is_retired}\n",
                key.kid(),
                *root
            );
        }
        text
    }
}

/// A key and its version-specific flag.
type Flagged = (Arc<Key>, bool);

fn parse<K: KeyText>(text: &str) -> Result<(Prefix, Vec<Flagged>), KeyRingFileError> {
    let ring: RingText<K> = toml::from_str(text).map_err(|_| KeyRingFileError::NotAKeyRing)?;
    let prefix = ring.prefix.parse().map_err(|_| KeyRingFileError::Prefix)?;
    let mut keys: Vec<Flagged> = Vec::with_capacity(ring.keys.len());
    for (index, key) in ring.keys.iter().enumerate() {
        let (kid, root, flag) = key.parts();
        let kid: Kid = kid.parse().map_err(|_| KeyRingFileError::Kid(index + 1))?;
        if keys.iter().any(|(earlier, _)| earlier.kid() == kid) {
            return Err(KeyRingFileError::Kid(index + 1));
        }
        let root = blake3::Hash::from_hex(root).map_err(|_| KeyRingFileError::Root(kid))?;
        keys.push((Arc::new(Key::from_root(kid, &Zeroizing::new(*root.as_bytes()))), flag));
    }
    Ok((prefix, keys))
}
