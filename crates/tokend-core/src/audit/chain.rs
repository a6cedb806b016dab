use std::fmt;

use super::{ChainHash, Checkpoint, Record};
use crate::{
    credential::Kid,
    keyring::KeyRing,
    name::{MalformedName, WorkspaceId},
    time::Timestamp,
};

/// A chain of records. Chains are locked in the order of this type: the installation's first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// Events that belong to no workspace, and every refused call.
    Installation,
    /// Events of one workspace.
    Workspace(WorkspaceId),
}

impl Chain {
    /// The key of the installation's chain in the database and in the contract. It is not a valid workspace id.
    pub const INSTALLATION: &'static str = "-";

    /// Returns the key in the database: `-`, or the workspace's id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Installation => Self::INSTALLATION,
            Self::Workspace(workspace) => workspace.as_str(),
        }
    }

    /// Returns the chain with that key.
    #[must_use]
    pub fn from_key(key: &str) -> Option<Self> {
        match key {
            Self::INSTALLATION => Some(Self::Installation),
            id => id.parse().ok().map(Self::Workspace),
        }
    }

    /// Parses the `parent` of a request: `-`, or a workspace's resource name.
    ///
    /// # Errors
    /// [`MalformedName`] for anything else.
    pub fn from_parent(parent: &str) -> Result<Self, MalformedName> {
        match parent {
            Self::INSTALLATION => Ok(Self::Installation),
            name => WorkspaceId::from_name(name).map(Self::Workspace),
        }
    }

    /// Returns the `parent` by which the contract names the chain.
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

/// The head of a chain: where it begins and ends. It is stored with a MAC over all its fields, under the audit subkey
/// of `kid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The chain.
    pub chain: Chain,
    /// The sequence number of the last record; 0 if there is none.
    pub sequence: u64,
    /// The hash of the last record.
    pub hash: ChainHash,
    /// The sequence number of the last record that was deleted; 0 if all records are kept.
    pub base_sequence: u64,
    /// The hash of that record.
    pub base_hash: ChainHash,
    /// When the chain was started. Rows that are older may lack a record.
    pub begin_time: Timestamp,
    /// In the installation's chain: the number of chains that were ever started, including this one. 0 in other chains.
    pub chains: u64,
    /// In the installation's chain: whether the feed's head was ever sealed. If so, a feed's head without a seal is an
    /// error.
    pub is_feed_sealed: bool,
    /// The key whose audit subkey computed the MAC.
    pub kid: Kid,
}

impl Head {
    /// Returns the head of a new chain without records.
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

    /// Returns the head after `record` was appended.
    #[must_use]
    pub fn after(self, record: &Record) -> Self {
        Self {
            sequence: record.place.sequence,
            hash: record.hash,
            kid: record.kid,
            ..self
        }
    }

    /// Returns the head after the records up to `checkpoint` were deleted. `None` if the checkpoint is of another chain
    /// or outside the records that are kept.
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

    /// Computes the MAC to store. `None` if the ring lacks the key.
    #[must_use]
    pub fn mac(&self, ring: &KeyRing) -> Option<ChainHash> {
        let mut input = ring.audit_input(self.kid, "audit_chains", 1)?;
        let Self {
            chain,
            sequence,
            hash,
            base_sequence,
            base_hash,
            begin_time,
            chains,
            is_feed_sealed,
            kid: _,
        } = self;
        input.text(chain.as_str());
        input.count(*sequence);
        input.bytes(hash.as_bytes());
        input.count(*base_sequence);
        input.bytes(base_hash.as_bytes());
        input.time(*begin_time);
        input.count(*chains);
        // Heads that were written before the feed was sealed stay valid.
        if *is_feed_sealed {
            input.text("the feed is sealed");
        }
        Some(ChainHash::of(input.finish().0))
    }
}
