use std::fmt;

use super::{ChainHash, Checkpoint, Record};
use crate::{
    credential::Kid,
    keyring::KeyRing,
    name::{MalformedName, WorkspaceId},
    time::Timestamp,
};

/// One chain of records. Chains are locked in their order: the installation's first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// What belongs to no workspace, and every refused call.
    Installation,
    /// What was done in a workspace.
    Workspace(WorkspaceId),
}

impl Chain {
    /// The installation's chain, in the database and in the contract. No workspace's id.
    pub const INSTALLATION: &'static str = "-";

    /// Its key in the database: `-`, or the workspace's id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Installation => Self::INSTALLATION,
            Self::Workspace(workspace) => workspace.as_str(),
        }
    }

    /// The chain of that key.
    #[must_use]
    pub fn from_key(key: &str) -> Option<Self> {
        match key {
            Self::INSTALLATION => Some(Self::Installation),
            id => id.parse().ok().map(Self::Workspace),
        }
    }

    /// The chain of the parent that a list asks for: `-`, or a workspace's name.
    ///
    /// # Errors
    /// [`MalformedName`] for anything else.
    pub fn from_parent(parent: &str) -> Result<Self, MalformedName> {
        match parent {
            Self::INSTALLATION => Ok(Self::Installation),
            name => WorkspaceId::from_name(name).map(Self::Workspace),
        }
    }

    /// The parent that a list of it asks for.
    #[must_use]
    pub fn parent(&self) -> String {
        match self {
            Self::Installation => Self::INSTALLATION.to_owned(),
            Self::Workspace(workspace) => workspace.name(),
        }
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a chain begins and ends. Stored with a MAC over all of it, under the audit subkey of `kid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which chain.
    pub chain: Chain,
    /// The sequence number of the last record; 0 before the first.
    pub sequence: u64,
    /// The hash of the last record.
    pub hash: ChainHash,
    /// Records up to this one are no longer kept; 0 if all are.
    pub base_sequence: u64,
    /// The hash of that record.
    pub base_hash: ChainHash,
    /// When the chain was begun. Rows that are older need not have a record.
    pub begin_time: Timestamp,
    /// Of the installation's chain: how many chains were ever begun, itself included. 0 in the others.
    pub chains: u64,
    /// Of the installation's chain: whether the feed's head was ever sealed. One that has no seal although this says so has lost it.
    pub is_feed_sealed: bool,
    /// The key whose audit subkey made the MAC.
    pub kid: Kid,
}

impl Head {
    /// A chain without records.
    #[must_use]
    pub fn new(chain: Chain, begin_time: Timestamp, ring: &KeyRing) -> Self {
        let chains = u64::from(chain == Chain::Installation);
        let (hash, base_hash) = (ChainHash::NOTHING, ChainHash::NOTHING);
        Self {
            chain,
            sequence: 0,
            hash,
            base_sequence: 0,
            base_hash,
            begin_time,
            chains,
            is_feed_sealed: false,
            kid: ring.active_kid(),
        }
    }

    /// The head after `record`.
    #[must_use]
    pub fn after(self, record: &Record) -> Self {
        Self { sequence: record.place.sequence, hash: record.hash, kid: record.kid, ..self }
    }

    /// The head of the chain that is kept only after `checkpoint`, which must be one of its own. `None` for one that lies outside
    /// of what is kept.
    #[must_use]
    pub fn cut_at(self, checkpoint: &Checkpoint, ring: &KeyRing) -> Option<Self> {
        let lies_within = (self.base_sequence + 1..=self.sequence).contains(&checkpoint.sequence);
        (lies_within && checkpoint.chain == self.chain).then(|| Self {
            base_sequence: checkpoint.sequence,
            base_hash: checkpoint.hash,
            kid: ring.active_kid(),
            ..self
        })
    }

    /// The MAC to store. `None` if the ring lacks its key.
    #[must_use]
    pub fn mac(&self, ring: &KeyRing) -> Option<ChainHash> {
        let mut input = ring.audit_input(self.kid, "audit_chains", 1)?;
        let Self { chain, sequence, hash, base_sequence, base_hash, begin_time, chains, is_feed_sealed, kid: _ } = self;
        input.text(chain.as_str());
        input.count(*sequence);
        input.bytes(hash.as_bytes());
        input.count(*base_sequence);
        input.bytes(base_hash.as_bytes());
        input.time(*begin_time);
        input.count(*chains);
        // Heads from before the feed was sealed stay valid.
        if *is_feed_sealed {
            input.text("the feed is sealed");
        }
        Some(ChainHash::of(input.finish().0))
    }
}
