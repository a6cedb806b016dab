//! Plans notices again after a change of a policy.
//!
//! A change of a policy moves the ends of any number of tokens without writing to their rows. Their notices are planned
//! afterwards, some at a time: the workspace is put on a list, with the place up to which its tokens are planned.

use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select,
    sea_query::{Expr, ExprTrait, OnConflict, Query},
};
use tokend_core::{
    name::{OrganizationId, WorkspaceId},
    token::{Token, TokenContext},
};

use crate::{
    error::StoreError,
    notices::tables::notice_plans::{ActiveModel, Column, Entity, Model},
    tokens::tables::tokens,
    transaction::WriteTx,
    workspaces::{tables::workspaces, with_policy::WorkspaceWithPolicy},
};

impl WriteTx {
    /// Plans the notices of some of the workspace's tokens again, at most `limit`. Lock the workspace and its policies
    /// first. Returns false when all tokens are planned.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn plan_some(&self, workspace: &WorkspaceWithPolicy, limit: u64) -> Result<bool, StoreError> {
        let id = workspace.id.as_str();
        let Some(found) = self.find(&Entity::find_by_id(id).into_query()).await? else {
            return Ok(false);
        };
        let token_context = workspace.token_context();
        let bound = match bound_tokens(token_context, Model::from_query_result(&found, "")?) {
            Some(query) => self.find_all(&query.limit(limit).into_query()).await?,
            // A deadline was removed, so no token ends earlier.
            None => Vec::new(),
        };
        for columns in &bound {
            match self.row_verifier().await?.read::<Token>(columns, "") {
                Ok(token) => self.plan_no_later(&token, token_context).await?,
                // It fails verification at its own expiry, too.
                Err(StoreError::Tampered { .. } | StoreError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        match bound.last() {
            Some(last) if bound.len() as u64 == limit => {
                let place = ActiveModel {
                    workspace: NotSet,
                    create_time: Set(last.try_get("", "create_time")?),
                    token: Set(last.try_get("", "id")?),
                };
                let update = Entity::update_many().set(place).filter(Column::Workspace.eq(id));
                self.change(&update.into_query()).await
            }
            _ => {
                self.change(&Entity::delete_by_id(id).into_query()).await?;
                Ok(false)
            }
        }
    }

    /// Puts the workspace on the list, so that the notices of all its tokens are planned again.
    pub(crate) async fn plan_anew(&self, workspace: &WorkspaceId) -> Result<(), StoreError> {
        let row = ActiveModel {
            workspace: Set(workspace.to_string()),
            create_time: Set(None),
            token: Set(None),
        };
        self.change(&Entity::insert(row).on_conflict(from_the_beginning()).into_query())
            .await
            .map(|_| ())
    }

    /// Puts every workspace of the organization on the list.
    pub(crate) async fn plan_all_anew(&self, organization: &OrganizationId) -> Result<(), StoreError> {
        let mut all = Query::select();
        all.column(workspaces::Column::Id)
            .from(workspaces::Entity)
            .and_where(workspaces::Column::Organization.eq(organization.as_str()));
        let mut insert = Query::insert();
        insert
            .into_table(Entity)
            .columns([Column::Workspace])
            .on_conflict(from_the_beginning());
        // Fails only if the numbers of columns and values differ.
        insert.select_from(all).map_err(StoreError::refused)?;
        self.change(&insert).await.map(|_| ())
    }
}

/// Selects the tokens that are still to be planned, ordered by creation. `None` if no deadline binds any token.
fn bound_tokens(token_context: &TokenContext, done: Model) -> Option<Select<tokens::Entity>> {
    let youngest = token_context.deadlines.as_slice().last()?;
    let Model {
        workspace,
        create_time,
        token,
    } = done;
    let mut bound = tokens::Entity::find()
        .filter(tokens::Column::Workspace.eq(workspace))
        .filter(tokens::Column::CreateTime.lte(youngest.created_until.unix_micros()));
    if let (Some(create_time), Some(token)) = (create_time, token) {
        let place: [Expr; 2] = [create_time.into(), token.into()];
        let key = [tokens::Column::CreateTime, tokens::Column::Id].map(Expr::col);
        bound = bound.filter(Expr::tuple(key).gt(Expr::tuple(place)));
    }
    Some(
        bound
            .order_by_asc(tokens::Column::CreateTime)
            .order_by_asc(tokens::Column::Id),
    )
}

/// Starts again with the first token.
fn from_the_beginning() -> OnConflict {
    OnConflict::column(Column::Workspace)
        .update_columns([Column::CreateTime, Column::Token])
        .to_owned()
}
