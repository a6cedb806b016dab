//! Walks the tokens of a workspace, newest first, and finds those that match a filter.
//!
//! The database narrows, the core decides: each row that is found is verified by its MAC and evaluated as any other. Each statement looks at
//! a bounded number of rows, whose end is read off the list's index first. So no statement holds a snapshot or a connection for long,
//! others have their turn in between, and a walk that nobody waits for any more ends with its statement.

use std::collections::BTreeMap;

use sea_orm::{ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select};
use tokend_core::{
    credential::CredentialId,
    filter::TokenFilter,
    time::Timestamp,
    token::{Circumstances, Token},
    usage::Usage,
};

use super::{TimeCursor, tokens::ids, usage::usage_of};
use crate::{
    entity::tokens::{Column, Entity},
    error::StoreError,
    narrowing::{Narrowed, Narrowing},
    row,
    store::Shared,
};

/// The order of lists.
pub(super) const KEY: [Column; 2] = [Column::CreateTime, Column::Id];

/// Rows that a statement looks at, at most, where the database does all of the narrowing.
const AT_ONCE: u64 = 2_000;
/// Rows that a statement looks at, at most, where the core may have to look at each of them.
const READ_AT_ONCE: u64 = 250;

/// A walk under way.
pub(super) struct TokenWalk<'a> {
    shared: &'a Shared,
    filter: &'a TokenFilter,
    circumstances: &'a Circumstances,
    now: Timestamp,
    all: Select<Entity>,
    narrowed: Narrowed,
    /// Where the next step begins.
    after: Option<TimeCursor>,
}

/// What a step of a walk found.
pub(super) struct Step {
    /// The tokens that match, each with its place; what can't be read or was tampered with is an error.
    pub(super) found: Vec<(TimeCursor, Result<Token, StoreError>)>,
    /// What is known of their use.
    pub(super) usage: BTreeMap<CredentialId, Usage>,
    /// Where the step ended; nothing if that is the end of the list.
    pub(super) end: Option<TimeCursor>,
}

impl<'a> TokenWalk<'a> {
    /// Starts a walk through the workspace's tokens behind `after`.
    pub(super) fn new(
        shared: &'a Shared,
        (filter, circumstances, now): (&'a TokenFilter, &'a Circumstances, Timestamp),
        after: Option<TimeCursor>,
    ) -> Self {
        let all = Entity::find().filter(Column::Workspace.eq(circumstances.workspace.as_str()));
        let narrowed = Narrowing { circumstances, now, is_sqlite: shared.is_sqlite() }.of(filter);
        Self { shared, filter, circumstances, now, all, narrowed, after }
    }

    /// Leaves out tokens of which `condition` is not true.
    pub(super) fn only(mut self, condition: impl Into<Condition>) -> Self {
        self.narrowed.condition = Condition::all().add(self.narrowed.condition).add(condition.into());
        self
    }

    /// Whether the database can count what matches.
    pub(super) const fn is_exact(&self) -> bool {
        self.narrowed.is_exact
    }

    /// How many tokens a step looks at, at most.
    pub(super) const fn step_size(&self) -> u64 {
        if self.is_exact() { AT_ONCE } else { READ_AT_ONCE }
    }

    /// Finds what matches in the next step, which ends early once there are `wanted` of them.
    pub(super) async fn step(&mut self, wanted: u64) -> Result<Step, StoreError> {
        let reading = self.shared.read_much().await;
        let (slice, end) = first(self.shared, behind(&self.all, self.after.as_ref()), self.step_size()).await?;
        // If the core has to look at each row, the number of rows says little about how many of them match.
        let most = if self.is_exact() { wanted } else { self.step_size() };
        let query = slice.filter(self.narrowed.condition.clone());
        let query = query.order_by_desc(Column::CreateTime).order_by_desc(Column::Id).limit(most);
        let rows = self.shared.connection.query_all(&query.into_query()).await?;
        drop(reading);
        let is_cut = self.is_exact() && rows.len() as u64 == most;
        let end = if is_cut { rows.last().map(TimeCursor::of).transpose()? } else { end };
        self.after.clone_from(&end);

        let tokens = self.shared.judge().each::<Token>(&rows)?;
        let usage = usage_of(self.shared, ids(&tokens)).await?;
        let is_wanted = |token: &Token| self.filter.matches(token, usage.get(&token.name.id), self.circumstances, self.now);
        let mut found = Vec::new();
        for (row, token) in rows.iter().zip(tokens) {
            if token.as_ref().map_or(true, is_wanted) {
                found.push((TimeCursor::of(row)?, token));
            }
        }
        Ok(Step { found, usage, end })
    }

    /// Counts what matches among the first `among` tokens of the walk, up to `most`.
    pub(super) async fn count(mut self, among: u64, most: u64) -> Result<u64, StoreError> {
        let (mut counted, mut examined) = (0, 0);
        while counted < most && examined < among {
            examined += self.step_size();
            if self.is_exact() {
                counted += self.count_step().await?;
            } else {
                counted += self.step(u64::MAX).await?.found.len() as u64;
            }
            if self.after.is_none() {
                break;
            }
        }
        Ok(counted.min(most))
    }

    /// Counts what matches in the next step, without reading it.
    async fn count_step(&mut self) -> Result<u64, StoreError> {
        let _reading = self.shared.read_much().await;
        let (slice, end) = first(self.shared, behind(&self.all, self.after.as_ref()), self.step_size()).await?;
        self.after = end;
        let counted = row::counting(slice.filter(self.narrowed.condition.clone()));
        row::count(self.shared.connection.query_one(&counted).await?)
    }
}

/// The rows that come after a place, newest first.
fn behind(all: &Select<Entity>, after: Option<&TimeCursor>) -> Select<Entity> {
    match after {
        None => all.clone(),
        Some(after) => all.clone().filter(after.clone().comes_before(KEY)),
    }
}

/// The first `most` of the rows, newest first, and where they end if there are more.
pub(super) async fn first(
    shared: &Shared,
    rows: Select<Entity>,
    most: u64,
) -> Result<(Select<Entity>, Option<TimeCursor>), StoreError> {
    let places = rows.clone().select_only().columns(KEY).order_by_desc(Column::CreateTime).order_by_desc(Column::Id);
    // The last one, and one more: both are read off the index, without the rows.
    let last = places.offset(most.saturating_sub(1)).limit(2);
    match shared.connection.query_all(&last.into_query()).await?.as_slice() {
        [last, _] => {
            let end = TimeCursor::of(last)?;
            Ok((rows.filter(end.clone().up_to_here(KEY)), Some(end)))
        }
        _ => Ok((rows, None)),
    }
}
