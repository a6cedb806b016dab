//! Row MACs: an attacker with write access to the database can't extend, revive or promote anything without being
//! detected.
//!
//! Each protected row stores a keyed BLAKE3 hash over every column that a verdict or an authorization depends on. It
//! does not detect that an older, valid version of the same row was put back.

use crate::{credential::Kid, time::Timestamp};

/// A row that is stored with a MAC.
pub trait Sealed {
    /// The name of the table, so that a row is never valid in another table.
    const TABLE: &'static str;
    /// The version of the set of columns that the MAC covers, from 1. A change that adds columns raises it and feeds
    /// them through [`MacInput::since`], so that rows sealed in an older layout stay valid.
    const LAYOUT: u8;
    /// Feeds every covered column, in a fixed order.
    fn write_sealed_columns(&self, input: &mut MacInput);
}

/// A stored MAC: layout, key id, and 32 bytes of hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowMac {
    layout: u8,
    kid: Kid,
    hash: blake3::Hash,
}

impl RowMac {
    /// The size in the database, in bytes.
    pub const BYTES: usize = 2 + blake3::OUT_LEN;

    pub(crate) const fn new(layout: u8, kid: Kid, hash: blake3::Hash) -> Self {
        Self { layout, kid, hash }
    }

    pub(crate) const fn layout(&self) -> u8 {
        self.layout
    }

    /// Returns the id of the key that computed it.
    #[must_use]
    pub const fn kid(&self) -> Kid {
        self.kid
    }

    pub(crate) const fn hash(&self) -> &blake3::Hash {
        &self.hash
    }

    /// Returns the bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0] = self.layout;
        bytes[1] = self.kid.digit();
        bytes[2..].copy_from_slice(self.hash.as_bytes());
        bytes
    }

    /// Reads a stored MAC; `None` if the bytes are malformed.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&[layout, kid], hash) = bytes.split_first_chunk::<2>()?;
        Some(Self {
            layout,
            kid: Kid::from_digit(kid)?,
            hash: blake3::Hash::from_slice(hash).ok()?,
        })
    }
}

/// Hashes the columns of a row, each with its length, so that different rows never feed the same bytes.
#[derive(Debug)]
pub struct MacInput {
    hasher: blake3::Hasher,
    layout: u8,
    /// Whether every column that the layout does not cover holds its default.
    has_defaults: bool,
}

impl MacInput {
    pub(crate) fn new(key: &[u8; blake3::KEY_LEN], table: &str, layout: u8) -> Self {
        let mut input = Self {
            hasher: blake3::Hasher::new_keyed(key),
            layout,
            has_defaults: true,
        };
        input.text(table);
        input.number(layout.into());
        input
    }

    /// Feeds columns that were added in `layout`. Rows that were sealed in an older layout do not cover them: they are
    /// intact only if these columns hold what the migration wrote, which `holds_default` says.
    pub fn since(&mut self, layout: u8, holds_default: bool, write: impl FnOnce(&mut Self)) {
        if self.layout >= layout {
            write(self);
        } else {
            self.has_defaults &= holds_default;
        }
    }

    /// Feeds a column of bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.hasher.update(&(value.len() as u64).to_le_bytes());
        self.hasher.update(value);
    }

    /// Feeds a column of text.
    pub fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// Feeds an integer column, or the number of entries in a list.
    pub fn number(&mut self, value: i64) {
        self.bytes(&value.to_le_bytes());
    }

    /// Feeds an integer column that is never negative.
    pub(crate) fn count(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    /// Feeds a list of texts.
    pub fn texts<'a>(&mut self, values: impl ExactSizeIterator<Item = &'a str>) {
        self.number(i64::try_from(values.len()).unwrap_or(i64::MAX));
        for value in values {
            self.text(value);
        }
    }

    /// Feeds a column of time.
    pub fn time(&mut self, value: Timestamp) {
        self.number(value.unix_micros());
    }

    /// Feeds a column that may be null.
    pub fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.number(0),
            Some(value) => {
                self.number(1);
                write(self, value);
            }
        }
    }

    pub(crate) fn finish(self) -> (blake3::Hash, bool) {
        (self.hasher.finalize(), self.has_defaults)
    }
}
