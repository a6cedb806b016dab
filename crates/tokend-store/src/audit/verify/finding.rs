use tokend_core::audit::ChainError;

use crate::error::{FeedProblem, StoreError};

/// The result of a verification of the audit log.
#[derive(Debug, Default)]
pub struct AuditReport {
    /// The number of chains.
    pub chains: u64,
    /// The number of records that were read.
    pub records: u64,
    /// The number of checkpoints that were compared.
    pub checkpoints: u64,
    /// The number of rows that were compared with their last record.
    pub rows: u64,
    /// The first [`MAX_FINDINGS`](Self::MAX_FINDINGS) problems. Empty if there is no problem.
    pub findings: Vec<Finding>,
    /// The number of problems beyond these.
    pub more: u64,
}

/// A problem, as a sentence that says where it is.
#[derive(Debug, thiserror::Error)]
pub enum Finding {
    /// The installation's chain has no head.
    #[error("the audit log is gone: the installation's chain has no head")]
    NoLog,
    /// Chains were deleted with all their records.
    #[error("the installation's head counts {begun} chains, and {found} exist")]
    NumberOfChains {
        /// The number of chains by the installation's head.
        begun: u64,
        /// The number of chains in the database.
        found: u64,
    },
    /// A chain is missing.
    #[error("chain {chain} is gone, although {named_by} names it")]
    ChainGone {
        /// The chain.
        chain: String,
        /// What refers to the chain.
        named_by: &'static str,
    },
    /// Records without a head.
    #[error("chain {chain} has records and no head")]
    Headless {
        /// The chain.
        chain: String,
    },
    /// A chain is broken. Only its first break is reported.
    #[error("chain {chain}: {problem}")]
    Broken {
        /// The chain.
        chain: String,
        /// Where the chain is broken, and how.
        problem: ChainError,
    },
    /// A row of the log is malformed.
    #[error(transparent)]
    Unreadable(StoreError),
    /// A checkpoint was not created by this installation.
    #[error(
        "chain {chain}: the checkpoint at record {sequence} is not one of this installation: its MAC does not match"
    )]
    ForgedCheckpoint {
        /// The chain.
        chain: String,
        /// The record's sequence number.
        sequence: u64,
    },
    /// A record differs from a checkpoint of it.
    #[error(
        "chain {chain}: record {sequence} is not the one in a checkpoint: another history was put in its \
         place"
    )]
    Differs {
        /// The chain.
        chain: String,
        /// The record's sequence number.
        sequence: u64,
    },
    /// A checkpoint is newer than the chain's last record.
    #[error("chain {chain} ends at record {last}, and a checkpoint has record {sequence}: its end was cut off")]
    TailCut {
        /// The chain.
        chain: String,
        /// The sequence number of the last record.
        last: u64,
        /// The sequence number of the checkpoint's record.
        sequence: u64,
    },
    /// The feed row is not what tokend wrote, or revoked tokens may work again.
    #[error(transparent)]
    Feed(FeedProblem),
    /// A row differs from the log.
    #[error("{row} {problem}")]
    Row {
        /// The row's resource name.
        row: String,
        /// How the row differs.
        problem: RowProblem,
    },
}

/// How a row differs from the log.
#[derive(Debug, thiserror::Error)]
pub enum RowProblem {
    /// Its MAC is wrong, or a column is malformed.
    #[error("can't be trusted: {0}")]
    Tampered(StoreError),
    /// It differs from the row that its last change wrote.
    #[error("is not as record {sequence} left it: another row was put in its place")]
    Differs {
        /// The sequence number of its last record.
        sequence: u64,
    },
    /// It is missing.
    #[error("is gone, although record {sequence} left it there")]
    Gone {
        /// The sequence number of its last record.
        sequence: u64,
    },
    /// It exists although it was deleted.
    #[error("exists, although record {sequence} deleted it: it was put back")]
    PutBack {
        /// The sequence number of its last record.
        sequence: u64,
    },
    /// It has no record.
    #[error("exists, and no record says that it was created")]
    Unrecorded,
}

impl AuditReport {
    /// The maximum number of problems that are reported one by one.
    pub const MAX_FINDINGS: usize = 1_000;

    pub(super) fn find(&mut self, finding: Finding) {
        if self.findings.len() < Self::MAX_FINDINGS {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }
}
