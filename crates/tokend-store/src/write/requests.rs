//! Requests that were carried out, so that one that comes again within a day is answered and not done again.

use std::time::Duration;

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryTrait,
    sea_query::{Expr, ExprTrait, LockBehavior, LockType, OnConflict, Query},
};
use tokend_core::{credential::CredentialId, name::CallerId, time::Timestamp};

use super::{Insert, WriteTx};
use crate::{
    entity::request_ids::{ActiveModel, Column, Entity, Model},
    error::StoreError,
    row,
};

/// How long a request is remembered.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Most forgotten requests that one write clears away.
const CLEARED_AT_ONCE: u64 = 100;

const TABLE: &str = "request_ids";

/// Which request: its id is unique for one caller, RPC and parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// Who calls.
    pub caller: CallerId,
    /// The RPC's name.
    pub rpc: &'static str,
    /// What the new thing belongs to, by its resource name.
    pub parent: String,
    /// The id that the caller chose.
    pub request_id: String,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedRequest {
    /// A digest of its body, so that another body under the same id is told.
    pub digest: [u8; 32],
    /// The token that it made.
    pub token: CredentialId,
    /// When.
    pub create_time: Timestamp,
}

impl WriteTx {
    /// The request of that key if it was carried out within the last 24 hours. Lock the parent first: then of two that come at once,
    /// the second finds the first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn recorded_request(&self, key: &RequestKey) -> Result<Option<RecordedRequest>, StoreError> {
        let forgotten = self.forgotten().await?;
        let query = Entity::find_by_id((key.caller.to_string(), key.rpc.to_owned(), key.parent.clone(), key.request_id.clone()))
            .filter(Column::CreateTime.gt(forgotten));
        let Some(found) = self.find(&query.into_query()).await? else { return Ok(None) };
        let request = Model::from_query_result(&found, "").map_err(|error| error.to_string()).and_then(read);
        request.map(Some).map_err(|problem| StoreError::corrupt(TABLE, key.request_id.clone(), problem))
    }

    /// Records a request, in place of one of the same key that is older than 24 hours; [`Insert::Taken`] if that is not. Clears a
    /// bounded number of other old ones away.
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
        let recorded = if self.change(&insert.into_query()).await? { Insert::Done } else { Insert::Taken };
        self.clear(forgotten).await?;
        Ok(recorded)
    }

    /// Requests made at this time (in microseconds) or before are forgotten.
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
            // Rows that another write is clearing are its own business. (SQLite has no such clause, and one writer.)
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        let key = Expr::tuple(KEY.map(Expr::col));
        let delete = Entity::delete_many().filter(key.in_subquery(some));
        self.change(&delete.into_query()).await.map(|_| ())
    }
}

fn read(model: Model) -> Result<RecordedRequest, String> {
    let Model { caller: _, rpc: _, parent: _, request_id: _, digest, token, create_time } = model;
    Ok(RecordedRequest {
        digest: digest.as_slice().try_into().map_err(|_| format!("column digest must have 32 bytes, it has {}", digest.len()))?,
        token: row::credential_id(&token)?,
        create_time: row::time("create_time", create_time)?,
    })
}
