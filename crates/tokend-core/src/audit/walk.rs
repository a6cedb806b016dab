use super::{ChainHash, Head, Record};
use crate::{credential::Kid, keyring::KeyRing};

/// A walk along a chain, from the first record that is kept to the head. It ends at the first break: behind that, nothing can be
/// said.
#[derive(Debug)]
pub struct Walk<'a> {
    ring: &'a KeyRing,
    chain: &'a str,
    sequence: u64,
    hash: ChainHash,
}

/// Where a chain is broken, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Break {
    /// The head was made by someone else, or put back.
    #[error("the chain's head was changed behind tokend's back: its MAC does not match")]
    Head,
    /// Records are missing.
    #[error("records {first} to {last} are missing")]
    Missing {
        /// The first that is.
        first: u64,
        /// The last that is.
        last: u64,
    },
    /// A record stands behind another one than it was appended to.
    #[error("record {0} does not go on from the one before it: a record was changed, inserted or moved")]
    OutOfPlace(u64),
    /// A record is not what was appended.
    #[error("record {0} was changed: its hash does not match")]
    Changed(u64),
    /// The ring lacks the key of a record, which makes that record as good as none.
    #[error("record {sequence} names key {kid}, which the key ring does not have")]
    UnknownKey {
        /// The record.
        sequence: u64,
        /// The key.
        kid: Kid,
    },
    /// There are records behind the head.
    #[error("record {0} stands behind the chain's head: the head was put back, or records were added")]
    BehindHead(u64),
    /// The last record is not the one that the head names.
    #[error("the last record is not the one that the chain's head names")]
    NotTheHead,
}

impl<'a> Walk<'a> {
    /// Starts before the first record that is kept. Whether the head itself can be believed must have been asked before.
    #[must_use]
    pub fn begin(ring: &'a KeyRing, head: &'a Head) -> Self {
        Self { ring, chain: head.chain.as_str(), sequence: head.base_sequence, hash: head.base_hash }
    }

    /// Goes on to `record`, the next one stored.
    ///
    /// # Errors
    /// [`Break`] if it is not the one that was appended next.
    pub fn step(&mut self, record: &Record) -> Result<(), Break> {
        let sequence = record.place.sequence;
        if sequence > self.sequence + 1 {
            return Err(Break::Missing { first: self.sequence + 1, last: sequence - 1 });
        }
        if sequence != self.sequence + 1 || record.place.chain != self.chain || record.previous_hash != self.hash {
            return Err(Break::OutOfPlace(sequence));
        }
        if self.ring.audit_key(record.kid).is_none() {
            return Err(Break::UnknownKey { sequence, kid: record.kid });
        }
        if !record.is_intact(self.ring) {
            return Err(Break::Changed(sequence));
        }
        (self.sequence, self.hash) = (sequence, record.hash);
        Ok(())
    }

    /// Ends behind the last record stored.
    ///
    /// # Errors
    /// [`Break`] if that is not where the head says that the chain ends.
    pub fn finish(self, head: &Head) -> Result<(), Break> {
        if self.sequence < head.sequence {
            return Err(Break::Missing { first: self.sequence + 1, last: head.sequence });
        }
        if self.sequence > head.sequence {
            return Err(Break::BehindHead(head.sequence + 1));
        }
        if self.hash == head.hash { Ok(()) } else { Err(Break::NotTheHead) }
    }
}
