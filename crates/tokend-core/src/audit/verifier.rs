use super::{ChainHash, Head, Record};
use crate::{credential::Kid, keyring::KeyRing};

/// Verifies a chain, record by record, from the first record that is kept to the head. Verification stops at the first
/// error: nothing can be said about the records after it.
#[derive(Debug)]
pub struct ChainVerifier<'a> {
    ring: &'a KeyRing,
    chain: &'a str,
    sequence: u64,
    hash: ChainHash,
}

/// Where a chain is broken, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The MAC of the head does not match.
    #[error("the chain's head was changed outside tokend: its MAC does not match")]
    Head,
    /// Records are missing.
    #[error("records {first} to {last} are missing")]
    Missing {
        /// The first missing record.
        first: u64,
        /// The last missing record.
        last: u64,
    },
    /// The record was not appended after the record before it.
    #[error("record {0} does not continue the one before it: a record was changed, inserted or moved")]
    OutOfPlace(u64),
    /// The record was edited.
    #[error("record {0} was changed: its hash does not match")]
    Changed(u64),
    /// The ring lacks the key of a record, so the record can't be verified.
    #[error("record {sequence} names key {kid}, which the key ring does not have")]
    UnknownKey {
        /// The record.
        sequence: u64,
        /// The key.
        kid: Kid,
    },
    /// There are records after the head's last one.
    #[error("record {0} is after the chain's head: an older head was restored, or records were added")]
    BehindHead(u64),
    /// The last record is not the one that the head names.
    #[error("the last record is not the one that the chain's head names")]
    NotTheHead,
}

impl<'a> ChainVerifier<'a> {
    /// Starts before the first record that is kept. The caller must have verified the head's MAC.
    #[must_use]
    pub fn begin(ring: &'a KeyRing, head: &'a Head) -> Self {
        Self {
            ring,
            chain: head.chain.as_str(),
            sequence: head.base_sequence,
            hash: head.base_hash,
        }
    }

    /// Verifies `record`, the next one stored.
    ///
    /// # Errors
    /// [`ChainError`] if the record is not the one that was appended next.
    pub fn step(&mut self, record: &Record) -> Result<(), ChainError> {
        let sequence = record.place.sequence;
        if sequence > self.sequence + 1 {
            return Err(ChainError::Missing {
                first: self.sequence + 1,
                last: sequence - 1,
            });
        }
        if sequence != self.sequence + 1 || record.place.chain != self.chain || record.previous_hash != self.hash {
            return Err(ChainError::OutOfPlace(sequence));
        }
        if self.ring.audit_key(record.kid).is_none() {
            return Err(ChainError::UnknownKey {
                sequence,
                kid: record.kid,
            });
        }
        if !record.is_intact(self.ring) {
            return Err(ChainError::Changed(sequence));
        }
        (self.sequence, self.hash) = (sequence, record.hash);
        Ok(())
    }

    /// Finishes after the last stored record.
    ///
    /// # Errors
    /// [`ChainError`] if the chain does not end where the head says.
    pub fn finish(self, head: &Head) -> Result<(), ChainError> {
        if self.sequence < head.sequence {
            return Err(ChainError::Missing {
                first: self.sequence + 1,
                last: head.sequence,
            });
        }
        if self.sequence > head.sequence {
            return Err(ChainError::BehindHead(head.sequence + 1));
        }
        if self.hash == head.hash {
            Ok(())
        } else {
            Err(ChainError::NotTheHead)
        }
    }
}
