//! Goes through the tokens of a workspace, newest first, and finds those that match a filter.
//!
//! The database applies the filter as far as it can, and `tokend-core` decides: each row that the database returns is
//! verified by its MAC and checked against the filter. Each statement reads a bounded number of rows, and first reads
//! from the index where they end. So no statement holds a snapshot or a connection for long, other calls run between
//! the statements, and a walk whose caller has gone ends with the current statement.

use std::collections::BTreeMap;

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select,
};
use tokend_core::{
    credential::CredentialId,
    filter::TokenFilter,
    time::Timestamp,
    token::usage::Usage,
    token::{Token, TokenContext},
};

use crate::{
    error::StoreError,
    row::{self, TimeCursor, filter::FilterCondition},
    shared::Shared,
    tokens::{
        filter_sql::FilterSql,
        reads::ids,
        tables::tokens::{Column, Entity},
    },
    usage::reads::usage_of,
};

/// The columns by which lists of tokens are ordered.
pub(crate) const KEY: [Column; 2] = [Column::CreateTime, Column::Id];

/// The maximum number of rows that a statement reads if the database applies the whole filter.
const AT_ONCE: u64 = 2_000;
/// The maximum number of rows that a statement reads if `tokend-core` may have to check each of them.
const READ_AT_ONCE: u64 = 250;

/// A walk in progress.
pub(crate) struct TokenWalk<'a> {
    shared: &'a Shared,
    filter: &'a TokenFilter,
    token_context: &'a TokenContext,
    now: Timestamp,
    all: Select<Entity>,
    narrowed: FilterCondition,
    /// The place after which the next step begins.
    after: Option<TimeCursor>,
}

/// The result of one step of a walk.
pub(crate) struct Step {
    /// The matching tokens, each with its place. A row that fails verification is an error in its place.
    pub(crate) found: Vec<(TimeCursor, Result<Token, StoreError>)>,
    /// Their recorded usage.
    pub(crate) usage: BTreeMap<CredentialId, Usage>,
    /// Where the step ended. `None` at the end of the list.
    pub(crate) end: Option<TimeCursor>,
}

impl<'a> TokenWalk<'a> {
    /// Starts a walk through a workspace's tokens, after `after`.
    pub(crate) fn new(
        shared: &'a Shared,
        (filter, token_context, now): (&'a TokenFilter, &'a TokenContext, Timestamp),
        after: Option<TimeCursor>,
    ) -> Self {
        let all = Entity::find().filter(Column::Workspace.eq(token_context.workspace.as_str()));
        let narrowed = FilterSql {
            token_context,
            now,
            is_sqlite: shared.is_sqlite(),
        }
        .of(filter);
        Self {
            shared,
            filter,
            token_context,
            now,
            all,
            narrowed,
            after,
        }
    }

    /// Leaves out tokens that do not meet `condition`.
    pub(crate) fn only(mut self, condition: impl Into<Condition>) -> Self {
        self.narrowed.condition = Condition::all().add(self.narrowed.condition).add(condition.into());
        self
    }

    /// Returns whether the database can count the matching tokens.
    pub(crate) const fn is_exact(&self) -> bool {
        self.narrowed.is_exact
    }

    /// Returns the maximum number of tokens that a step reads.
    pub(crate) const fn step_size(&self) -> u64 {
        if self.is_exact() { AT_ONCE } else { READ_AT_ONCE }
    }

    /// Finds the matching tokens of the next step. The step ends early when it has found `wanted` tokens.
    pub(crate) async fn step(&mut self, wanted: u64) -> Result<Step, StoreError> {
        let reading = self.shared.read_much().await;
        let (slice, end) = first(self.shared, behind(&self.all, self.after.as_ref()), self.step_size()).await?;
        // If `tokend-core` has to check each row, the number of rows says little about the number of matches.
        let most = if self.is_exact() { wanted } else { self.step_size() };
        let query = slice.filter(self.narrowed.condition.clone());
        let query = query
            .order_by_desc(Column::CreateTime)
            .order_by_desc(Column::Id)
            .limit(most);
        let rows = self.shared.connection.query_all(&query.into_query()).await?;
        drop(reading);
        let is_cut = self.is_exact() && rows.len() as u64 == most;
        let end = if is_cut {
            rows.last().map(TimeCursor::of).transpose()?
        } else {
            end
        };
        self.after.clone_from(&end);

        let tokens = self.shared.row_verifier().each::<Token>(&rows)?;
        let usage = usage_of(self.shared, ids(&tokens)).await?;
        let is_wanted = |token: &Token| {
            self.filter
                .matches(token, usage.get(&token.name.id), self.token_context, self.now)
        };
        let mut found = Vec::new();
        for (row, token) in rows.iter().zip(tokens) {
            if token.as_ref().map_or(true, is_wanted) {
                found.push((TimeCursor::of(row)?, token));
            }
        }
        Ok(Step { found, usage, end })
    }

    /// Counts the matching tokens among the first `among` tokens of the walk, up to `most`.
    pub(crate) async fn count(mut self, among: u64, most: u64) -> Result<u64, StoreError> {
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

    /// Counts the matching tokens of the next step without reading them.
    async fn count_step(&mut self) -> Result<u64, StoreError> {
        let _reading = self.shared.read_much().await;
        let (slice, end) = first(self.shared, behind(&self.all, self.after.as_ref()), self.step_size()).await?;
        self.after = end;
        let counted = row::counting(slice.filter(self.narrowed.condition.clone()));
        row::count(self.shared.connection.query_one(&counted).await?)
    }
}

/// Selects the rows after a place, newest first.
fn behind(all: &Select<Entity>, after: Option<&TimeCursor>) -> Select<Entity> {
    match after {
        None => all.clone(),
        Some(after) => all.clone().filter(after.clone().comes_before(KEY)),
    }
}

/// Selects the first `most` of the rows, newest first, and returns where they end if there are more.
pub(crate) async fn first(
    shared: &Shared,
    rows: Select<Entity>,
    most: u64,
) -> Result<(Select<Entity>, Option<TimeCursor>), StoreError> {
    let places = rows
        .clone()
        .select_only()
        .columns(KEY)
        .order_by_desc(Column::CreateTime)
        .order_by_desc(Column::Id);
    // The last row and the one after it. Both come from the index alone.
    let last = places.offset(most.saturating_sub(1)).limit(2);
    match shared.connection.query_all(&last.into_query()).await?.as_slice() {
        [last, _] => {
            let end = TimeCursor::of(last)?;
            Ok((rows.filter(end.clone().up_to_here(KEY)), Some(end)))
        }
        _ => Ok((rows, None)),
    }
}
