//! Row MACs: who can write the database still can't widen, revive or promote anything unnoticed.
//!
//! Each protected row stores a keyed BLAKE3 over every column that a verdict or an authorization reads. What it can't prevent is
//! putting an older, valid row back.

use crate::{credential::Kid, time::Timestamp};

/// A row that is stored with a MAC.
pub trait Sealed {
    /// The table, so that a row can't stand in for one of another table.
    const TABLE: &'static str;
    /// Which columns the MAC covers, 1 at first. A change that adds columns raises it and feeds them through [`MacInput::since`], so
    /// that older rows stay valid in the older layout.
    const LAYOUT: u8;
    /// Feeds every covered column, in a fixed order.
    fn write_sealed_columns(&self, input: &mut MacInput);
}

/// The MAC as stored: layout, key id, and 32 bytes of hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowMac {
    layout: u8,
    kid: Kid,
    hash: blake3::Hash,
}

impl RowMac {
    /// Bytes in the database.
    pub const BYTES: usize = 2 + blake3::OUT_LEN;

    pub(crate) const fn new(layout: u8, kid: Kid, hash: blake3::Hash) -> Self {
        Self { layout, kid, hash }
    }

    pub(crate) const fn layout(&self) -> u8 {
        self.layout
    }

    /// The key that it was made with.
    #[must_use]
    pub const fn kid(&self) -> Kid {
        self.kid
    }

    pub(crate) const fn hash(&self) -> &blake3::Hash {
        &self.hash
    }

    /// The bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0] = self.layout;
        bytes[1] = self.kid.digit();
        bytes[2..].copy_from_slice(self.hash.as_bytes());
        bytes
    }

    /// A MAC read back from storage; `None` if it is none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&[layout, kid], hash) = bytes.split_first_chunk::<2>()?;
        Some(Self { layout, kid: Kid::from_digit(kid)?, hash: blake3::Hash::from_slice(hash).ok()? })
    }
}

/// Collects a row's columns, each with its length, so that no two different rows feed the same bytes.
#[derive(Debug)]
pub struct MacInput {
    hasher: blake3::Hasher,
    layout: u8,
    /// Whether every column that the layout leaves out holds what such rows were given.
    says_no_more: bool,
}

impl MacInput {
    pub(crate) fn new(key: &[u8; blake3::KEY_LEN], table: &str, layout: u8) -> Self {
        let mut input = Self { hasher: blake3::Hasher::new_keyed(key), layout, says_no_more: true };
        input.text(table);
        input.number(layout.into());
        input
    }

    /// Columns that came with `layout`. A row that was sealed before does not cover them: it is intact only while they hold what the
    /// migration gave to such rows, which is for `holds_default` to say.
    pub fn since(&mut self, layout: u8, holds_default: bool, write: impl FnOnce(&mut Self)) {
        if self.layout >= layout {
            write(self);
        } else {
            self.says_no_more &= holds_default;
        }
    }

    /// A column of bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.hasher.update(&(value.len() as u64).to_le_bytes());
        self.hasher.update(value);
    }

    /// A column of text.
    pub fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// A column of a whole number, or how many entries of a list follow.
    pub fn number(&mut self, value: i64) {
        self.bytes(&value.to_le_bytes());
    }

    /// A column of a whole number that is never negative.
    pub(crate) fn count(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    /// A list of texts.
    pub fn texts<'a>(&mut self, values: impl ExactSizeIterator<Item = &'a str>) {
        self.number(i64::try_from(values.len()).unwrap_or(i64::MAX));
        for value in values {
            self.text(value);
        }
    }

    /// A column of time.
    pub fn time(&mut self, value: Timestamp) {
        self.number(value.unix_micros());
    }

    /// A column that may be null.
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
        (self.hasher.finalize(), self.says_no_more)
    }
}
