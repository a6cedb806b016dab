//! Goes through many tokens that something is to be done to: a page of them at a time, of a page workspace by workspace, and of a
//! workspace a few in each write, between which it is left to others.

use std::collections::{BTreeMap, BTreeSet};

use tokend_core::{
    credential::CredentialId,
    name::{TokenName, WorkspaceId},
};
use tokend_store::{DuePlace, DueTokens, StoreError};

/// Tokens, or workspaces, looked up at once.
pub(crate) const AT_ONCE: u64 = 500;
/// Tokens in a write.
pub(crate) const IN_A_WRITE: usize = 50;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Swept {
    /// What could be done was done.
    Through,
    /// Another server is at it.
    Elsewhere,
}

/// Has `write` do what is to be done to the tokens that `page` finds. Ends where another server is at it. A workspace whose write fails is
/// logged and left out: what is wrong with one is no reason to stop short of the others.
///
/// # Errors
/// [`StoreError`] of a page, or that the database is out of reach.
pub(crate) async fn sweep<P, W>(
    page: impl Fn(Option<DuePlace>) -> P,
    write: impl Fn(WorkspaceId, Vec<CredentialId>) -> W,
) -> Result<Swept, StoreError>
where
    P: Future<Output = Result<DueTokens, StoreError>>,
    W: Future<Output = Result<Swept, StoreError>>,
{
    let (mut after, mut left_out) = (None, BTreeSet::new());
    loop {
        let DueTokens { tokens, next } = page(after).await?;
        for (workspace, tokens) in by_workspace(tokens) {
            for some in tokens.chunks(IN_A_WRITE) {
                if left_out.contains(&workspace) {
                    break;
                }
                match write(workspace.clone(), some.to_vec()).await {
                    Ok(Swept::Through) => {}
                    Ok(Swept::Elsewhere) => return Ok(Swept::Elsewhere),
                    Err(error @ StoreError::Unavailable { .. }) => return Err(error),
                    Err(error) => {
                        tracing::error!(%workspace, %error, "its tokens are left out for now");
                        left_out.insert(workspace.clone());
                    }
                }
            }
        }
        match next {
            None => return Ok(Swept::Through),
            next => after = next,
        }
    }
}

fn by_workspace(tokens: Vec<Result<TokenName, StoreError>>) -> BTreeMap<WorkspaceId, Vec<CredentialId>> {
    let mut by_workspace = BTreeMap::<_, Vec<_>>::new();
    for token in tokens {
        match token {
            Ok(TokenName { workspace, id }) => by_workspace.entry(workspace).or_default().push(id),
            Err(error) => tracing::error!(%error, "a token is left out for now"),
        }
    }
    by_workspace
}
