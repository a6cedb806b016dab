//! Workspaces with the organizations whose policies bind them, too.

use std::ops::Deref;

use sea_orm::{ConnectionTrait, EntityTrait, QueryResult, QueryTrait, sea_query::SelectStatement};
use tokend_core::{
    name::WorkspaceId,
    organization::Organization,
    policy::{MalformedPolicy, Policy},
    row_mac::Sealed,
    time::Timestamp,
    token::Circumstances,
    workspace::Workspace,
};

use super::{LEFT, RIGHT};
use crate::{
    entity::{organizations, workspaces},
    error::StoreError,
    row::Judge,
    store::Store,
    write::Locked,
};

/// A workspace with its organization: all that its tokens' lives depend on besides themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Governed {
    workspace: Locked<Workspace>,
    organization: Option<Locked<Organization>>,
    circumstances: Circumstances,
}

impl Governed {
    /// Puts a workspace and the row of its organization together. That row is never deleted: where it is missing, somebody took it
    /// away, and its deadlines with it.
    pub(crate) fn new(
        judge: &Judge,
        workspace: Locked<Workspace>,
        organization: Option<Locked<Organization>>,
    ) -> Result<Self, StoreError> {
        match workspace.circumstances(organization.as_deref()) {
            Some(circumstances) => Ok(Self { workspace, organization, circumstances }),
            None => {
                let id = workspace.organization.as_ref().map(ToString::to_string).unwrap_or_default();
                Err(judge.missing::<Organization>(id))
            }
        }
    }

    /// Takes both out of a row of a join.
    pub(crate) fn read(judge: &Judge, columns: &QueryResult, [workspace, organization]: [&str; 2]) -> Result<Self, StoreError> {
        Self::new(judge, judge.read(columns, workspace)?, judge.read_joined(columns, organization)?)
    }

    /// What a token of the workspace depends on.
    #[must_use]
    pub const fn circumstances(&self) -> &Circumstances {
        &self.circumstances
    }

    /// Its organization, if it belongs to one.
    #[must_use]
    pub fn organization(&self) -> Option<&Organization> {
        self.organization.as_deref()
    }

    /// The workspace's own policy.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if a later version wrote it.
    pub fn policy(&self) -> Result<Policy, StoreError> {
        let Workspace { id, policy, .. } = &*self.workspace;
        policy.policy().map_err(|problem| unreadable_policy(Workspace::TABLE, id.to_string(), problem))
    }

    /// The policy of its organization: the empty one, if it belongs to none.
    ///
    /// # Errors
    /// As of [`policy`](Self::policy).
    pub fn organizations_policy(&self) -> Result<Policy, StoreError> {
        let Some(Organization { id, policy, .. }) = self.organization() else { return Ok(Policy::default()) };
        policy.policy().map_err(|problem| unreadable_policy(Organization::TABLE, id.to_string(), problem))
    }

    /// The workspace and what its tokens depend on.
    #[must_use]
    pub fn into_parts(self) -> (Workspace, Circumstances) {
        (self.workspace.into_inner(), self.circumstances)
    }
}

impl Deref for Governed {
    type Target = Locked<Workspace>;

    fn deref(&self) -> &Locked<Workspace> {
        &self.workspace
    }
}

impl Store {
    /// A workspace with its organization, and database time. `None` if there is none of that id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn governed_workspace(&self, id: &WorkspaceId) -> Result<Option<(Governed, Timestamp)>, StoreError> {
        let id = id.clone();
        self.run(move |shared| async move {
            let mut query = governed(&id);
            shared.select_now(&mut query);
            let Some(found) = shared.connection.query_one(&query).await? else { return Ok(None) };
            let now = shared.read_now(&found)?;
            Ok(Some((Governed::read(&shared.judge(), &found, GOVERNED)?, now)))
        })
        .await
    }
}

/// The prefixes of the columns that [`governed`] finds.
pub(super) const GOVERNED: [&str; 2] = [LEFT, RIGHT];

/// Finds a workspace with its organization.
pub(super) fn governed(id: &WorkspaceId) -> SelectStatement {
    workspaces::Entity::find_by_id(id.as_str()).find_also_related(organizations::Entity).into_query()
}

/// The error of a row whose policy a later version wrote.
#[must_use]
pub fn unreadable_policy(table: &'static str, row: String, problem: MalformedPolicy) -> StoreError {
    StoreError::corrupt(table, row, format!("column policy {problem}"))
}
