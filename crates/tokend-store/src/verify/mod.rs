//! Whether the audit log is whole, and whether what is stored is what it tells: for `tokend audit verify`.
//!
//! All of it is read from one snapshot, so that servers may go on writing meanwhile. Chain by chain: the head's MAC; each record's
//! place and hash, up to the head ([`Walk`]); the checkpoints; and then each row of the chain's subjects against the last record
//! that tells of it. The installation's chain counts all chains, so that one that was deleted whole is missed.

mod finding;
mod rows;

pub use finding::{AuditReport, Finding, RowProblem};

use std::collections::BTreeMap;

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use tokend_core::{
    audit::{Break, Chain, ChainHash, Checkpoint, EventType, Head, Record, Walk},
    name::WorkspaceId,
    time::Timestamp,
};

use crate::{
    entity::{audit_chains, audit_checkpoints, audit_events, workspaces},
    error::StoreError,
    feed,
    pool::{Begin, Transaction},
    row::{Judge, audit},
    store::Store,
};
use rows::Subjects;

/// Rows read at once.
const AT_ONCE: u64 = 500;

/// Hashes that checkpoints tell, by sequence number.
type Told = BTreeMap<u64, Vec<ChainHash>>;

impl Store {
    /// Verifies the whole audit log, and every row that it tells of. `kept` are checkpoints that were kept outside of the database.
    ///
    /// # Errors
    /// [`StoreError`] if the database can't be read. What is wrong in it is in the report.
    pub async fn verify_audit(&self, kept: Vec<Checkpoint>) -> Result<AuditReport, StoreError> {
        self.run(move |shared| async move {
            let snapshot = shared.connection.begin(Begin::Snapshot).await?;
            let mut verification = Verification { judge: shared.judge(), snapshot: &snapshot, report: AuditReport::default() };
            verification.run(kept).await?;
            let Verification { report, .. } = verification;
            snapshot.rollback().await;
            Ok(report)
        })
        .await
    }
}

/// A verification under way.
struct Verification<'a> {
    judge: Judge,
    snapshot: &'a Transaction,
    report: AuditReport,
}

/// A head, and whether its MAC is right.
struct Found {
    head: Head,
    is_intact: bool,
}

