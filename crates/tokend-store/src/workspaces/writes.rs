use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait, Select,
    sea_query::{LockBehavior, LockType},
};
use tokend_core::{change::Change, name::WorkspaceId, token::TokenContext, workspace::Workspace};

use crate::{
    error::StoreError,
    row::Locked,
    transaction::{Insert, WriteTx},
    workspaces::{
        reads::{StoredWorkspace, counted},
        tables::{
            organizations,
            workspaces::{self, ActiveModel},
        },
        with_policy::WorkspaceWithPolicy,
    },
};

/// The result of locking a row without waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockAttempt<T> {
    /// The row is locked.
    Locked(T),
    /// Another transaction has locked the row.
    Busy,
    /// There is no such row.
    Absent,
}

impl WriteTx {
    /// Reads a workspace and locks it until the transaction ends: no other write changes it or its tokens meanwhile.
    /// The policy of its organization may change. Returns `None` if the workspace does not exist.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lock_workspace(&self, id: &WorkspaceId) -> Result<Option<WorkspaceWithPolicy>, StoreError> {
        self.locked(id, |organization| organization).await
    }

    /// Reads and locks a workspace as [`lock_workspace`](Self::lock_workspace) does, unless that would have to wait for
    /// another transaction.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn try_lock_workspace(&self, id: &WorkspaceId) -> Result<LockAttempt<WorkspaceWithPolicy>, StoreError> {
        let by_id = || workspaces::Entity::find_by_id(id.as_str());
        let unlocked = by_id().lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        if let Some(workspace) = self.read_one(&unlocked.into_query()).await? {
            let workspace = self.with_organization(workspace, |organization| organization).await?;
            return Ok(LockAttempt::Locked(workspace));
        }
        let any = by_id().select_only().column(workspaces::Column::Id);
        Ok(match self.find(&any.into_query()).await? {
            Some(_) => LockAttempt::Busy,
            None => LockAttempt::Absent,
        })
    }

    /// Reads and locks a workspace as [`lock_workspace`](Self::lock_workspace) does, and keeps other writes from
    /// changing its organization's policy, too. Use it to create tokens: a database time that is read afterwards is
    /// later than the current policies and not later than the next ones.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lock_workspace_and_policy(&self, id: &WorkspaceId) -> Result<Option<WorkspaceWithPolicy>, StoreError> {
        self.locked(id, QuerySelect::lock_shared).await
    }

    async fn locked(
        &self,
        id: &WorkspaceId,
        lock: impl FnOnce(Select<organizations::Entity>) -> Select<organizations::Entity> + Send,
    ) -> Result<Option<WorkspaceWithPolicy>, StoreError> {
        let query = workspaces::Entity::find_by_id(id.as_str()).lock_exclusive();
        match self.read_one(&query.into_query()).await? {
            Some(workspace) => self.with_organization(workspace, lock).await.map(Some),
            None => Ok(None),
        }
    }

    async fn with_organization(
        &self,
        workspace: Locked<Workspace>,
        lock: impl FnOnce(Select<organizations::Entity>) -> Select<organizations::Entity> + Send,
    ) -> Result<WorkspaceWithPolicy, StoreError> {
        let organization = match &workspace.organization {
            Some(id) => {
                self.read_one(&lock(organizations::Entity::find_by_id(id.as_str())).into_query())
                    .await?
            }
            None => None,
        };
        let locked = WorkspaceWithPolicy::new(self.row_verifier().await?, workspace, organization);
        self.noting_failure(locked)
    }

    /// Returns the workspace with its current token count. Lock it first, so that no other write changes the number
    /// meanwhile.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn with_token_count(
        &self,
        workspace: Workspace,
        token_context: &TokenContext,
    ) -> Result<StoredWorkspace, StoreError> {
        let now = self.now().await?;
        self.noting_failure(counted(&self.tx, workspace, token_context, now).await)
    }

    /// Inserts a workspace. Returns [`Insert::Taken`] if the id was ever used.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_workspace(&self, workspace: &Workspace) -> Result<Insert, StoreError> {
        let mut model = super::row::to_model(workspace, &self.seal(workspace).await?);
        model.token_count = Set(0);
        let inserted = self.insert(workspaces::Entity::insert(model)).await?;
        if inserted == Insert::Done {
            self.record(Change::WorkspaceCreated(workspace.clone()));
        }
        Ok(inserted)
    }

    /// Replaces the workspace that was read with `workspace`. Only its state and its policy can change. Returns `None`
    /// if something else would change, or if the row has changed since it was read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn update_workspace(
        &self,
        read: &Locked<Workspace>,
        workspace: Workspace,
    ) -> Result<Option<Locked<Workspace>>, StoreError> {
        let Workspace { state, policy, .. } = workspace.clone();
        let changes_no_more = Workspace {
            state,
            policy,
            ..(**read).clone()
        } == workspace;
        if !changes_no_more {
            return Ok(None);
        }
        let mac = self.seal(&workspace).await?;
        let update = workspaces::Entity::update_many()
            .set(ActiveModel {
                id: NotSet,
                ..super::row::to_model(&workspace, &mac)
            })
            .filter(workspaces::Column::Id.eq(read.id.as_str()))
            .filter(workspaces::Column::Mac.eq(read.mac.to_bytes().to_vec()));
        if !self.change(&update.into_query()).await? {
            return Ok(None);
        }
        if workspace.policy != read.policy {
            self.record(Change::WorkspacePolicyUpdated {
                workspace: workspace.clone(),
                before: read.policy.clone(),
            });
        }
        if workspace.state != read.state {
            self.record(Change::WorkspaceStateChanged(workspace.clone()));
        }
        if workspace.policy.deadlines != read.policy.deadlines {
            self.plan_anew(&workspace.id).await?;
        }
        Ok(Some(Locked::new(workspace, mac)))
    }
}
