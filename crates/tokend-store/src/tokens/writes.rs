use std::num::NonZeroU32;

use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait,
    sea_query::{Alias, Expr, ExprTrait, Query, SelectStatement},
};
use tokend_core::{
    change::Change,
    leak::LeakReport,
    name::TokenName,
    time::Timestamp,
    token::{Revocation, Token, TokenContext},
};

use crate::{
    error::StoreError,
    row::{self, Locked},
    tokens::filter_sql::not_ended,
    tokens::tables::tokens,
    transaction::{Insert, WriteTx},
    workspaces::tables::workspaces,
};

// An update finds its row by the key and by the MAC that was read, which covers every column, so no other condition is
// needed. A condition on `revoke_time` would let PostgreSQL choose the index of all unrevoked tokens: without
// statistics it does, and reads a whole workspace for each token.
impl WriteTx {
    /// Reads a token and locks it until the transaction ends. Returns `None` if its workspace has no token with that
    /// id. Lock the workspace first.
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

    /// Returns the number of a workspace's tokens that work, counted up to `most`. Only one token of a rotation chain
    /// counts: a token that works next to its successor does not count until the successor has expired or is revoked.
    /// Lock the workspace first, so that no other write changes the number meanwhile.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn working_tokens(
        &self,
        token_context: &TokenContext,
        now: Timestamp,
        most: NonZeroU32,
    ) -> Result<u64, StoreError> {
        let created_until_ended = token_context.deadlines.created_until_ended(now);
        let working = tokens::Entity::find()
            .filter(tokens::Column::Workspace.eq(token_context.workspace.as_str()))
            .filter(not_ended(created_until_ended, now))
            .filter(
                tokens::Column::RotatedTo
                    .is_null()
                    .or(Expr::not_exists(working_successor(created_until_ended, now))),
            );
        let working = working
            .select_only()
            .column(tokens::Column::Id)
            .limit(u64::from(most.get()));
        let mut query = Query::select();
        query
            .expr_as(Expr::cust("count(*)"), row::COUNT)
            .from_subquery(working.into_query(), "working");
        self.noting_failure(row::count(self.find(&query).await?))
    }

    /// Inserts a token and counts it in its workspace.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_token(&self, token: &Token) -> Result<Insert, StoreError> {
        let mac = self.seal_credential(token).await?;
        let count = workspaces::Entity::update_many()
            .col_expr(
                workspaces::Column::TokenCount,
                Expr::col(workspaces::Column::TokenCount).add(1),
            )
            .filter(workspaces::Column::Id.eq(token.name.workspace.as_str()));
        if !self.change(&count.into_query()).await? {
            return Ok(Insert::NoParent);
        }
        let inserted = self
            .insert(tokens::Entity::insert(super::row::to_model(token, &mac)))
            .await?;
        if inserted == Insert::Taken {
            // The caller may still commit, so undo the count.
            let count = workspaces::Entity::update_many()
                .col_expr(
                    workspaces::Column::TokenCount,
                    Expr::col(workspaces::Column::TokenCount).sub(1),
                )
                .filter(workspaces::Column::Id.eq(token.name.workspace.as_str()));
            self.change(&count.into_query()).await?;
            return Ok(inserted);
        }
        self.plan_notices(token, None).await?;
        self.record(Change::TokenCreated(token.clone()));
        Ok(inserted)
    }

    /// Stores `rotated`, the token after a rotation, and returns it. Its successor changes, and its expiry if that is
    /// now earlier. Returns `None` if the row has changed since it was read, or if the token is revoked or was rotated
    /// before, because a token has only one successor.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rotate_token(
        &self,
        read: &Locked<Token>,
        rotated: Token,
    ) -> Result<Option<Locked<Token>>, StoreError> {
        if read.revocation.is_some() || read.rotated_to.is_some() {
            return Ok(None);
        }
        let rotated = self.replace_end(read, rotated).await?;
        if let Some(token) = &rotated {
            self.record(Change::TokenRotated {
                token: (**token).clone(),
                expiry_before: read.own_expiry,
            });
        }
        Ok(rotated)
    }

    /// Stores the new expiry of a token whose successor is replaced, `ended`, and returns the token. Returns `None` if
    /// the row has changed since it was read, or if the token is revoked or has no successor.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn supersede_token(
        &self,
        read: &Locked<Token>,
        ended: Token,
    ) -> Result<Option<Locked<Token>>, StoreError> {
        if read.revocation.is_some() || read.rotated_to.is_none() {
            return Ok(None);
        }
        let ended = self.replace_end(read, ended).await?;
        if let Some(token) = &ended {
            self.record(Change::TokenSuperseded {
                token: (**token).clone(),
                expiry_before: read.own_expiry,
            });
        }
        Ok(ended)
    }

    async fn replace_end(&self, read: &Locked<Token>, rotated: Token) -> Result<Option<Locked<Token>>, StoreError> {
        let mac = self.seal(&rotated).await?;
        let model = super::row::to_model(&rotated, &mac);
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
        let noted = self.notice_state(rotated.name.id).await?;
        self.plan_notices(&rotated, noted).await?;
        Ok(Some(Locked::new(rotated, mac)))
    }

    /// Revokes a token and returns it. Returns `None` if the row has changed since it was read, or if the token was
    /// already revoked, because a revocation never replaces another one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revoke_token(
        &self,
        read: &Locked<Token>,
        revocation: Revocation,
    ) -> Result<Option<Locked<Token>>, StoreError> {
        self.revoke_leaked_token(read, revocation, Vec::new()).await
    }

    /// Revokes a token because of these reports, like [`revoke_token`](Self::revoke_token).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revoke_leaked_token(
        &self,
        read: &Locked<Token>,
        revocation: Revocation,
        leaks: Vec<LeakReport>,
    ) -> Result<Option<Locked<Token>>, StoreError> {
        if read.revocation.is_some() {
            return Ok(None);
        }
        let token = Token {
            revocation: Some(revocation),
            ..(**read).clone()
        };
        let mac = self.seal(&token).await?;
        let model = super::row::to_model(&token, &mac);
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
        self.record(Change::TokenRevoked {
            token: token.clone(),
            leaks,
        });
        Ok(Some(Locked::new(token, mac)))
    }

    /// Deletes a token whose expiry or revocation was recorded at `end_recorded`, and everything that is stored for it.
    /// Returns false if the row has changed since it was read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn purge_token(&self, read: &Locked<Token>, end_recorded: Timestamp) -> Result<bool, StoreError> {
        let TokenName { workspace, id } = &read.name;
        let delete = tokens::Entity::delete_many()
            .filter(tokens::Column::Workspace.eq(workspace.as_str()))
            .filter(tokens::Column::Id.eq(id.as_bytes().to_vec()))
            .filter(tokens::Column::Mac.eq(read.mac.to_bytes().to_vec()));
        if !self.change(&delete.into_query()).await? {
            return Ok(false);
        }
        let count = workspaces::Entity::update_many()
            .col_expr(
                workspaces::Column::TokenCount,
                Expr::col(workspaces::Column::TokenCount).sub(1),
            )
            .filter(workspaces::Column::Id.eq(workspace.as_str()));
        self.change(&count.into_query()).await?;
        self.forget_notices(*id).await?;
        self.forget_usage(&[*id]).await?;
        self.record(Change::TokenPurged {
            name: read.name.clone(),
            end_recorded,
        });
        Ok(true)
    }
}

/// Returns a query for the successor of the token in the row, if the successor works.
fn working_successor(created_until_ended: Option<Timestamp>, now: Timestamp) -> SelectStatement {
    let successor = Alias::new("successor");
    let column = |column: tokens::Column| Expr::col((successor.clone(), column));
    let not_expired = column(tokens::Column::ExpireTime)
        .is_null()
        .or(column(tokens::Column::ExpireTime).gt(now.unix_micros()));
    let mut query = Query::select();
    query
        .expr(Expr::val(1))
        .from_as(tokens::Entity, successor.clone())
        .and_where(column(tokens::Column::Id).equals((tokens::Entity, tokens::Column::RotatedTo)))
        .and_where(column(tokens::Column::RevokeTime).is_null())
        .and_where(not_expired)
        .and_where_option(created_until_ended.map(|until| column(tokens::Column::CreateTime).gt(until.unix_micros())));
    query
}
