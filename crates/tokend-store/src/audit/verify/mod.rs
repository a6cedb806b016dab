//! Verifies that the audit log is complete and that stored rows match it, for `tokend audit verify`.
//!
//! Everything is read from one snapshot, so servers may go on writing meanwhile. Each chain is verified in this order:
//! the MAC of its head; the place and hash of each record, up to the head ([`ChainVerifier`]); its checkpoints; and
//! each row of its subjects against the last record of that row. The installation's chain counts all chains, so a chain
//! that was deleted completely is missed.

mod finding;
mod rows;

pub use finding::{AuditReport, Finding, RowProblem};

use std::collections::BTreeMap;

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use tokend_core::{
    audit::{Chain, ChainError, ChainHash, ChainVerifier, Checkpoint, EventType, Head, Record},
    name::WorkspaceId,
    time::Timestamp,
};

use crate::{
    audit::{
        row as audit,
        tables::{audit_chains, audit_checkpoints, audit_events},
    },
    error::StoreError,
    feed::check as feed,
    pool::{Begin, Transaction},
    row::RowVerifier,
    store::Store,
    workspaces::tables::workspaces,
};
use rows::Subjects;

/// The number of rows that are read at once.
const AT_ONCE: u64 = 500;

/// The hashes in checkpoints, by sequence number.
type KnownHashes = BTreeMap<u64, Vec<ChainHash>>;

impl Store {
    /// Verifies the whole audit log, and every row that it describes. `kept` are checkpoints that were stored outside
    /// of the database.
    ///
    /// # Errors
    /// [`StoreError`] if the database can't be read. Problems of its contents are in the report.
    pub async fn verify_audit(&self, kept: Vec<Checkpoint>) -> Result<AuditReport, StoreError> {
        self.run(move |shared| async move {
            let snapshot = shared.connection.begin(Begin::Snapshot).await?;
            let mut verification = Verification {
                row_verifier: shared.row_verifier(),
                snapshot: &snapshot,
                report: AuditReport::default(),
            };
            verification.run(kept).await?;
            let Verification { report, .. } = verification;
            snapshot.rollback().await;
            Ok(report)
        })
        .await
    }
}

/// A verification in progress.
struct Verification<'a> {
    row_verifier: RowVerifier,
    snapshot: &'a Transaction,
    report: AuditReport,
}

/// A head, and whether its MAC is correct.
struct Found {
    head: Head,
    is_intact: bool,
}

