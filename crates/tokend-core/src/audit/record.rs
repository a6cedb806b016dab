use super::{Chain, ChainHash, Event, Head, Origin, RowAfter, RowDigest};
use crate::{
    credential::{Kid, without_secrets},
    keyring::KeyRing,
    time::Timestamp,
};

/// An event in its place in the chain, as it is stored. Text as it stands in the database, so that an edited record can be read and
/// shown to be edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub place: Place,
    /// When, in microseconds since 1970 UTC: database time.
    pub time_micros: i64,
    /// What happened: an [`EventType`](super::EventType)'s word.
    pub kind: String,
    /// The caller's resource name. Empty: an operator at the machine, or tokend by itself.
    pub caller: String,
    /// The asserted actor. Empty: none.
    pub actor: String,
    /// The address that it came from. Empty: none.
    pub address: String,
    /// To what. Empty: nothing that has a name.
    pub resource: String,
    /// What came of it: an [`Outcome`](super::Outcome)'s word.
    pub outcome: String,
    /// Why.
    pub reason: String,
    /// What else.
    pub detail: String,
    /// What became of the row: empty for none, one zero byte for gone, or a digest.
    pub row: Vec<u8>,
    /// The key whose audit subkey made the hash.
    pub kid: Kid,
    /// The hash of the record before it.
    pub previous_hash: ChainHash,
    /// Over all of the above.
    pub hash: ChainHash,
}

/// A place in a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The chain's key.
    pub chain: String,
    /// From 1, without gaps.
    pub sequence: u64,
}

/// How a row that is gone is stored.
const GONE: [u8; 1] = [0];

impl Record {
    /// The next record of a chain.
    #[must_use]
    pub fn append(head: &Head, event: Event, time: Timestamp, ring: &KeyRing) -> Self {
        let Event { chain: _, kind, origin, resource, outcome, reason, detail, row } = event;
        let Origin { caller, actor, address } = origin;
        let row = match row {
            RowAfter::None => Vec::new(),
            RowAfter::Gone => GONE.to_vec(),
            RowAfter::Is(digest) => digest.to_bytes().to_vec(),
        };
        let mut record = Self {
            place: Place { chain: head.chain.as_str().to_owned(), sequence: head.sequence + 1 },
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
        // The active key is always there.
        record.hash = record.computed_hash(ring).unwrap_or(ChainHash::NOTHING);
        record
    }

    /// Whether it is as it was appended. Whether it stands where it was appended is for a [`Walk`](super::Walk) to tell.
    #[must_use]
    pub fn is_intact(&self, ring: &KeyRing) -> bool {
        self.computed_hash(ring) == Some(self.hash)
    }

    /// What became of the row; `None` for bytes that say nothing.
    #[must_use]
    pub fn row_after(&self) -> Option<RowAfter> {
        match self.row.as_slice() {
            [] => Some(RowAfter::None),
            row if row == GONE => Some(RowAfter::Gone),
            row => RowDigest::from_bytes(row).map(RowAfter::Is),
        }
    }

    /// The chain, if it is one.
    #[must_use]
    pub fn chain(&self) -> Option<Chain> {
        Chain::from_key(&self.place.chain)
    }

    /// `None` if the ring lacks its key.
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
