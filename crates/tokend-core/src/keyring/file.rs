//! The text form of a key ring, kept in a file of mode 0600 or a mounted secret.

use std::fmt::Write;

use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use super::{Key, KeyRing};
use crate::credential::{Kid, Prefix};

const VERSION: u32 = 1;

/// Why a text is no key ring. Never quotes the text: it holds keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingFileError {
    /// Not TOML, or not the fields of a key ring.
    #[error("it is not a tokend key ring file (a field is missing, unknown or of the wrong type)")]
    NotAKeyRing,
    /// Written by a later version of tokend.
    #[error("its version is {0}, this tokend reads version {VERSION}")]
    Version(u32),
    /// The prefix is malformed.
    #[error("its prefix is not 3 to 12 lower-case letters or digits")]
    Prefix,
    /// The id of a key, told by its place in the file from 1, is not one letter or digit, or stands twice. Not quoted: what
    /// stands in its place may be a root.
    #[error("key number {0}: the kid must be one letter or digit that no other key has")]
    Kid(usize),
    /// A key's root is not 64 hexadecimal digits.
    #[error("key {0}: the root must be 64 hexadecimal digits")]
    Root(Kid),
    /// Not exactly one key is active.
    #[error("{0} of its keys are active; exactly one must be")]
    Active(usize),
}

/// Read first: what a later version of tokend added must not hide that it is later.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RingText {
    #[serde(rename = "version")]
    _version: u32,
    prefix: String,
    keys: Vec<KeyText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyText {
    kid: String,
    root: String,
    #[serde(default)]
    active: bool,
}

impl Drop for KeyText {
    fn drop(&mut self) {
        self.root.zeroize();
    }
}

impl KeyRing {
    /// Reads the text form.
    ///
    /// # Errors
    /// [`KeyRingFileError`], which says what to mend and quotes no key.
    pub fn from_toml(text: &str) -> Result<Self, KeyRingFileError> {
        let Versioned { version } = toml::from_str(text).map_err(|_| KeyRingFileError::NotAKeyRing)?;
        if version != VERSION {
            return Err(KeyRingFileError::Version(version));
        }
        let ring: RingText = toml::from_str(text).map_err(|_| KeyRingFileError::NotAKeyRing)?;
        let prefix = ring.prefix.parse().map_err(|_| KeyRingFileError::Prefix)?;
        let (mut active, mut others) = (Vec::new(), Vec::new());
        for (index, key) in ring.keys.iter().enumerate() {
            let kid = key.kid.parse().map_err(|_| KeyRingFileError::Kid(index + 1))?;
            if ring.keys[..index].iter().any(|earlier| earlier.kid == key.kid) {
                return Err(KeyRingFileError::Kid(index + 1));
            }
            if key.active { &mut active } else { &mut others }.push(key.parse(kid)?);
        }
        match <[Key; 1]>::try_from(active) {
            Ok([active]) => Ok(Self { prefix, active, others }),
            Err(active) => Err(KeyRingFileError::Active(active.len())),
        }
    }

    /// Writes the text form: keys in clear, for a file that nobody else may read.
    #[must_use]
    pub fn to_toml(&self) -> Zeroizing<String> {
        const HEAD: &str = "# tokend key ring: keep it secret (mode 0600), back it up apart from the database.\n";
        // Sized up front: a string that grew would leave copies of the keys behind.
        let mut text = Zeroizing::new(String::with_capacity(HEAD.len() + 64 + 160 * (1 + self.others.len())));
        text.push_str(HEAD);
        push_ring(&mut text, self.prefix);
        push_key(&mut text, &self.active, true);
        for key in &self.others {
            push_key(&mut text, key, false);
        }
        text
    }
}

fn push_ring(text: &mut String, prefix: Prefix) {
    // Writing to a String can't fail.
    let _ = write!(text, "version = {VERSION}\nprefix = \"{prefix}\"\n");
}

fn push_key(text: &mut String, key: &Key, active: bool) {
    let root = Zeroizing::new(blake3::Hash::from_bytes(*key.root()).to_hex().to_string());
    let _ = write!(text, "\n[[keys]]\nkid = \"{}\"\nroot = \"{}\"\nactive = {active}\n", key.kid(), *root);
}

impl KeyText {
    fn parse(&self, kid: Kid) -> Result<Key, KeyRingFileError> {
        let root = blake3::Hash::from_hex(&self.root).map_err(|_| KeyRingFileError::Root(kid))?;
        Ok(Key::from_root(kid, &Zeroizing::new(*root.as_bytes())))
    }
}
