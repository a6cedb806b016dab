//! Reads for a verdict: a token, everything that its state depends on, and the caller that asks, from one snapshot.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, EntityTrait, QueryResult, QueryTrait, sea_query::SelectStatement};
use tokend_core::{
    credential::CredentialId,
    feed::Revision,
    name::OrganizationId,
    rule::{self, Rule},
    time::Timestamp,
    token::{Token, TokenContext},
};

use crate::{
    callers::current::{self as current_caller, CallerRef, CurrentCaller},
    error::StoreError,
    feed::poll::poll,
    row::{LEFT, RIGHT, RowVerifier, THIRD},
    shared::Shared,
    store::Store,
    tokens::tables::tokens,
    workspaces::{
        tables::{organizations, workspaces},
        with_policy::WorkspaceWithPolicy,
    },
};

/// Everything that a verdict depends on, read in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSnapshot {
    /// The token. Its secret has not been checked: that needs the key ring.
    pub token: Arc<Token>,
    /// What its state depends on besides its own row.
    pub token_context: TokenContext,
    /// The organization that the token's workspace belongs to.
    pub organization: Option<OrganizationId>,
    /// Database time.
    pub now: Timestamp,
    /// The rows above include every change up to this revision.
    pub revision: Revision,
}

impl Store {
    /// Returns the token with that id in any workspace, for a verdict. This is the only read of a token that does not
    /// name a workspace. `None` if the token does not exist.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn token_snapshot(&self, id: CredentialId) -> Result<Option<TokenSnapshot>, StoreError> {
        self.run(move |shared| async move { token_snapshot(&shared, id).await })
            .await
    }

    /// Returns a token as [`token_snapshot`](Self::token_snapshot) does, and, from the same snapshot, the caller that
    /// asks for the verdict. `None` if the token does not exist.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn token_snapshot_for(
        &self,
        id: CredentialId,
        by: &CallerRef,
    ) -> Result<Option<(TokenSnapshot, CurrentCaller)>, StoreError> {
        let by = by.clone();
        self.run(move |shared| async move { token_snapshot_for(&shared, id, &by).await })
            .await
    }
}

async fn token_snapshot(shared: &Shared, id: CredentialId) -> Result<Option<TokenSnapshot>, StoreError> {
    let Some(found) = shared.connection.query_one(&token_query(shared, id)).await? else {
        return Ok(None);
    };
    read_token(shared, &shared.row_verifier(), &found).map(Some)
}

async fn token_snapshot_for(
    shared: &Shared,
    id: CredentialId,
    by: &CallerRef,
) -> Result<Option<(TokenSnapshot, CurrentCaller)>, StoreError> {
    let mut query = token_query(shared, id);
    current_caller::join(&mut query, by);
    let Some(found) = shared.connection.query_one(&query).await? else {
        return Ok(None);
    };
    let row_verifier = shared.row_verifier();
    let mut token = read_token(shared, &row_verifier, &found)?;
    if !rule::is_kept(Rule::FillInOneSnapshot) {
        tokio::time::sleep(rule::WINDOW).await;
        token.revision = poll(shared, token.revision.number).await?.head;
    }
    let caller = current_caller::read(&row_verifier, &found, by, token.now)?;
    Ok(Some((token, caller)))
}

fn token_query(shared: &Shared, id: CredentialId) -> SelectStatement {
    let mut query = tokens::Entity::find_by_id(id.as_bytes().to_vec())
        .find_also_related(workspaces::Entity)
        .and_also_related(organizations::Entity)
        .into_query();
    shared.select_revision(&mut query);
    shared.select_now(&mut query);
    query
}

fn read_token(shared: &Shared, row_verifier: &RowVerifier, found: &QueryResult) -> Result<TokenSnapshot, StoreError> {
    let now = shared.read_now(found)?;
    let revision = shared.read_revision(found)?;
    let token = Arc::new(row_verifier.read::<Token>(found, LEFT)?.into_inner());
    let (workspace, token_context) = WorkspaceWithPolicy::read(row_verifier, found, [RIGHT, THIRD])?.into_parts();
    Ok(TokenSnapshot {
        token,
        token_context,
        organization: workspace.organization,
        now,
        revision,
    })
}
