use std::num::NonZeroU32;

use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait,
    sea_query::{Alias, Expr, ExprTrait, Query, SelectStatement},
};
use tokend_core::{
    ending::Ending,
    name::TokenName,
    time::Timestamp,
    token::{Circumstances, Expiry, Revocation, Token},
};

use super::{Insert, Locked, WriteTx};
use crate::{
    entity::{tokens, workspaces},
    error::StoreError,
    row,
};

// A change finds its row by the key and by the MAC that was read, which covers every column. Another condition would say nothing more, and
// one on `revoke_time` would offer PostgreSQL the index of all tokens that are not revoked: with no statistics yet it takes that one, and
// reads a whole workspace for each token.
impl WriteTx {
    /// A token, locked until the transaction ends. `None` if its workspace has none of that id. Lock the workspace first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn token(&self, name: &TokenName) -> Result<Option<Locked<Token>>, StoreError> {
        let query = tokens::Entity::find()
            .filter(tokens::Column::Workspace.eq(name.workspace.as_str()))
            .filter(tokens::Column::Id.eq(name.id.as_bytes().to_vec()))
            .lock_exclusive();
        self.read_one(&query.into_query()).await
    }

    /// How many of a workspace's tokens work, counted to `most`. A token that works beside its successor is not counted, since its end is set
    /// and only one of a chain does; once the successor has ended, it is. Lock the workspace first: then no other write changes the
    /// number meanwhile.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn working_tokens(&self, circumstances: &Circumstances, now: Timestamp, most: NonZeroU32) -> Result<u64, StoreError> {
        let made_until_ended = circumstances.deadlines.made_until_ended(now);
        let working = tokens::Entity::find()
            .filter(tokens::Column::Workspace.eq(circumstances.workspace.as_str()))
            .filter(row::not_ended(made_until_ended, now))
            .filter(tokens::Column::RotatedTo.is_null().or(Expr::not_exists(working_successor(made_until_ended, now))));
        let working = working.select_only().column(tokens::Column::Id).limit(u64::from(most.get()));
        let mut query = Query::select();
        query.expr_as(Expr::cust("count(*)"), row::COUNT).from_subquery(working.into_query(), "working");
        self.noting_failure(row::count(self.find(&query).await?))
    }

    /// Inserts a token and counts it in its workspace.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_token(&self, token: &Token) -> Result<Insert, StoreError> {
        let mac = self.seal_credential(token).await?;
        let count = workspaces::Entity::update_many()
            .col_expr(workspaces::Column::TokenCount, Expr::col(workspaces::Column::TokenCount).add(1))
            .filter(workspaces::Column::Id.eq(token.name.workspace.as_str()));
        if !self.change(&count.into_query()).await? {
            return Ok(Insert::NoParent);
        }
        let inserted = self.insert(tokens::Entity::insert(row::token_to_model(token, &mac))).await?;
        if inserted == Insert::Taken {
            // The caller may go on and commit: take the count back.
            let count = workspaces::Entity::update_many()
                .col_expr(workspaces::Column::TokenCount, Expr::col(workspaces::Column::TokenCount).sub(1))
                .filter(workspaces::Column::Id.eq(token.name.workspace.as_str()));
            self.change(&count.into_query()).await?;
            return Ok(inserted);
        }
        self.plan_notices(token, None).await?;
        Ok(inserted)
    }

    /// Stores what a rotation made of a token, `rotated`, and returns it: its successor, and its end if that comes earlier now. `None` if
    /// the row is no longer what was read, or is revoked or was rotated before: a token has one successor.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rotate_token(&self, read: &Locked<Token>, rotated: Token) -> Result<Option<Locked<Token>>, StoreError> {
        if read.revocation.is_some() || read.rotated_to.is_some() {
            return Ok(None);
        }
        self.replace_end(read, rotated).await
    }

    /// Stores the end of a token whose successor is replaced, `ended`, and returns it. `None` if the row is no longer what was read, is
    /// revoked or has no successor.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn supersede_token(&self, read: &Locked<Token>, ended: Token) -> Result<Option<Locked<Token>>, StoreError> {
        if read.revocation.is_some() || read.rotated_to.is_none() {
            return Ok(None);
        }
        self.replace_end(read, ended).await
    }

    async fn replace_end(&self, read: &Locked<Token>, rotated: Token) -> Result<Option<Locked<Token>>, StoreError> {
        let mac = self.seal(&rotated).await?;
        let model = row::token_to_model(&rotated, &mac);
        let changed = tokens::ActiveModel {
            expire_time: model.expire_time,
            rotated_to: model.rotated_to,
            mac: model.mac,
            ..Default::default()
        };
        let update = tokens::Entity::update_many()
            .set(changed)
            .filter(tokens::Column::Workspace.eq(rotated.name.workspace.as_str()))
            .filter(tokens::Column::Id.eq(rotated.name.id.as_bytes().to_vec()))
            .filter(tokens::Column::Mac.eq(read.mac.to_bytes().to_vec()));
        if !self.change(&update.into_query()).await? {
            return Ok(None);
        }
        let noted = self.noted(rotated.name.id).await?;
        self.plan_notices(&rotated, noted).await?;
        if let (true, Expiry::At(end)) = (rotated.own_expiry != read.own_expiry, rotated.own_expiry) {
            self.ends(Ending::TokenRotated { name: rotated.name.clone(), end });
        }
        Ok(Some(Locked::new(rotated, mac)))
    }

    /// Ends a token and returns it as it is now. `None` if the row is no longer what was read, or was revoked already: a revocation
    /// is never replaced by another.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revoke_token(&self, read: &Locked<Token>, revocation: Revocation) -> Result<Option<Locked<Token>>, StoreError> {
        if read.revocation.is_some() {
            return Ok(None);
        }
        let token = Token { revocation: Some(revocation), ..(**read).clone() };
        let mac = self.seal(&token).await?;
        let model = row::token_to_model(&token, &mac);
        let changed = tokens::ActiveModel {
            revoke_time: model.revoke_time,
            revoker: model.revoker,
            revoke_reason: model.revoke_reason,
            mac: model.mac,
            ..Default::default()
        };
        let update = tokens::Entity::update_many()
            .set(changed)
            .filter(tokens::Column::Workspace.eq(token.name.workspace.as_str()))
            .filter(tokens::Column::Id.eq(token.name.id.as_bytes().to_vec()))
            .filter(tokens::Column::Mac.eq(read.mac.to_bytes().to_vec()));
        if !self.change(&update.into_query()).await? {
            return Ok(None);
        }
        if let Some(revocation) = token.revocation.clone() {
            self.ends(Ending::Token { name: token.name.clone(), revocation });
        }
        Ok(Some(Locked::new(token, mac)))
    }

    /// Deletes a token that has ended, with everything that is kept beside it. False if the row is no longer what was read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn purge_token(&self, read: &Locked<Token>) -> Result<bool, StoreError> {
        let TokenName { workspace, id } = &read.name;
        let delete = tokens::Entity::delete_many()
            .filter(tokens::Column::Workspace.eq(workspace.as_str()))
            .filter(tokens::Column::Id.eq(id.as_bytes().to_vec()))
            .filter(tokens::Column::Mac.eq(read.mac.to_bytes().to_vec()));
        if !self.change(&delete.into_query()).await? {
            return Ok(false);
        }
        let count = workspaces::Entity::update_many()
            .col_expr(workspaces::Column::TokenCount, Expr::col(workspaces::Column::TokenCount).sub(1))
            .filter(workspaces::Column::Id.eq(workspace.as_str()));
        self.change(&count.into_query()).await?;
        self.forget_notices(*id).await?;
        self.forget_usage(&[*id]).await?;
        Ok(true)
    }
}

/// The token that replaced the one in the row, if it works.
fn working_successor(made_until_ended: Option<Timestamp>, now: Timestamp) -> SelectStatement {
    let successor = Alias::new("successor");
    let column = |column: tokens::Column| Expr::col((successor.clone(), column));
    let not_expired = column(tokens::Column::ExpireTime).is_null().or(column(tokens::Column::ExpireTime).gt(now.unix_micros()));
    let mut query = Query::select();
    query
        .expr(Expr::val(1))
        .from_as(tokens::Entity, successor.clone())
        .and_where(column(tokens::Column::Id).equals((tokens::Entity, tokens::Column::RotatedTo)))
        .and_where(column(tokens::Column::RevokeTime).is_null())
        .and_where(not_expired)
        .and_where_option(made_until_ended.map(|until| column(tokens::Column::CreateTime).gt(until.unix_micros())));
    query
}
