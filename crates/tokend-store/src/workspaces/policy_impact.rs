//! Finds the tokens that a change of a policy ends earlier.
//!
//! The reads take no lock and describe the moment of the edit: tokens that are older than it exist, and tokens that
//! were revoked since have a revocation time. Each statement reads a bounded number of tokens: small workspaces share a
//! statement, a large one is read in slices.

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect,
    QueryTrait, Select,
};
use tokend_core::{
    name::{TokenName, WorkspaceId},
    policy::{Deadlines, PolicyName, Shortened},
    time::Timestamp,
    token::Token,
    workspace::WorkspaceState,
};

use crate::{
    error::StoreError,
    row::{self, LEFT},
    shared::Shared,
    store::Store,
    tokens::{
        tables::tokens::{Column, Entity},
        walk::{KEY, first},
    },
    workspaces::{
        tables::{organizations, workspaces},
        with_policy::{JOINED_WORKSPACE, WorkspaceWithPolicy},
    },
};

/// The number of workspaces that are read at once.
const WORKSPACES_AT_ONCE: u64 = 100;
/// The maximum number of tokens that a statement reads.
const AT_ONCE: u64 = 20_000;

/// A change of the deadlines of one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadlineChange {
    /// The policy.
    pub of: PolicyName,
    /// The deadlines before the change.
    pub before: Deadlines,
    /// The deadlines after the change.
    pub after: Deadlines,
    /// The time of the change.
    pub at: Timestamp,
}

/// The tokens that a change of a policy ends earlier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyImpact {
    /// The number of tokens.
    pub count: u64,
    /// Some of the tokens, each with its new end.
    pub some: Vec<(TokenName, Timestamp)>,
}

/// Workspaces in which the change affects the same range of tokens.
struct Batch {
    workspaces: Vec<WorkspaceId>,
    /// The number of tokens in all of them, from stored counters.
    token_count: u64,
    which: AffectedRange,
}

/// The range of affected tokens in a workspace. Workspaces without deadlines of their own have the same range.
#[derive(Clone, PartialEq)]
struct AffectedRange {
    shortened: Vec<Shortened>,
    /// Tokens created at this time or before had ended already.
    created_until_ended: Option<Timestamp>,
}

impl Store {
    /// Returns the number of tokens that the change ends earlier, and up to `limit` of them. Only tokens count that are
    /// neither revoked nor expired at the time of the change. Tokens of a suspended workspace count; those of a deleted
    /// workspace have ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn affected_tokens(&self, edit: DeadlineChange, limit: u64) -> Result<PolicyImpact, StoreError> {
        self.read(move |shared| async move { affected_tokens(&shared, &edit, limit).await })
            .await
    }
}

async fn affected_tokens(shared: &Shared, edit: &DeadlineChange, limit: u64) -> Result<PolicyImpact, StoreError> {
    let mut affected = PolicyImpact::default();
    if edit.after.shortening(&edit.before).is_empty() {
        return Ok(affected);
    }
    let bound = match &edit.of {
        PolicyName::Organization(id) => workspaces::Column::Organization.eq(id.as_str()),
        PolicyName::Workspace(id) => workspaces::Column::Id.eq(id.as_str()),
    };
    let mut after = String::new();
    loop {
        let page = workspaces::Entity::find()
            .find_also_related(organizations::Entity)
            .filter(bound.clone())
            .filter(workspaces::Column::Id.gt(after))
            .order_by_asc(workspaces::Column::Id)
            .limit(WORKSPACES_AT_ONCE);
        let rows = shared.connection.query_all(&page.into_query()).await?;
        let Some(last) = rows.last() else { return Ok(affected) };
        after = last.try_get(LEFT, "id")?;
        for batch in batches(shared, edit, &rows)? {
            batch.add_to(&mut affected, shared, edit.at, limit).await?;
        }
    }
}

