use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait, Select,
};
use tokend_core::{ending::Ending, name::WorkspaceId, policy::PolicyName, token::Circumstances, workspace::Workspace};

use super::{Insert, Locked, WriteTx};
use crate::{
    entity::{
        organizations,
        workspaces::{self, ActiveModel},
    },
    error::StoreError,
    read::{self, Governed, StoredWorkspace},
    row,
};

impl WriteTx {
    /// A workspace, locked until the transaction ends: no other write changes it or its tokens meanwhile. Its organization's policy may
    /// change. `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lock_workspace(&self, id: &WorkspaceId) -> Result<Option<Governed>, StoreError> {
        self.locked(id, |organization| organization).await
    }

    /// Likewise, and no other write changes its organization's policy, either: for whoever makes tokens. What time is read afterwards lies
    /// behind that of the policies in force, and not behind that of the next ones.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lock_workspace_and_policy(&self, id: &WorkspaceId) -> Result<Option<Governed>, StoreError> {
        self.locked(id, QuerySelect::lock_shared).await
    }

    async fn locked(
        &self,
        id: &WorkspaceId,
        lock: impl FnOnce(Select<organizations::Entity>) -> Select<organizations::Entity> + Send,
    ) -> Result<Option<Governed>, StoreError> {
        let query = workspaces::Entity::find_by_id(id.as_str()).lock_exclusive();
        let Some(workspace) = self.read_one::<Workspace>(&query.into_query()).await? else { return Ok(None) };
        let organization = match &workspace.organization {
            Some(id) => self.read_one(&lock(organizations::Entity::find_by_id(id.as_str())).into_query()).await?,
            None => None,
        };
        let governed = Governed::new(self.judge().await?, workspace, organization);
        self.noting_failure(governed).map(Some)
    }

    /// The workspace with what is counted in it now. Lock it first: then no other write changes the number meanwhile.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn counted(&self, workspace: Workspace, circumstances: &Circumstances) -> Result<StoredWorkspace, StoreError> {
        let now = self.now().await?;
        self.noting_failure(read::counted(&self.tx, workspace, circumstances, now).await)
    }

    /// Inserts a workspace. [`Insert::Taken`] if the id was ever used.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_workspace(&self, workspace: &Workspace) -> Result<Insert, StoreError> {
        let mut model = row::workspace_to_model(workspace, &self.seal(workspace).await?);
        model.token_count = Set(0);
        self.insert(workspaces::Entity::insert(model)).await
    }

    /// Puts `workspace` in place of the one that was read; the id must be the same. `None` if the row is no longer what was read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn update_workspace(
        &self,
        read: &Locked<Workspace>,
        workspace: Workspace,
    ) -> Result<Option<Locked<Workspace>>, StoreError> {
        let mac = self.seal(&workspace).await?;
        let update = workspaces::Entity::update_many()
            .set(ActiveModel { id: NotSet, ..row::workspace_to_model(&workspace, &mac) })
            .filter(workspaces::Column::Id.eq(read.id.as_str()))
            .filter(workspaces::Column::Id.eq(workspace.id.as_str()))
            .filter(workspaces::Column::Mac.eq(read.mac.to_bytes().to_vec()));
        if !self.change(&update.into_query()).await? {
            return Ok(None);
        }
        let Workspace { id, create_time, state, policy, .. } = workspace.clone();
        if policy != read.policy {
            self.ends(Ending::Policy { name: PolicyName::Workspace(id.clone()), create_time, state: policy });
        }
        if state != read.state {
            self.ends(Ending::Workspace { id, create_time, state });
        }
        if workspace.policy.deadlines != read.policy.deadlines {
            self.plan_anew(&workspace.id).await?;
        }
        Ok(Some(Locked::new(workspace, mac)))
    }
}
