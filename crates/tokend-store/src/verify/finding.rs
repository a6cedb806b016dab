use tokend_core::audit::Break;

use crate::{error::StoreError, feed::FeedProblem};

/// What a verification of the audit log looked at and found.
#[derive(Debug, Default)]
pub struct AuditReport {
    /// Chains that there are.
    pub chains: u64,
    /// Records that were read.
    pub records: u64,
    /// Checkpoints that were compared.
    pub checkpoints: u64,
    /// Rows that were compared with their last record.
    pub rows: u64,
    /// What is wrong; the first [`MAX_FINDINGS`](Self::MAX_FINDINGS). Empty: everything is right.
    pub findings: Vec<Finding>,
    /// How many more things are wrong.
    pub more: u64,
}

/// Something that is wrong, as a sentence that says where.
#[derive(Debug, thiserror::Error)]
pub enum Finding {
    /// The installation's chain has no head.
    #[error("the audit log is gone: the installation's chain has no head")]
    NoLog,
    /// Chains were deleted, with everything that they told of.
    #[error("{begun} chains were begun and {found} are there")]
    NumberOfChains {
        /// By the installation's head.
        begun: u64,
        /// By looking.
        found: u64,
    },
    /// A chain is missed.
    #[error("chain {chain} is gone, of which {told_by} tells")]
    ChainGone {
        /// Which.
        chain: String,
        /// What it is missed by.
        told_by: &'static str,
    },
    /// Records without a head.
    #[error("chain {chain} has records and no head")]
    Headless {
        /// Which.
        chain: String,
    },
    /// A chain's first break.
    #[error("chain {chain}: {problem}")]
    Broken {
        /// Which.
        chain: String,
        /// Where, and how.
        problem: Break,
    },
    /// A row of the log means nothing.
    #[error(transparent)]
    Unreadable(StoreError),
    /// A checkpoint was not made by this installation.
    #[error("chain {chain}: the checkpoint at record {sequence} is not one of this installation: its MAC does not match")]
    ForgedCheckpoint {
        /// Of which chain.
        chain: String,
        /// At which record.
        sequence: u64,
    },
    /// A record is not the one that a checkpoint tells of.
    #[error("chain {chain}: record {sequence} is not the one that a checkpoint tells of: another history was put in its place")]
    Differs {
        /// Which chain.
        chain: String,
        /// Which record.
        sequence: u64,
    },
    /// A checkpoint tells of more than there is.
    #[error("chain {chain} ends at record {last}, and a checkpoint tells of record {sequence}: its end was cut off")]
    TailCut {
        /// Which chain.
        chain: String,
        /// Its last record.
        last: u64,
        /// The record that the checkpoint tells of.
        sequence: u64,
    },
    /// The feed's row is not what tokend wrote, or says that something revoked may work again.
    #[error(transparent)]
    Feed(FeedProblem),
    /// A row is not what the log tells.
    #[error("{row} {problem}")]
    Row {
        /// Its resource name.
        row: String,
        /// How it differs.
        problem: RowProblem,
    },
}

/// How a row differs from what the log tells of it.
#[derive(Debug, thiserror::Error)]
pub enum RowProblem {
    /// Its MAC is wrong, or a column means nothing.
    #[error("can't be believed: {0}")]
    Tampered(StoreError),
    /// It was another one after its last change.
    #[error("is not as record {sequence} left it: another row was put in its place")]
    Differs {
        /// The last record that tells of it.
        sequence: u64,
    },
    /// It is not there.
    #[error("is gone, although record {sequence} left it there")]
    Gone {
        /// The last record that tells of it.
        sequence: u64,
    },
    /// It is there.
    #[error("is there, although it was deleted by record {sequence}: it was put back")]
    PutBack {
        /// The last record that tells of it.
        sequence: u64,
    },
    /// No record tells of it.
    #[error("is there, and no record tells of its making")]
    Unrecorded,
}

impl AuditReport {
    /// Most things that are told one by one.
    pub const MAX_FINDINGS: usize = 1_000;

    pub(super) fn find(&mut self, finding: Finding) {
        if self.findings.len() < Self::MAX_FINDINGS {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }
}