fn batches(shared: &Shared, edit: &DeadlineChange, rows: &[QueryResult]) -> Result<Vec<Batch>, StoreError> {
    let mut batches = Vec::<Batch>::new();
    for columns in rows {
        let workspace = match WorkspaceWithPolicy::read(&shared.row_verifier(), columns, JOINED_WORKSPACE) {
            Ok(workspace) => workspace,
            Err(error @ StoreError::WrongKeys { .. }) => return Err(error),
            // The tokens of a row that fails verification are rejected anyway, and the error was logged.
            Err(_) => continue,
        };
        let which = AffectedRange::of(edit, &workspace);
        if which.shortened.is_empty() || matches!(workspace.state, WorkspaceState::Deleted { at } if at <= edit.at) {
            continue;
        }
        let token_count = u64::try_from(columns.try_get::<i64>(LEFT, "token_count")?).unwrap_or(0);
        let fits = |batch: &&mut Batch| batch.which == which && batch.token_count + token_count <= AT_ONCE;
        match batches.iter_mut().find(fits) {
            Some(batch) => {
                batch.workspaces.push(workspace.id.clone());
                batch.token_count += token_count;
            }
            None => batches.push(Batch {
                workspaces: vec![workspace.id.clone()],
                token_count,
                which,
            }),
        }
    }
    Ok(batches)
}

impl AffectedRange {
    fn of(edit: &DeadlineChange, workspace: &WorkspaceWithPolicy) -> Self {
        let nothing = Deadlines::default();
        let other = match edit.of {
            PolicyName::Organization(_) => &workspace.policy.deadlines,
            PolicyName::Workspace(_) => workspace
                .organization()
                .map_or(&nothing, |organization| &organization.policy.deadlines),
        };
        let before = other.and(&edit.before);
        Self {
            shortened: other.and(&edit.after).shortening(&before),
            created_until_ended: before.created_until_ended(edit.at),
        }
    }

    /// Selects the affected tokens.
    fn condition(&self, at: Timestamp) -> Condition {
        let micros = Timestamp::unix_micros;
        let lives_past = |end| {
            Condition::any()
                .add(Column::ExpireTime.is_null())
                .add(Column::ExpireTime.gt(micros(end)))
        };
        let shortened = self.shortened.iter().map(|part| {
            Condition::all()
                .add_option(part.created_after.map(|after| Column::CreateTime.gt(micros(after))))
                .add(Column::CreateTime.lte(micros(part.created_until)))
                .add(lives_past(part.end))
        });
        Condition::all()
            .add(
                Condition::any()
                    .add(Column::RevokeTime.is_null())
                    .add(Column::RevokeTime.gt(micros(at))),
            )
            .add(lives_past(at))
            .add_option(
                self.created_until_ended
                    .map(|until| Column::CreateTime.gt(micros(until))),
            )
            .add(shortened.fold(Condition::any(), Condition::add))
    }

    fn end_of(&self, token: &Token) -> Option<Timestamp> {
        let of_it = |part: &&Shortened| {
            part.created_after.is_none_or(|after| after < token.create_time) && token.create_time <= part.created_until
        };
        self.shortened.iter().find(of_it).map(|part| part.end)
    }
}

impl Batch {
    async fn add_to(
        &self,
        affected: &mut PolicyImpact,
        shared: &Shared,
        at: Timestamp,
        limit: u64,
    ) -> Result<(), StoreError> {
        let all = Entity::find().filter(Column::Workspace.is_in(self.workspaces.iter().map(WorkspaceId::as_str)));
        let condition = self.which.condition(at);
        if self.token_count <= AT_ONCE {
            return self.add_rows(affected, shared, all.filter(condition), limit).await;
        }
        // A batch this large is one workspace, whose list index has the tokens in order.
        let mut rest = all.clone();
        loop {
            let (slice, end) = first(shared, rest, AT_ONCE).await?;
            self.add_rows(affected, shared, slice.filter(condition.clone()), limit)
                .await?;
            let Some(end) = end else { return Ok(()) };
            rest = all.clone().filter(end.comes_before(KEY));
        }
    }

    async fn add_rows(
        &self,
        affected: &mut PolicyImpact,
        shared: &Shared,
        rows: Select<Entity>,
        limit: u64,
    ) -> Result<(), StoreError> {
        affected.count += row::count(shared.connection.query_one(&row::counting(rows.clone())).await?)?;
        let room = limit.saturating_sub(affected.some.len() as u64);
        if room == 0 {
            return Ok(());
        }
        let rows = rows
            .order_by_asc(Column::Workspace)
            .order_by_desc(Column::CreateTime)
            .order_by_desc(Column::Id)
            .limit(room);
        let rows = shared.connection.query_all(&rows.into_query()).await?;
        for token in shared.row_verifier().each::<Token>(&rows)?.into_iter().flatten() {
            affected
                .some
                .extend(self.which.end_of(&token).map(|end| (token.name, end)));
        }
        Ok(())
    }
}
