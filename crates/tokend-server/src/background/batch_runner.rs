//! Applies a change to many tokens: looks up a page of them, groups the page by workspace, and changes a few tokens of
//! a workspace in each write. Other writes come in between.

use std::collections::{BTreeMap, BTreeSet};

use tokend_core::{
    credential::CredentialId,
    name::{TokenName, WorkspaceId},
};
use tokend_store::{DueCursor, DueTokens, StoreError};

/// The number of tokens, or workspaces, in a page.
pub(crate) const PAGE_SIZE: u64 = 500;
/// The number of tokens in a write.
pub(crate) const BATCH_SIZE: usize = 50;

/// How a run, or one of its writes, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Progress {
    /// Everything that could be changed was changed.
    Done,
    /// Another server holds the job's lock.
    OtherServer,
}

/// Calls `write` for the tokens that `page` returns, and stops where another server holds the job's lock. A workspace
/// whose write fails is logged and skipped, so that it does not hold up the others.
///
/// # Errors
/// [`StoreError`] of a page, or that the database can't be reached.
pub(crate) async fn run_batches<P, W>(
    page: impl Fn(Option<DueCursor>) -> P,
    write: impl Fn(WorkspaceId, Vec<CredentialId>) -> W,
) -> Result<Progress, StoreError>
where
    P: Future<Output = Result<DueTokens, StoreError>>,
    W: Future<Output = Result<Progress, StoreError>>,
{
    let (mut after, mut skipped) = (None, BTreeSet::new());
    loop {
        let DueTokens { tokens, next } = page(after).await?;
        for (workspace, tokens) in by_workspace(tokens) {
            for batch in tokens.chunks(BATCH_SIZE) {
                if skipped.contains(&workspace) {
                    break;
                }
                match write(workspace.clone(), batch.to_vec()).await {
                    Ok(Progress::Done) => {}
                    Ok(Progress::OtherServer) => return Ok(Progress::OtherServer),
                    Err(error @ StoreError::Unavailable { .. }) => return Err(error),
                    Err(error) => {
                        tracing::error!(%workspace, %error, "a workspace's tokens are skipped until the next run");
                        skipped.insert(workspace.clone());
                    }
                }
            }
        }
        match next {
            None => return Ok(Progress::Done),
            next => after = next,
        }
    }
}

fn by_workspace(tokens: Vec<Result<TokenName, StoreError>>) -> BTreeMap<WorkspaceId, Vec<CredentialId>> {
    let mut by_workspace = BTreeMap::<_, Vec<_>>::new();
    for token in tokens {
        match token {
            Ok(TokenName { workspace, id }) => by_workspace.entry(workspace).or_default().push(id),
            Err(error) => tracing::error!(%error, "a token is skipped until the next run"),
        }
    }
    by_workspace
}
