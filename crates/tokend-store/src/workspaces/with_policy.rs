//! Workspaces with their organizations, whose policies bind them, too.

use std::ops::Deref;

use sea_orm::{ConnectionTrait, EntityTrait, QueryResult, QueryTrait, sea_query::SelectStatement};
use tokend_core::{
    name::WorkspaceId,
    organization::Organization,
    policy::{MalformedPolicy, Policy},
    row_mac::Sealed,
    time::Timestamp,
    token::TokenContext,
    workspace::Workspace,
};

use crate::{
    error::StoreError,
    row::{LEFT, Locked, RIGHT, RowVerifier},
    store::Store,
    workspaces::tables::{organizations, workspaces},
};

/// A workspace with its organization: everything that the states of its tokens depend on besides their own rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceWithPolicy {
    workspace: Locked<Workspace>,
    organization: Option<Locked<Organization>>,
    token_context: TokenContext,
}

impl WorkspaceWithPolicy {
    /// Combines a workspace and the row of its organization. tokend never deletes that row, so a missing row is an
    /// error: its deadlines would be missing, too.
    pub(crate) fn new(
        row_verifier: &RowVerifier,
        workspace: Locked<Workspace>,
        organization: Option<Locked<Organization>>,
    ) -> Result<Self, StoreError> {
        match workspace.token_context(organization.as_deref()) {
            Some(token_context) => Ok(Self {
                workspace,
                organization,
                token_context,
            }),
            None => {
                let id = workspace
                    .organization
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                Err(row_verifier.missing::<Organization>(id))
            }
        }
    }

    /// Reads both from a row of a join.
    pub(crate) fn read(
        row_verifier: &RowVerifier,
        columns: &QueryResult,
        [workspace, organization]: [&str; 2],
    ) -> Result<Self, StoreError> {
        Self::new(
            row_verifier,
            row_verifier.read(columns, workspace)?,
            row_verifier.read_joined(columns, organization)?,
        )
    }

    /// Returns what the state of a token of this workspace depends on.
    #[must_use]
    pub const fn token_context(&self) -> &TokenContext {
        &self.token_context
    }

    /// Returns the organization, if the workspace belongs to one.
    #[must_use]
    pub fn organization(&self) -> Option<&Organization> {
        self.organization.as_deref()
    }

    /// Returns the workspace's own policy.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if a later version of tokend wrote it.
    pub fn policy(&self) -> Result<Policy, StoreError> {
        let Workspace { id, policy, .. } = &*self.workspace;
        policy
            .policy()
            .map_err(|problem| unreadable_policy(Workspace::TABLE, id.to_string(), problem))
    }

    /// Returns the policy of the organization, or the empty policy if the workspace belongs to none.
    ///
    /// # Errors
    /// As of [`policy`](Self::policy).
    pub fn organizations_policy(&self) -> Result<Policy, StoreError> {
        let Some(Organization { id, policy, .. }) = self.organization() else {
            return Ok(Policy::default());
        };
        policy
            .policy()
            .map_err(|problem| unreadable_policy(Organization::TABLE, id.to_string(), problem))
    }

    /// Returns the workspace, and what the states of its tokens depend on.
    #[must_use]
    pub fn into_parts(self) -> (Workspace, TokenContext) {
        (self.workspace.into_inner(), self.token_context)
    }
}

impl Deref for WorkspaceWithPolicy {
    type Target = Locked<Workspace>;

    fn deref(&self) -> &Locked<Workspace> {
        &self.workspace
    }
}

impl Store {
    /// Returns a workspace with its organization, and database time. `None` if the workspace does not exist.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn workspace_with_policy(
        &self,
        id: &WorkspaceId,
    ) -> Result<Option<(WorkspaceWithPolicy, Timestamp)>, StoreError> {
        let id = id.clone();
        self.run(move |shared| async move {
            let mut query = select_workspace(&id);
            shared.select_now(&mut query);
            let Some(found) = shared.connection.query_one(&query).await? else {
                return Ok(None);
            };
            let now = shared.read_now(&found)?;
            Ok(Some((
                WorkspaceWithPolicy::read(&shared.row_verifier(), &found, JOINED_WORKSPACE)?,
                now,
            )))
        })
        .await
    }
}

/// The prefixes of the columns that [`select_workspace`] finds.
pub(crate) const JOINED_WORKSPACE: [&str; 2] = [LEFT, RIGHT];

/// Selects a workspace with its organization.
pub(crate) fn select_workspace(id: &WorkspaceId) -> SelectStatement {
    workspaces::Entity::find_by_id(id.as_str())
        .find_also_related(organizations::Entity)
        .into_query()
}

/// Returns the error of a row whose policy a later version of tokend wrote.
#[must_use]
pub fn unreadable_policy(table: &'static str, row: String, problem: MalformedPolicy) -> StoreError {
    StoreError::corrupt(table, row, format!("column policy {problem}"))
}
