//! Lists of tokens that match a filter. Each call reads a bounded number of tokens.

use std::collections::BTreeMap;

use tokend_core::{credential::CredentialId, filter::TokenFilter, name::WorkspaceId};

use crate::{
    error::StoreError,
    row::TimeCursor,
    shared::Shared,
    store::Store,
    tokens::{
        reads::{ListedWorkspace, TokenPage, workspace_of_list},
        walk::TokenWalk,
    },
};

/// The maximum number of tokens that one page of a filtered list reads.
pub const MAX_EXAMINED: u64 = 10_000;
/// The maximum number of matching tokens that are counted.
pub const MAX_COUNTED: u64 = 10_000;
/// The number of tokens, the newest of the workspace, among which matching tokens are counted.
pub const MAX_COUNTED_AMONG: u64 = 100_000;

/// A place in a list of tokens, filtered or not, after which the next page starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenCursor {
    /// The place.
    pub cursor: TimeCursor,
    /// The number of tokens when the first page was read.
    pub total_size: u64,
}

impl TokenCursor {
    /// Returns the bytes to put into a page token.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.total_size.to_be_bytes(), self.cursor.to_bytes().as_slice()].concat()
    }

    /// Reads the bytes that [`to_bytes`](Self::to_bytes) returned. `None` for any other bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (total_size, cursor) = bytes.split_first_chunk()?;
        // A cursor without the total would otherwise be read as a different cursor.
        let cursor = TimeCursor::from_bytes(cursor).filter(|cursor| cursor.id.len() == CredentialId::BYTES)?;
        Some(Self {
            total_size: u64::from_be_bytes(*total_size),
            cursor,
        })
    }
}

impl Store {
    /// Lists a workspace's tokens that match `filter`, newest first: at most `limit`, after `after`. Reads at most
    /// [`MAX_EXAMINED`] tokens, so a page may be short or empty and still have a next page. The total counts up to
    /// [`MAX_COUNTED`] matching tokens among the newest [`MAX_COUNTED_AMONG`] (or [`MAX_EXAMINED`], if the database
    /// can't count the matches), and is that of the first page. `None` if the workspace does not exist.
    ///
    /// # Errors
    /// [`StoreError`] of the workspace or the whole list; those of single tokens are in the page.
    pub async fn filtered_tokens(
        &self,
        workspace: &WorkspaceId,
        filter: TokenFilter,
        after: Option<TokenCursor>,
        limit: u64,
    ) -> Result<Option<TokenPage>, StoreError> {
        let workspace = workspace.clone();
        self.list(move |shared| async move { filtered_tokens(&shared, &workspace, &filter, after, limit).await })
            .await
    }
}

async fn filtered_tokens(
    shared: &Shared,
    workspace: &WorkspaceId,
    filter: &TokenFilter,
    after: Option<TokenCursor>,
    limit: u64,
) -> Result<Option<TokenPage>, StoreError> {
    let Some(listed) = workspace_of_list(shared, workspace).await? else {
        return Ok(None);
    };
    let ListedWorkspace {
        token_context,
        token_count: _,
        now,
    } = listed;
    let walk = |after| TokenWalk::new(shared, (filter, &token_context, now), after);
    let (after, total_size) = match after {
        None => (None, count(walk(None)).await?),
        Some(TokenCursor { cursor, total_size }) => (Some(cursor), total_size),
    };
    let mut walk = walk(after);
    let (mut tokens, mut usage, mut last, mut examined) = (Vec::new(), BTreeMap::new(), None, 0);
    let next = 'page: loop {
        // One token more than the page holds shows that there is a next page.
        let step = walk
            .step(limit.saturating_sub(tokens.len() as u64).saturating_add(1))
            .await?;
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
    Ok(Some(TokenPage {
        tokens,
        usage,
        next,
        total_size,
        token_context,
        now,
    }))
}

async fn count(walk: TokenWalk<'_>) -> Result<u64, StoreError> {
    let among = if walk.is_exact() {
        MAX_COUNTED_AMONG
    } else {
        MAX_EXAMINED
    };
    walk.count(among, MAX_COUNTED).await
}
