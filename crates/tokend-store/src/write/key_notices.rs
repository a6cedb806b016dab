//! Which notices of caller keys' expiry were given. Beside the key, in a table of its own, as those of tokens are.

use std::time::Duration;

use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryTrait, sea_query::Expr};
use tokend_core::{caller::CallerKey, credential::CredentialId, expiry_notice::Told, time::Timestamp};

use super::WriteTx;
use crate::{
    entity::caller_key_notices::{ActiveModel, Column, Entity, Model},
    error::StoreError,
};

impl WriteTx {
    /// The notices of a caller key's expiry that were given; `None` if it has no row. Lock the key first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn key_notices(&self, key: CredentialId) -> Result<Option<Told>, StoreError> {
        let query = Entity::find_by_id(key.as_bytes().to_vec());
        let Some(found) = self.find(&query.into_query()).await? else { return Ok(None) };
        let Model { key: _, told, look_time: _ } = Model::from_query_result(&found, "")?;
        let unknown = || StoreError::corrupt("caller_key_notices", key.to_string(), "column told has unknown bits".to_owned());
        Told::from_bits(told).map(Some).ok_or_else(unknown)
    }

    /// Stores that these notices were given, in place of those that were `read`, and when the next one is due. Returns false if others are
    /// stored by now: then nothing was changed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn give_key_notices(
        &self,
        key: CredentialId,
        read: Told,
        given: Told,
        next: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let update = Entity::update_many()
            .col_expr(Column::Told, Expr::value(given.bits()))
            .col_expr(Column::LookTime, Expr::value(next.map(Timestamp::unix_micros)))
            .filter(Column::Key.eq(key.as_bytes().to_vec()))
            .filter(Column::Told.eq(read.bits()));
        self.change(&update.into_query()).await
    }

    /// Postpones the notices of a key that can't be read now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn postpone_key_notices(&self, key: CredentialId, span: Duration) -> Result<(), StoreError> {
        let then = self.now().await?.plus(span).unwrap_or(Timestamp::MAX);
        let update = Entity::update_many()
            .col_expr(Column::LookTime, Expr::value(then.unix_micros()))
            .filter(Column::Key.eq(key.as_bytes().to_vec()));
        self.change(&update.into_query()).await.map(|_| ())
    }

    /// Plans the notices of a key that was just inserted.
    pub(super) async fn plan_key_notices(&self, key: &CallerKey) -> Result<(), StoreError> {
        let row = ActiveModel {
            key: Set(key.name.id.as_bytes().to_vec()),
            told: Set(Told::NOTHING.bits()),
            look_time: Set(key.notice_plan().next(Told::NOTHING).map(Timestamp::unix_micros)),
        };
        // The id was just drawn: a row that is there belongs to the same key.
        let _ = self.insert(Entity::insert(row)).await?;
        Ok(())
    }
}
