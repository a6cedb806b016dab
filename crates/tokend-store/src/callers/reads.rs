use std::collections::BTreeMap;

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};
use tokend_core::{
    caller::{Caller, CallerKey},
    credential::CredentialId,
    name::CallerId,
    time::Timestamp,
};

use crate::{
    callers::tables::{caller_keys, callers},
    error::StoreError,
    row::{Locked, TimeCursor, cut},
    shared::Shared,
    store::Store,
    usage::reads::last_uses_of_keys,
};

/// A page of callers, by id.
#[derive(Debug)]
pub struct CallerPage {
    /// The callers. A row that fails verification is an error in its place.
    pub callers: Vec<Result<Caller, StoreError>>,
    /// Where the next page starts, if there is one.
    pub next: Option<String>,
}

/// A page of a caller's keys, newest first.
#[derive(Debug)]
pub struct CallerKeyPage {
    /// The keys. A row that fails verification is an error in its place.
    pub keys: Vec<Result<CallerKey, StoreError>>,
    /// When each key that was ever used was used last, to a minute.
    pub last_uses: BTreeMap<CredentialId, Timestamp>,
    /// Where the next page starts, if there is one.
    pub next: Option<TimeCursor>,
    /// Database time.
    pub now: Timestamp,
}

impl Store {
    /// Returns a caller. `None` if it does not exist.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn caller(&self, id: &CallerId) -> Result<Option<Caller>, StoreError> {
        let id = id.clone();
        self.run(move |shared| async move { caller(&shared, &id).await }).await
    }

    /// Lists callers ordered by id: at most `limit`, after the id `after`.
    ///
    /// # Errors
    /// [`StoreError`] of the whole list; those of single callers are in the page.
    pub async fn list_callers(&self, after: Option<String>, limit: u64) -> Result<CallerPage, StoreError> {
        self.list(move |shared| async move { list_callers(&shared, after, limit).await })
            .await
    }

    /// Returns for each of these callers when the last of its working keys expires. Leaves out callers without a
    /// working key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keys_work_until(&self, callers: Vec<CallerId>) -> Result<BTreeMap<CallerId, Timestamp>, StoreError> {
        self.run(move |shared| async move { keys_work_until(&shared, callers).await })
            .await
    }

    /// Lists a caller's keys, newest first: at most `limit`, after `after`. `None` if the caller does not exist.
    ///
    /// # Errors
    /// [`StoreError`] of the caller or the whole list; those of single keys are in the page.
    pub async fn list_caller_keys(
        &self,
        caller: &CallerId,
        after: Option<TimeCursor>,
        limit: u64,
    ) -> Result<Option<CallerKeyPage>, StoreError> {
        let caller = caller.clone();
        self.list(move |shared| async move { list_caller_keys(&shared, &caller, after, limit).await })
            .await
    }
}

async fn caller(shared: &Shared, id: &CallerId) -> Result<Option<Caller>, StoreError> {
    let found = shared
        .connection
        .query_one(&callers::Entity::find_by_id(id.as_str()).into_query())
        .await?;
    Ok(found
        .map(|columns| shared.row_verifier().read(&columns, ""))
        .transpose()?
        .map(Locked::into_inner))
}

async fn list_callers(shared: &Shared, after: Option<String>, limit: u64) -> Result<CallerPage, StoreError> {
    let mut query = callers::Entity::find();
    if let Some(after) = after {
        query = query.filter(callers::Column::Id.gt(after));
    }
    let query = query.order_by_asc(callers::Column::Id).limit(limit.saturating_add(1));
    let mut rows = shared.connection.query_all(&query.into_query()).await?;
    let next = cut(&mut rows, limit, |row| Ok(row.try_get("", "id")?))?;
    Ok(CallerPage {
        callers: shared.row_verifier().each(&rows)?,
        next,
    })
}

async fn keys_work_until(shared: &Shared, callers: Vec<CallerId>) -> Result<BTreeMap<CallerId, Timestamp>, StoreError> {
    let now = shared.now(&shared.connection).await?;
    let query = caller_keys::Entity::find()
        .filter(caller_keys::Column::Caller.is_in(callers.iter().map(CallerId::as_str)))
        .filter(caller_keys::Column::RevokeTime.is_null())
        .filter(caller_keys::Column::ExpireTime.gt(now.unix_micros()));
    let rows = shared.connection.query_all(&query.into_query()).await?;
    let keys: Vec<Result<CallerKey, _>> = shared.row_verifier().each(&rows)?;
    let mut ends = BTreeMap::new();
    // A key that fails verification does not work.
    for key in keys.into_iter().flatten() {
        let end = ends.entry(key.name.caller).or_insert(key.expire_time);
        *end = key.expire_time.max(*end);
    }
    Ok(ends)
}

async fn list_caller_keys(
    shared: &Shared,
    id: &CallerId,
    after: Option<TimeCursor>,
    limit: u64,
) -> Result<Option<CallerKeyPage>, StoreError> {
    let mut query = callers::Entity::find_by_id(id.as_str()).into_query();
    shared.select_now(&mut query);
    let Some(found) = shared.connection.query_one(&query).await? else {
        return Ok(None);
    };
    let now = shared.read_now(&found)?;
    shared.row_verifier().read::<Caller>(&found, "")?;

    let mut query = caller_keys::Entity::find().filter(caller_keys::Column::Caller.eq(id.as_str()));
    if let Some(after) = after {
        query = query.filter(after.comes_before([caller_keys::Column::CreateTime, caller_keys::Column::Id]));
    }
    let query = query
        .order_by_desc(caller_keys::Column::CreateTime)
        .order_by_desc(caller_keys::Column::Id)
        .limit(limit.saturating_add(1));
    let mut rows = shared.connection.query_all(&query.into_query()).await?;
    let next = cut(&mut rows, limit, TimeCursor::of)?;
    let keys: Vec<Result<CallerKey, _>> = shared.row_verifier().each(&rows)?;
    let ids: Vec<_> = keys.iter().flatten().map(|key| key.name.id).collect();
    let last_uses = last_uses_of_keys(shared, ids).await?;
    Ok(Some(CallerKeyPage {
        keys,
        last_uses,
        next,
        now,
    }))
}
