//! Compares each stored row with its last record.

use std::collections::BTreeMap;

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect, QueryTrait,
    sea_query::SelectStatement,
};
use tokend_core::{
    audit::{Chain, EventType, Record, RowAfter},
    caller::{Caller, CallerKey},
    organization::Organization,
    time::Timestamp,
    token::Token,
    workspace::Workspace,
};

use crate::{
    audit::verify::{AT_ONCE, Finding, RowProblem, Verification},
    callers::tables::{caller_keys, callers},
    error::StoreError,
    row::{Row, shown_id},
    tokens::tables::tokens,
    workspaces::tables::{organizations, workspaces},
};

/// The state of each row by its last record: the record's sequence number and the row's digest, by resource name.
#[derive(Default)]
pub(super) struct Subjects(BTreeMap<String, (u64, RowAfter)>);

impl Subjects {
    /// Adds the next record of the chain.
    pub(super) fn note(&mut self, record: &Record) {
        let Some(after @ (RowAfter::Is(_) | RowAfter::Gone)) = record.row_after() else {
            return;
        };
        if record.kind == EventType::CallerDeleted.as_str() {
            // The caller's keys are deleted with it.
            let keys = format!("{}/keys/", record.resource);
            self.0.retain(|resource, _| !resource.starts_with(&keys));
        }
        self.0.insert(record.resource.clone(), (record.place.sequence, after));
    }
}

/// A row whose changes are recorded in the audit log.
trait Subject: Row {
    /// Returns its resource name, from columns that may be malformed.
    fn resource(columns: &QueryResult) -> Result<String, StoreError>;

    fn create_time(&self) -> Timestamp;
}

impl Verification<'_> {
    /// Compares the rows of a chain's subjects with the chain.
    pub(super) async fn rows(
        &mut self,
        chain: &Chain,
        subjects: Subjects,
        recorded_since: Timestamp,
    ) -> Result<(), StoreError> {
        let mut comparison = Comparison {
            verification: self,
            subjects,
            recorded_since,
        };
        match chain {
            Chain::Installation => {
                let all = |after: Option<String>| {
                    let rows = organizations::Entity::find()
                        .order_by_asc(organizations::Column::Id)
                        .limit(AT_ONCE);
                    after
                        .into_iter()
                        .fold(rows, |rows, after| rows.filter(organizations::Column::Id.gt(after)))
                        .into_query()
                };
                comparison.each::<Organization, String>(all).await?;
                let all = |after: Option<String>| {
                    let rows = callers::Entity::find().order_by_asc(callers::Column::Id).limit(AT_ONCE);
                    after
                        .into_iter()
                        .fold(rows, |rows, after| rows.filter(callers::Column::Id.gt(after)))
                        .into_query()
                };
                comparison.each::<Caller, String>(all).await?;
                let all = |after: Option<Vec<u8>>| {
                    let rows = caller_keys::Entity::find()
                        .order_by_asc(caller_keys::Column::Id)
                        .limit(AT_ONCE);
                    after
                        .into_iter()
                        .fold(rows, |rows, after| rows.filter(caller_keys::Column::Id.gt(after)))
                        .into_query()
                };
                comparison.each::<CallerKey, Vec<u8>>(all).await?;
            }
            Chain::Workspace(workspace) => {
                let own = |after: Option<String>| {
                    let rows = workspaces::Entity::find_by_id(workspace.as_str());
                    after
                        .into_iter()
                        .fold(rows, |rows, after| rows.filter(workspaces::Column::Id.gt(after)))
                        .into_query()
                };
                comparison.each::<Workspace, String>(own).await?;
                let own = |after: Option<Vec<u8>>| {
                    let rows = tokens::Entity::find().filter(tokens::Column::Workspace.eq(workspace.as_str()));
                    let rows = rows.order_by_asc(tokens::Column::Id).limit(AT_ONCE);
                    after
                        .into_iter()
                        .fold(rows, |rows, after| rows.filter(tokens::Column::Id.gt(after)))
                        .into_query()
                };
                comparison.each::<Token, Vec<u8>>(own).await?;
            }
        }
        comparison.finish();
        Ok(())
    }
}

