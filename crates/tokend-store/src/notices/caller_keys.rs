//! Writes the state of notices of the expiry of caller keys. It has a table of its own, beside that of the keys.

use std::time::Duration;

use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryTrait, sea_query::Expr};
use tokend_core::{caller::CallerKey, credential::CredentialId, time::Timestamp, token::expiry_notice::SentNotices};

use crate::{
    error::StoreError,
    notices::tables::caller_key_notices::{ActiveModel, Column, Entity, Model},
    transaction::WriteTx,
};

impl WriteTx {
    /// Returns the notices of a caller key's expiry that were recorded. `None` if the key has no row. Lock the key
    /// first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn key_notices(&self, key: CredentialId) -> Result<Option<SentNotices>, StoreError> {
        let query = Entity::find_by_id(key.as_bytes().to_vec());
        let Some(found) = self.find(&query.into_query()).await? else {
            return Ok(None);
        };
        let Model {
            key: _,
            told,
            look_time: _,
        } = Model::from_query_result(&found, "")?;
        let unknown = || {
            StoreError::corrupt(
                "caller_key_notices",
                key.to_string(),
                "column told has unknown bits".to_owned(),
            )
        };
        SentNotices::from_bits(told).map(Some).ok_or_else(unknown)
    }

    /// Replaces the recorded notices `read` with `given`, and stores when the next notice is due. Returns false and
    /// changes nothing if the stored notices have changed since they were read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_key_notices(
        &self,
        key: CredentialId,
        read: SentNotices,
        given: SentNotices,
        next: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let update = Entity::update_many()
            .col_expr(Column::Told, Expr::value(given.bits()))
            .col_expr(Column::LookTime, Expr::value(next.map(Timestamp::unix_micros)))
            .filter(Column::Key.eq(key.as_bytes().to_vec()))
            .filter(Column::Told.eq(read.bits()));
        self.change(&update.into_query()).await
    }

    /// Postpones the notices of a key that can't be read at the moment.
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
    pub(crate) async fn plan_key_notices(&self, key: &CallerKey) -> Result<(), StoreError> {
        let row = ActiveModel {
            key: Set(key.name.id.as_bytes().to_vec()),
            told: Set(SentNotices::NONE.bits()),
            look_time: Set(key.notice_plan().next(SentNotices::NONE).map(Timestamp::unix_micros)),
        };
        // The id was just generated, so an existing row belongs to the same key.
        let _ = self.insert(Entity::insert(row)).await?;
        Ok(())
    }
}
