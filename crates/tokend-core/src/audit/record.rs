use super::{Chain, ChainHash, Event, Head, Origin, RowAfter, RowDigest};
use crate::{
    credential::{Kid, without_secrets},
    keyring::KeyRing,
    time::Timestamp,
};

/// An event at its position in a chain, as it is stored. Fields are kept as the text in the database, so that an edited
/// record can be read and reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The position of the record.
    pub place: Place,
    /// The database time, in microseconds since the Unix epoch.
    pub time_micros: i64,
    /// The name of the [`EventType`](super::EventType).
    pub kind: String,
    /// The caller's resource name. Empty for an operator at the command line and for background jobs.
    pub caller: String,
    /// The asserted actor; empty if there is none.
    pub actor: String,
    /// The address of the client; empty if there is none.
    pub address: String,
    /// The resource name that the event is about; may be empty.
    pub resource: String,
    /// The name of the [`Outcome`](super::Outcome).
    pub outcome: String,
    /// The reason; may be empty.
    pub reason: String,
    /// More information; may be empty.
    pub detail: String,
    /// What happened to the row: empty if the event is about none, one zero byte if it was deleted, else its digest.
    pub row: Vec<u8>,
    /// The key whose audit subkey computed the hash.
    pub kid: Kid,
    /// The hash of the previous record.
    pub previous_hash: ChainHash,
    /// The hash over all fields above.
    pub hash: ChainHash,
}

/// The position of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The key of the chain.
    pub chain: String,
    /// The sequence number, from 1 without gaps.
    pub sequence: u64,
}

/// The stored form of [`RowAfter::Gone`].
const GONE: [u8; 1] = [0];

impl Record {
    /// Creates the next record of a chain.
    #[must_use]
    pub fn append(head: &Head, event: Event, time: Timestamp, ring: &KeyRing) -> Self {
        let Event {
            chain: _,
            kind,
            origin,
            resource,
            outcome,
            reason,
            detail,
            row,
        } = event;
        let Origin { caller, actor, address } = origin;
        let row = match row {
            RowAfter::None => Vec::new(),
            RowAfter::Gone => GONE.to_vec(),
            RowAfter::Is(digest) => digest.to_bytes().to_vec(),
        };
        let mut record = Self {
            place: Place {
                chain: head.chain.as_str().to_owned(),
                sequence: head.sequence + 1,
            },
            time_micros: time.unix_micros(),
            kind: kind.as_str().to_owned(),
            caller: caller.map(|caller| caller.name()).unwrap_or_default(),
            actor: actor.map(|actor| actor.to_string()).unwrap_or_default(),
            address: address.map(|address| address.to_string()).unwrap_or_default(),
            resource,
            outcome: outcome.as_str().to_owned(),
            reason: without_secrets(&reason).into_owned(),
            detail: without_secrets(&detail).into_owned(),
            row,
            kid: ring.active_kid(),
            previous_hash: head.hash,
            hash: ChainHash::NOTHING,
        };
        // The ring always has its active key.
        record.hash = record.computed_hash(ring).unwrap_or(ChainHash::NOTHING);
        record
    }

    /// Returns whether the record is as it was appended. Whether it is at the right position is checked by a
    /// [`ChainVerifier`](super::ChainVerifier).
    #[must_use]
    pub fn is_intact(&self, ring: &KeyRing) -> bool {
        self.computed_hash(ring) == Some(self.hash)
    }

    /// Returns what happened to the row; `None` if the bytes are malformed.
    #[must_use]
    pub fn row_after(&self) -> Option<RowAfter> {
        match self.row.as_slice() {
            [] => Some(RowAfter::None),
            row if row == GONE => Some(RowAfter::Gone),
            row => RowDigest::from_bytes(row).map(RowAfter::Is),
        }
    }

    /// Returns the chain; `None` if its key is malformed.
    #[must_use]
    pub fn chain(&self) -> Option<Chain> {
        Chain::from_key(&self.place.chain)
    }

    /// Computes the hash. `None` if the ring lacks the key.
    fn computed_hash(&self, ring: &KeyRing) -> Option<ChainHash> {
        let mut input = ring.audit_input(self.kid, "audit_events", 1)?;
        let Self {
            place: Place { chain, sequence },
            time_micros,
            kind,
            caller,
            actor,
            address,
            resource,
            outcome,
            reason,
            detail,
            row,
            kid: _,
            previous_hash,
            hash: _,
        } = self;
        input.text(chain);
        input.count(*sequence);
        input.number(*time_micros);
        for text in [kind, caller, actor, address, resource, outcome, reason, detail] {
            input.text(text);
        }
        input.bytes(row);
        input.bytes(previous_hash.as_bytes());
        Some(ChainHash::of(input.finish().0))
    }
}