/// A comparison of one chain's rows in progress.
struct Comparison<'a, 'b> {
    verification: &'a mut Verification<'b>,
    subjects: Subjects,
    /// The records of rows that were created before this time may have been deleted.
    recorded_since: Timestamp,
}

impl Comparison<'_, '_> {
    /// Compares one page after another. `page` takes the id to continue after.
    async fn each<T: Subject, Id: sea_orm::TryGetable>(
        &mut self,
        page: impl Fn(Option<Id>) -> SelectStatement,
    ) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let rows = self.verification.snapshot.query_all(&page(after)).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.try_get("", "id")?);
            for columns in &rows {
                self.compare::<T>(columns)?;
            }
        }
    }

    fn compare<T: Subject>(&mut self, columns: &QueryResult) -> Result<(), StoreError> {
        self.verification.report.rows += 1;
        let row_verifier = &self.verification.row_verifier;
        let resource = T::resource(columns)?;
        let known = self.subjects.0.remove(&resource);
        let problem = match (row_verifier.read::<T>(columns, ""), known) {
            (Err(error), _) => RowProblem::Tampered(error),
            (Ok(row), Some((_, RowAfter::Is(digest)))) if row_verifier.ring().matches_audit_digest(&*row, &digest) => {
                return Ok(());
            }
            (Ok(_), Some((sequence, RowAfter::Is(_)))) => RowProblem::Differs { sequence },
            (Ok(_), Some((sequence, RowAfter::Gone))) => RowProblem::PutBack { sequence },
            (Ok(row), _) if row.create_time() < self.recorded_since => return Ok(()),
            (Ok(_), _) => RowProblem::Unrecorded,
        };
        self.verification.report.find(Finding::Row { row: resource, problem });
        Ok(())
    }

    /// Reports rows that have a record and are missing.
    fn finish(self) {
        for (resource, (sequence, after)) in self.subjects.0 {
            if let RowAfter::Is(_) = after {
                self.verification.report.find(Finding::Row {
                    row: resource,
                    problem: RowProblem::Gone { sequence },
                });
            }
        }
    }
}

impl Subject for Organization {
    fn resource(columns: &QueryResult) -> Result<String, StoreError> {
        Ok(format!("organizations/{}", columns.try_get::<String>("", "id")?))
    }

    fn create_time(&self) -> Timestamp {
        self.create_time
    }
}

impl Subject for Caller {
    fn resource(columns: &QueryResult) -> Result<String, StoreError> {
        Ok(format!("callers/{}", columns.try_get::<String>("", "id")?))
    }

    fn create_time(&self) -> Timestamp {
        self.create_time
    }
}

impl Subject for CallerKey {
    fn resource(columns: &QueryResult) -> Result<String, StoreError> {
        let (caller, id) = (
            columns.try_get::<String>("", "caller")?,
            columns.try_get::<Vec<u8>>("", "id")?,
        );
        Ok(format!("callers/{caller}/keys/{}", shown_id(&id)))
    }

    fn create_time(&self) -> Timestamp {
        self.create_time
    }
}

impl Subject for Workspace {
    fn resource(columns: &QueryResult) -> Result<String, StoreError> {
        Ok(format!("workspaces/{}", columns.try_get::<String>("", "id")?))
    }

    fn create_time(&self) -> Timestamp {
        self.create_time
    }
}

impl Subject for Token {
    fn resource(columns: &QueryResult) -> Result<String, StoreError> {
        let (workspace, id) = (
            columns.try_get::<String>("", "workspace")?,
            columns.try_get::<Vec<u8>>("", "id")?,
        );
        Ok(format!("workspaces/{workspace}/tokens/{}", shown_id(&id)))
    }

    fn create_time(&self) -> Timestamp {
        self.create_time
    }
}
