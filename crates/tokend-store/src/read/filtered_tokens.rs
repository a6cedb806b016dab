//! Tokens that a filter is true of.
//!
//! The database narrows, the core decides: each row that is found is judged by its MAC and evaluated as any other. No call looks at
//! more than a bounded number of rows: what a page looks at ends at a place that is read off the list's index first.

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select,
    sea_query::{Expr, Query},
};
use tokend_core::{credential::CredentialId, filter::TokenFilter, name::WorkspaceId, token::Token};

use super::{
    TimeCursor, cut,
    tokens::{ListedWorkspace, TokenPage, ids, workspace_of_list},
    usage::usage_of,
};
use crate::{
    entity::tokens::{Column, Entity},
    error::StoreError,
    narrowing::Narrowing,
    row,
    store::{Shared, Store},
};

/// Tokens that a page of a filtered list looks at, at most.
pub const MAX_EXAMINED: u64 = 10_000;
/// Tokens that are counted, at most.
pub const MAX_COUNTED: u64 = 10_000;
/// Tokens, the newest of the workspace, among which they are counted.
pub const MAX_COUNTED_AMONG: u64 = 100_000;

/// A place in a list of tokens, filtered or not, to go on after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPlace {
    /// The place.
    pub cursor: TimeCursor,
    /// How many tokens there were when the first page was read.
    pub total_size: u64,
}

impl TokenPlace {
    /// A form to put into a page token.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.total_size.to_be_bytes(), self.cursor.to_bytes().as_slice()].concat()
    }

    /// Takes the form that [`to_bytes`](Self::to_bytes) gave; `None` for any other.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (total_size, cursor) = bytes.split_first_chunk()?;
        // Without the total it would be read as another cursor.
        let cursor = TimeCursor::from_bytes(cursor).filter(|cursor| cursor.id.len() == CredentialId::BYTES)?;
        Some(Self { total_size: u64::from_be_bytes(*total_size), cursor })
    }
}

impl Store {
    /// The workspace's tokens that `filter` is true of, newest first, at most `limit` and after `after`. Looks at [`MAX_EXAMINED`] of
    /// its tokens at most: the page may be short, or empty, and still have a next one. The total counts to [`MAX_COUNTED`], among the
    /// newest [`MAX_COUNTED_AMONG`], and is that of the first page. `None` if there is no such workspace.
    ///
    /// # Errors
    /// [`StoreError`] of the workspace or the whole list; those of single tokens are in the page.
    pub async fn filtered_tokens(
        &self,
        workspace: &WorkspaceId,
        filter: TokenFilter,
        after: Option<TokenPlace>,
        limit: u64,
    ) -> Result<Option<TokenPage>, StoreError> {
        let workspace = workspace.clone();
        self.run(move |shared| async move { filtered_tokens(&shared, &workspace, &filter, after, limit).await }).await
    }
}

async fn filtered_tokens(
    shared: &Shared,
    workspace: &WorkspaceId,
    filter: &TokenFilter,
    after: Option<TokenPlace>,
    limit: u64,
) -> Result<Option<TokenPage>, StoreError> {
    let Some(listed) = workspace_of_list(shared, workspace).await? else { return Ok(None) };
    let ListedWorkspace { circumstances, token_count: _, now } = listed;
    let narrowing = Narrowing { circumstances: &circumstances, now, is_sqlite: shared.is_sqlite() };
    let matches = narrowing.of(filter);
    let all = Entity::find().filter(Column::Workspace.eq(workspace.as_str()));
    let (rest, total_size) = match after {
        None => (all.clone(), count(shared, all, matches.clone()).await?),
        Some(TokenPlace { cursor, total_size }) => (all.filter(cursor.comes_before(KEY)), total_size),
    };
    let (page, end) = first(shared, rest, MAX_EXAMINED).await?;
    let query = page.filter(matches).order_by_desc(Column::CreateTime).order_by_desc(Column::Id).limit(limit.saturating_add(1));
    let mut rows = shared.connection.query_all(&query.into_query()).await?;
    let next = cut(&mut rows, limit, TimeCursor::of)?.or(end);
    let mut tokens = shared.judge().each::<Token>(&rows)?;
    let usage = usage_of(shared, ids(&tokens)).await?;
    let is_wanted = |token: &Token| filter.matches(token, usage.get(&token.name.id), &circumstances, now);
    tokens.retain(|token| token.as_ref().map_or(true, is_wanted));
    Ok(Some(TokenPage { tokens, usage, next, total_size, circumstances, now }))
}

/// The order of lists.
pub(super) const KEY: [Column; 2] = [Column::CreateTime, Column::Id];

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

async fn count(shared: &Shared, rows: Select<Entity>, matches: Condition) -> Result<u64, StoreError> {
    let (rows, _) = first(shared, rows, MAX_COUNTED_AMONG).await?;
    let counted = rows.filter(matches).select_only().column(Column::Id).limit(MAX_COUNTED).into_query();
    let mut query = Query::select();
    query.expr_as(Expr::cust("count(*)"), row::COUNT).from_subquery(counted, "counted");
    row::count(shared.connection.query_one(&query).await?)
}
