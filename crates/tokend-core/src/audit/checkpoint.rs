use std::{fmt, str::FromStr};

use super::{Chain, ChainHash, Head};
use crate::{credential::Kid, keyring::KeyRing, time::Timestamp};

/// The state of a chain at one moment. A checkpoint is kept outside the database. It reveals that the end of a chain
/// was cut off, or that an older copy of the database was restored.
///
/// Its text form is one line, with the time in microseconds since the Unix epoch: `tokend-checkpoint v1 chain=-
/// sequence=12 time=1764115200000000 hash=(64 hex digits) kid=0 mac=(64 hex digits)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The chain.
    pub chain: Chain,
    /// The sequence number of its last record.
    pub sequence: u64,
    /// The hash of that record.
    pub hash: ChainHash,
    /// The database time at which the checkpoint was made.
    pub time: Timestamp,
    /// The key whose audit subkey computed the MAC.
    pub kid: Kid,
    /// The MAC over all fields above.
    pub mac: ChainHash,
}

/// The text is not a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a line of the form {} chain=.. sequence=.. time=.. hash=.. kid=.. mac=..",
    Checkpoint::LABEL
)]
pub struct MalformedCheckpoint;

impl Checkpoint {
    /// The beginning of the text form.
    pub const LABEL: &str = "tokend-checkpoint v1";

    /// Makes a checkpoint of the chain with this `head` at `time`.
    #[must_use]
    pub fn of(head: &Head, time: Timestamp, ring: &KeyRing) -> Self {
        let Head {
            chain, sequence, hash, ..
        } = head;
        let mut checkpoint = Self {
            chain: chain.clone(),
            sequence: *sequence,
            hash: *hash,
            time,
            kid: ring.active_kid(),
            mac: ChainHash::NOTHING,
        };
        // The ring always has its active key.
        checkpoint.mac = checkpoint.computed_mac(ring).unwrap_or(ChainHash::NOTHING);
        checkpoint
    }

    /// Returns whether this installation made the checkpoint. False if the ring lacks the key.
    #[must_use]
    pub fn is_intact(&self, ring: &KeyRing) -> bool {
        self.computed_mac(ring) == Some(self.mac)
    }

    fn computed_mac(&self, ring: &KeyRing) -> Option<ChainHash> {
        let mut input = ring.audit_input(self.kid, "audit_checkpoints", 1)?;
        let Self {
            chain,
            sequence,
            hash,
            time,
            kid: _,
            mac: _,
        } = self;
        input.text(chain.as_str());
        input.count(*sequence);
        input.bytes(hash.as_bytes());
        input.time(*time);
        Some(ChainHash::of(input.finish().0))
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            chain,
            sequence,
            hash,
            time,
            kid,
            mac,
        } = self;
        let time = time.unix_micros();
        write!(
            f,
            "{} chain={chain} sequence={sequence} time={time} hash={hash} kid={kid} mac={mac}",
            Self::LABEL
        )
    }
}

impl FromStr for Checkpoint {
    type Err = MalformedCheckpoint;

    fn from_str(line: &str) -> Result<Self, MalformedCheckpoint> {
        let rest = line
            .trim_end()
            .strip_prefix(Self::LABEL)
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or(MalformedCheckpoint)?;
        let mut words = rest.split(' ');
        let mut value = |name: &str| {
            let word = words.next().ok_or(MalformedCheckpoint)?;
            word.strip_prefix(name)
                .and_then(|word| word.strip_prefix('='))
                .ok_or(MalformedCheckpoint)
        };
        let chain = Chain::from_key(value("chain")?).ok_or(MalformedCheckpoint)?;
        let sequence = value("sequence")?.parse().map_err(|_| MalformedCheckpoint)?;
        let time = value("time")?.parse().map_err(|_| MalformedCheckpoint)?;
        let time = Timestamp::from_unix_micros(time).map_err(|_| MalformedCheckpoint)?;
        let hash = value("hash")?.parse().map_err(|_| MalformedCheckpoint)?;
        let kid = value("kid")?.parse().map_err(|_| MalformedCheckpoint)?;
        let mac = value("mac")?.parse().map_err(|_| MalformedCheckpoint)?;
        if words.next().is_some() {
            return Err(MalformedCheckpoint);
        }
        Ok(Self {
            chain,
            sequence,
            hash,
            time,
            kid,
            mac,
        })
    }
}