impl Verification<'_> {
    async fn run(&mut self, kept: Vec<Checkpoint>) -> Result<(), StoreError> {
        let mut known = self.checkpoints(kept).await?;
        let heads = self.heads().await?;
        self.every_chain_is_there(&heads).await?;
        self.feed(&heads).await?;
        for (key, found) in &heads {
            self.chain(found, known.remove(key).unwrap_or_default(), &heads).await?;
        }
        for chain in known.into_keys() {
            self.report.find(Finding::ChainGone {
                chain,
                named_by: "a checkpoint",
            });
        }
        Ok(())
    }

    /// Reads the checkpoints of the database and those in `kept`. Reports forged ones and leaves them out.
    async fn checkpoints(&mut self, kept: Vec<Checkpoint>) -> Result<BTreeMap<String, KnownHashes>, StoreError> {
        let mut known: BTreeMap<String, KnownHashes> = BTreeMap::new();
        let mut stored = Vec::new();
        for model in audit_checkpoints::Entity::find().all(self.snapshot).await? {
            match audit::checkpoint(model) {
                Ok(checkpoint) => stored.push(checkpoint),
                Err(error) => self.report.find(Finding::Unreadable(error)),
            }
        }
        for checkpoint in stored.into_iter().chain(kept) {
            self.report.checkpoints += 1;
            let (chain, sequence) = (checkpoint.chain.as_str().to_owned(), checkpoint.sequence);
            if checkpoint.is_intact(self.row_verifier.ring()) {
                known
                    .entry(chain)
                    .or_default()
                    .entry(sequence)
                    .or_default()
                    .push(checkpoint.hash);
            } else {
                self.report.find(Finding::ForgedCheckpoint { chain, sequence });
            }
        }
        Ok(known)
    }

    async fn heads(&mut self) -> Result<BTreeMap<String, Found>, StoreError> {
        let mut heads = BTreeMap::new();
        for model in audit_chains::Entity::find()
            .order_by_asc(audit_chains::Column::Chain)
            .all(self.snapshot)
            .await?
        {
            let key = model.chain.clone();
            match audit::unverified_head(self.row_verifier.ring(), model) {
                Ok((head, is_intact)) => {
                    if !is_intact {
                        self.report.find(Finding::Broken {
                            chain: key.clone(),
                            problem: ChainError::Head,
                        });
                    }
                    heads.insert(key, Found { head, is_intact });
                }
                Err(error) => self.report.find(Finding::Unreadable(error)),
            }
        }
        self.report.chains = heads.len() as u64;
        Ok(heads)
    }

    /// Checks whether a chain was deleted completely: by the number of chains, by the workspaces that exist, and by
    /// records without a head.
    async fn every_chain_is_there(&mut self, heads: &BTreeMap<String, Found>) -> Result<(), StoreError> {
        let Some(installation) = heads.get(Chain::INSTALLATION) else {
            self.report.find(Finding::NoLog);
            return Ok(());
        };
        let (begun, found) = (installation.head.chains, heads.len() as u64);
        if installation.is_intact && begun != found {
            self.report.find(Finding::NumberOfChains { begun, found });
        }
        let mut after = String::new();
        loop {
            // The rows of a workspace without a chain are compared, too.
            let page = workspaces::Entity::find().filter(workspaces::Column::Id.gt(after.as_str()));
            let page = page
                .order_by_asc(workspaces::Column::Id)
                .limit(AT_ONCE)
                .all(self.snapshot)
                .await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.id);
            let is_older = |create_time| create_time < installation.head.begin_time.unix_micros();
            for workspace in page.into_iter().filter(|row| !heads.contains_key(&row.id)) {
                if let Ok(id) = workspace.id.parse() {
                    self.rows(&Chain::Workspace(id), Subjects::default(), Timestamp::MAX)
                        .await?;
                }
                if !is_older(workspace.create_time) {
                    self.report.find(Finding::ChainGone {
                        chain: workspace.id,
                        named_by: "the workspace",
                    });
                }
            }
        }
        let chains = audit_events::Entity::find()
            .select_only()
            .column(audit_events::Column::Chain)
            .distinct();
        for chain in chains.into_tuple::<String>().all(self.snapshot).await? {
            if !heads.contains_key(&chain) {
                self.report.find(Finding::Headless { chain });
            }
        }
        Ok(())
    }

    /// Checks the feed row. It is not sealed in an installation that no server of a version with a sealed feed row has
    /// served.
    async fn feed(&mut self, heads: &BTreeMap<String, Found>) -> Result<(), StoreError> {
        let is_sealed = heads
            .get(Chain::INSTALLATION)
            .is_none_or(|found| found.head.is_feed_sealed);
        if is_sealed && let Some(problem) = feed::problem(self.snapshot, self.row_verifier.ring()).await? {
            self.report.find(Finding::Feed(problem));
        }
        Ok(())
    }

    async fn chain(
        &mut self,
        found: &Found,
        known: KnownHashes,
        heads: &BTreeMap<String, Found>,
    ) -> Result<(), StoreError> {
        let Found { head, is_intact } = found;
        let ring = self.row_verifier.shared_ring();
        // Only the first break of a chain is reported, and a break of the head was reported already.
        let mut walk = is_intact.then(|| ChainVerifier::begin(&ring, head));
        let (mut subjects, mut after, mut kept_since) = (Subjects::default(), head.base_sequence, None);
        self.compare(
            head,
            known.get(&head.base_sequence),
            head.base_sequence,
            &head.base_hash,
        );
        loop {
            let page = audit_events::Entity::find()
                .filter(audit_events::Column::Chain.eq(head.chain.as_str()))
                .filter(audit_events::Column::Sequence.gt(after.cast_signed()))
                .order_by_asc(audit_events::Column::Sequence)
                .limit(AT_ONCE)
                .all(self.snapshot)
                .await?;
            let Some(last) = page.last() else { break };
            after = last.sequence.cast_unsigned();
            for model in page {
                self.report.records += 1;
                let record = match audit::record(model) {
                    Ok(record) => record,
                    Err(error) => {
                        self.report.find(Finding::Unreadable(error));
                        walk = None;
                        continue;
                    }
                };
                kept_since.get_or_insert(record.time_micros);
                if let Some(Err(problem)) = walk.as_mut().map(|walk| walk.step(&record)) {
                    self.report.find(Finding::Broken {
                        chain: head.chain.to_string(),
                        problem,
                    });
                    walk = None;
                }
                self.compare(
                    head,
                    known.get(&record.place.sequence),
                    record.place.sequence,
                    &record.hash,
                );
                if record.is_intact(&ring) {
                    self.workspace_has_its_chain(&record, heads);
                    subjects.note(&record);
                }
            }
        }
        if let Some(Err(problem)) = walk.map(|walk| walk.finish(head)) {
            self.report.find(Finding::Broken {
                chain: head.chain.to_string(),
                problem,
            });
        }
        if let Some((&sequence, _)) = known
            .last_key_value()
            .filter(|(sequence, _)| **sequence > after.max(head.sequence))
        {
            self.report.find(Finding::TailCut {
                chain: head.chain.to_string(),
                last: head.sequence,
                sequence,
            });
        }
        // The records of rows that are older than the oldest record may have been deleted.
        let recorded_since = match (head.base_sequence, kept_since) {
            (0, _) => head.begin_time,
            (_, Some(micros)) => Timestamp::from_unix_micros(micros).unwrap_or(Timestamp::MAX),
            (_, None) => Timestamp::MAX,
        };
        self.rows(&head.chain, subjects, recorded_since).await
    }

    fn compare(&mut self, head: &Head, known: Option<&Vec<ChainHash>>, sequence: u64, hash: &ChainHash) {
        if sequence > 0 && known.is_some_and(|known| known.iter().any(|known| known != hash)) {
            self.report.find(Finding::Differs {
                chain: head.chain.to_string(),
                sequence,
            });
        }
    }

    /// Checks that the chain of a workspace that was created exists.
    fn workspace_has_its_chain(&mut self, record: &Record, heads: &BTreeMap<String, Found>) {
        let is_told = record.place.chain == Chain::INSTALLATION && record.kind == EventType::WorkspaceCreated.as_str();
        let made = is_told.then(|| WorkspaceId::from_name(&record.resource).ok()).flatten();
        if let Some(workspace) = made.filter(|workspace| !heads.contains_key(workspace.as_str())) {
            self.report.find(Finding::ChainGone {
                chain: workspace.to_string(),
                named_by: "the record of the workspace's creation",
            });
        }
    }
}