impl Verification<'_> {
    async fn run(&mut self, kept: Vec<Checkpoint>) -> Result<(), StoreError> {
        let mut told = self.checkpoints(kept).await?;
        let heads = self.heads().await?;
        self.every_chain_is_there(&heads).await?;
        self.feed(&heads).await?;
        for (key, found) in &heads {
            self.chain(found, told.remove(key).unwrap_or_default(), &heads).await?;
        }
        for chain in told.into_keys() {
            self.report.find(Finding::ChainGone { chain, told_by: "a checkpoint" });
        }
        Ok(())
    }

    /// What checkpoints tell, those of the database and those that were kept; forged ones are found and left out.
    async fn checkpoints(&mut self, kept: Vec<Checkpoint>) -> Result<BTreeMap<String, Told>, StoreError> {
        let mut told: BTreeMap<String, Told> = BTreeMap::new();
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
            if checkpoint.is_intact(self.judge.ring()) {
                told.entry(chain).or_default().entry(sequence).or_default().push(checkpoint.hash);
            } else {
                self.report.find(Finding::ForgedCheckpoint { chain, sequence });
            }
        }
        Ok(told)
    }

    async fn heads(&mut self) -> Result<BTreeMap<String, Found>, StoreError> {
        let mut heads = BTreeMap::new();
        for model in audit_chains::Entity::find().order_by_asc(audit_chains::Column::Chain).all(self.snapshot).await? {
            let key = model.chain.clone();
            match audit::unverified_head(self.judge.ring(), model) {
                Ok((head, is_intact)) => {
                    if !is_intact {
                        self.report.find(Finding::Broken { chain: key.clone(), problem: Break::Head });
                    }
                    heads.insert(key, Found { head, is_intact });
                }
                Err(error) => self.report.find(Finding::Unreadable(error)),
            }
        }
        self.report.chains = heads.len() as u64;
        Ok(heads)
    }

    /// Whether a chain was deleted whole: by their number, by the workspaces that there are, and by records without a head.
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
            // Without a chain, a workspace's rows are still looked at.
            let page = workspaces::Entity::find().filter(workspaces::Column::Id.gt(after.as_str()));
            let page = page.order_by_asc(workspaces::Column::Id).limit(AT_ONCE).all(self.snapshot).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.id);
            let is_older = |create_time| create_time < installation.head.begin_time.unix_micros();
            for workspace in page.into_iter().filter(|row| !heads.contains_key(&row.id)) {
                if let Ok(id) = workspace.id.parse() {
                    self.rows(&Chain::Workspace(id), Subjects::default(), Timestamp::MAX).await?;
                }
                if !is_older(workspace.create_time) {
                    self.report.find(Finding::ChainGone { chain: workspace.id, told_by: "the workspace" });
                }
            }
        }
        let chains = audit_events::Entity::find().select_only().column(audit_events::Column::Chain).distinct();
        for chain in chains.into_tuple::<String>().all(self.snapshot).await? {
            if !heads.contains_key(&chain) {
                self.report.find(Finding::Headless { chain });
            }
        }
        Ok(())
    }

    /// Whether the feed's row is the one that was sealed. In an installation that was never served since the feed is sealed, none was.
    async fn feed(&mut self, heads: &BTreeMap<String, Found>) -> Result<(), StoreError> {
        let is_sealed = heads.get(Chain::INSTALLATION).is_none_or(|found| found.head.is_feed_sealed);
        if is_sealed && let Some(problem) = feed::problem(self.snapshot, self.judge.ring()).await? {
            self.report.find(Finding::Feed(problem));
        }
        Ok(())
    }

    async fn chain(&mut self, found: &Found, told: Told, heads: &BTreeMap<String, Found>) -> Result<(), StoreError> {
        let Found { head, is_intact } = found;
        let ring = self.judge.shared_ring();
        // A chain is told of by its first break; that of the head was told.
        let mut walk = is_intact.then(|| Walk::begin(&ring, head));
        let (mut subjects, mut after, mut kept_since) = (Subjects::default(), head.base_sequence, None);
        self.compare(head, told.get(&head.base_sequence), head.base_sequence, &head.base_hash);
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
                    self.report.find(Finding::Broken { chain: head.chain.to_string(), problem });
                    walk = None;
                }
                self.compare(head, told.get(&record.place.sequence), record.place.sequence, &record.hash);
                if record.is_intact(&ring) {
                    self.workspace_has_its_chain(&record, heads);
                    subjects.note(&record);
                }
            }
        }
        if let Some(Err(problem)) = walk.map(|walk| walk.finish(head)) {
            self.report.find(Finding::Broken { chain: head.chain.to_string(), problem });
        }
        if let Some((&sequence, _)) = told.last_key_value().filter(|(sequence, _)| **sequence > after.max(head.sequence)) {
            self.report.find(Finding::TailCut { chain: head.chain.to_string(), last: head.sequence, sequence });
        }
        // Of what is older than the oldest record that is kept, the record may be gone.
        let recorded_since = match (head.base_sequence, kept_since) {
            (0, _) => head.begin_time,
            (_, Some(micros)) => Timestamp::from_unix_micros(micros).unwrap_or(Timestamp::MAX),
            (_, None) => Timestamp::MAX,
        };
        self.rows(&head.chain, subjects, recorded_since).await
    }

    fn compare(&mut self, head: &Head, told: Option<&Vec<ChainHash>>, sequence: u64, hash: &ChainHash) {
        if sequence > 0 && told.is_some_and(|told| told.iter().any(|told| told != hash)) {
            self.report.find(Finding::Differs { chain: head.chain.to_string(), sequence });
        }
    }

    /// Whether the chain of a workspace that was made is there.
    fn workspace_has_its_chain(&mut self, record: &Record, heads: &BTreeMap<String, Found>) {
        let is_told = record.place.chain == Chain::INSTALLATION && record.kind == EventType::WorkspaceCreated.as_str();
        let made = is_told.then(|| WorkspaceId::from_name(&record.resource).ok()).flatten();
        if let Some(workspace) = made.filter(|workspace| !heads.contains_key(workspace.as_str())) {
            self.report.find(Finding::ChainGone { chain: workspace.to_string(), told_by: "the record of the workspace's making" });
        }
    }
}
