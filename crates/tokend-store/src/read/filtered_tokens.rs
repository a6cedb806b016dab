//! Tokens that a filter is true of. No call looks at more than a bounded number of them.

use std::collections::BTreeMap;

use tokend_core::{credential::CredentialId, filter::TokenFilter, name::WorkspaceId};

use super::{
    TimeCursor,
    token_walk::TokenWalk,
    tokens::{ListedWorkspace, TokenPage, workspace_of_list},
};
use crate::{
    error::StoreError,
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
    /// newest [`MAX_COUNTED_AMONG`] (or [`MAX_EXAMINED`], if the database can't count what matches), and is that of the first page.
    /// `None` if there is no such workspace.
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
        self.list(move |shared| async move { filtered_tokens(&shared, &workspace, &filter, after, limit).await }).await
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
    let walk = |after| TokenWalk::new(shared, (filter, &circumstances, now), after);
    let (after, total_size) = match after {
        None => (None, count(walk(None)).await?),
        Some(TokenPlace { cursor, total_size }) => (Some(cursor), total_size),
    };
    let mut walk = walk(after);
    let (mut tokens, mut usage, mut last, mut examined) = (Vec::new(), BTreeMap::new(), None, 0);
    let next = 'page: loop {
        // One more shows that there is a next page.
        let step = walk.step(limit.saturating_sub(tokens.len() as u64).saturating_add(1)).await?;
        usage.extend(step.usage);
        for (place, token) in step.found {
            if tokens.len() as u64 == limit {
                break 'page last;
            }
            tokens.push(token);
            last = Some(place);
        }
        examined += walk.step_size();
        if step.end.is_none() || examined >= MAX_EXAMINED {
            break step.end;
        }
    };
    Ok(Some(TokenPage { tokens, usage, next, total_size, circumstances, now }))
}

async fn count(walk: TokenWalk<'_>) -> Result<u64, StoreError> {
    let among = if walk.is_exact() { MAX_COUNTED_AMONG } else { MAX_EXAMINED };
    walk.count(among, MAX_COUNTED).await
}
