//! Records completed requests, so that a request that is repeated within a day returns the first result.

use std::time::Duration;

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryTrait,
    sea_query::{Expr, ExprTrait, LockBehavior, LockType, OnConflict, Query},
};
use tokend_core::{credential::CredentialId, name::CallerId, time::Timestamp};

use crate::{
    error::StoreError,
    requests::tables::request_ids::{ActiveModel, Column, Entity, Model},
    row,
    transaction::{Insert, WriteTx},
};

/// How long a request is stored.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The maximum number of old requests that one write deletes.
const CLEARED_AT_ONCE: u64 = 100;

const TABLE: &str = "request_ids";

/// Identifies a request. Its id is unique for one caller, RPC and parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// The caller.
    pub caller: CallerId,
    /// The RPC's name.
    pub rpc: &'static str,
    /// The resource name of the new resource's parent.
    pub parent: String,
    /// The id that the caller chose.
    pub request_id: String,
}

/// The result of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedRequest {
    /// A digest of its body, so that a different body with the same id is detected.
    pub digest: [u8; 32],
    /// The token that it created.
    pub token: CredentialId,
    /// When it was completed.
    pub create_time: Timestamp,
}

impl WriteTx {
    /// Returns the result of a request that was completed within the last 24 hours. Lock the parent first, so that the
    /// second of two concurrent requests finds the first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn recorded_request(&self, key: &RequestKey) -> Result<Option<RecordedRequest>, StoreError> {
        let forgotten = self.forgotten().await?;
        let query = Entity::find_by_id((
            key.caller.to_string(),
            key.rpc.to_owned(),
            key.parent.clone(),
            key.request_id.clone(),
        ))
        .filter(Column::CreateTime.gt(forgotten));
        let Some(found) = self.find(&query.into_query()).await? else {
            return Ok(None);
        };
        let request = Model::from_query_result(&found, "")
            .map_err(|error| error.to_string())
            .and_then(read);
        request
            .map(Some)
            .map_err(|problem| StoreError::corrupt(TABLE, key.request_id.clone(), problem))
    }

    /// Records a request. Replaces one with the same key that is older than 24 hours, and returns [`Insert::Taken`] if
    /// there is a newer one. Deletes a bounded number of other old requests.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_request(&self, key: &RequestKey, request: &RecordedRequest) -> Result<Insert, StoreError> {
        let forgotten = self.forgotten().await?;
        let model = ActiveModel {
            caller: Set(key.caller.to_string()),
            rpc: Set(key.rpc.to_owned()),
            parent: Set(key.parent.clone()),
            request_id: Set(key.request_id.clone()),
            digest: Set(request.digest.to_vec()),
            token: Set(request.token.as_bytes().to_vec()),
            create_time: Set(request.create_time.unix_micros()),
        };
        let replace_forgotten = OnConflict::columns([Column::Caller, Column::Rpc, Column::Parent, Column::RequestId])
            .update_columns([Column::Digest, Column::Token, Column::CreateTime])
            .action_and_where(Expr::col((Entity, Column::CreateTime)).lte(forgotten))
            .to_owned();
        let insert = Entity::insert(model).on_conflict(replace_forgotten);
        let recorded = if self.change(&insert.into_query()).await? {
            Insert::Done
        } else {
            Insert::Taken
        };
        self.clear(forgotten).await?;
        Ok(recorded)
    }

    /// Returns the time, in microseconds, at or before which requests are old.
    async fn forgotten(&self) -> Result<i64, StoreError> {
        let life = i64::try_from(LIFE.as_micros()).unwrap_or(i64::MAX);
        Ok(self.now().await?.saturating_add_micros(-life).unix_micros())
    }

    async fn clear(&self, forgotten: i64) -> Result<(), StoreError> {
        const KEY: [Column; 4] = [Column::Caller, Column::Rpc, Column::Parent, Column::RequestId];
        let mut some = Query::select();
        some.columns(KEY)
            .from(Entity)
            .and_where(Column::CreateTime.lte(forgotten))
            .order_by(Column::CreateTime, sea_orm::Order::Asc)
            .limit(CLEARED_AT_ONCE)
            // Skips rows that another write is deleting. (SQLite has no such clause, and one writer.)
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        let key = Expr::tuple(KEY.map(Expr::col));
        let delete = Entity::delete_many().filter(key.in_subquery(some));
        self.change(&delete.into_query()).await.map(|_| ())
    }
}

fn read(model: Model) -> Result<RecordedRequest, String> {
    let Model {
        caller: _,
        rpc: _,
        parent: _,
        request_id: _,
        digest,
        token,
        create_time,
    } = model;
    Ok(RecordedRequest {
        digest: digest
            .as_slice()
            .try_into()
            .map_err(|_| format!("column digest must have 32 bytes, it has {}", digest.len()))?,
        token: row::credential_id(&token)?,
        create_time: row::time("create_time", create_time)?,
    })
}
