//! A policy that is applied moves the ends of tokens, however many, without touching one. What there is to tell of them is found out
//! afterwards, some at a time: the workspace is put on a list, with the place up to which that was done.

use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select,
    sea_query::{Expr, ExprTrait, OnConflict, Query},
};
use tokend_core::{
    name::{OrganizationId, WorkspaceId},
    token::{Circumstances, Token},
};

use super::WriteTx;
use crate::{
    entity::{
        notice_plans::{ActiveModel, Column, Entity, Model},
        tokens, workspaces,
    },
    error::StoreError,
    read::Governed,
};

impl WriteTx {
    /// Finds out anew when there is something to tell of some of the workspace's tokens, at most `limit`; lock its policies first. False
    /// once nothing is left to find out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn plan_some(&self, workspace: &Governed, limit: u64) -> Result<bool, StoreError> {
        let id = workspace.id.as_str();
        let Some(found) = self.find(&Entity::find_by_id(id).into_query()).await? else { return Ok(false) };
        let circumstances = workspace.circumstances();
        let bound = match bound_tokens(circumstances, Model::from_query_result(&found, "")?) {
            Some(query) => self.find_all(&query.limit(limit).into_query()).await?,
            // A deadline was lifted: nobody's end came nearer.
            None => Vec::new(),
        };
        for columns in &bound {
            match self.judge().await?.read::<Token>(columns, "") {
                Ok(token) => self.look_no_later(&token, circumstances).await?,
                // It is looked at by its own end, and cannot be judged then, either.
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

    /// Has it found out anew when there is something to tell of the workspace's tokens.
    pub(super) async fn plan_anew(&self, workspace: &WorkspaceId) -> Result<(), StoreError> {
        let row = ActiveModel { workspace: Set(workspace.to_string()), create_time: Set(None), token: Set(None) };
        self.change(&Entity::insert(row).on_conflict(from_the_beginning()).into_query()).await.map(|_| ())
    }

    /// Likewise for every workspace of the organization.
    pub(super) async fn plan_all_anew(&self, organization: &OrganizationId) -> Result<(), StoreError> {
        let mut all = Query::select();
        all.column(workspaces::Column::Id)
            .from(workspaces::Entity)
            .and_where(workspaces::Column::Organization.eq(organization.as_str()));
        let mut insert = Query::insert();
        insert.into_table(Entity).columns([Column::Workspace]).on_conflict(from_the_beginning());
        // As many columns as there are values.
        insert.select_from(all).map_err(StoreError::refused)?;
        self.change(&insert).await.map(|_| ())
    }
}

/// The tokens, in the order in which they were made, of which that is still to be found out; none, where no deadline binds any.
fn bound_tokens(circumstances: &Circumstances, done: Model) -> Option<Select<tokens::Entity>> {
    let youngest = circumstances.deadlines.as_slice().last()?;
    let Model { workspace, create_time, token } = done;
    let mut bound = tokens::Entity::find()
        .filter(tokens::Column::Workspace.eq(workspace))
        .filter(tokens::Column::CreateTime.lte(youngest.made_until.unix_micros()));
    if let (Some(create_time), Some(token)) = (create_time, token) {
        let place: [Expr; 2] = [create_time.into(), token.into()];
        let key = [tokens::Column::CreateTime, tokens::Column::Id].map(Expr::col);
        bound = bound.filter(Expr::tuple(key).gt(Expr::tuple(place)));
    }
    Some(bound.order_by_asc(tokens::Column::CreateTime).order_by_asc(tokens::Column::Id))
}

/// What was found out already is to be found out once more.
fn from_the_beginning() -> OnConflict {
    OnConflict::column(Column::Workspace).update_columns([Column::CreateTime, Column::Token]).to_owned()
}
