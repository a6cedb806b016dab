//! Counts the tokens and caller keys that still work and were made with one key, before that key is retired.

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait,
    sea_query::{Expr, Query, SelectStatement},
};
use tokend_core::{credential::Kid, time::Timestamp, token::Expiry};

use crate::{
    callers::tables::caller_keys,
    error::StoreError,
    row,
    store::Store,
    tokens::{filter_sql::not_ended_by_itself, tables::tokens},
    transaction::WriteTx,
    workspaces::{row::DELETED, tables::workspaces},
};

/// The credentials that still work and were made with one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveCredentials {
    /// The number of tokens.
    pub tokens: u64,
    /// The number of caller keys.
    pub caller_keys: u64,
    /// When the last of them expires. `None` if there are none.
    pub until: Option<Expiry>,
}

impl Store {
    /// Counts the credentials made with `kid` that work now. Tokens of a deleted workspace don't work.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn live_credentials(&self, kid: Kid) -> Result<LiveCredentials, StoreError> {
        self.run(move |shared| async move {
            let now = shared.now(&shared.connection).await?;
            live_credentials(&shared.connection, kid, now).await
        })
        .await
    }
}

impl WriteTx {
    /// Counts the credentials made with `kid` that work at `now`. Tokens of a deleted workspace don't work.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn live_credentials(&self, kid: Kid, now: Timestamp) -> Result<LiveCredentials, StoreError> {
        self.noting_failure(live_credentials(&self.tx, kid, now).await)
    }
}

async fn live_credentials(
    connection: &impl ConnectionTrait,
    kid: Kid,
    now: Timestamp,
) -> Result<LiveCredentials, StoreError> {
    let (tokens, tokens_until) = live(connection, live_tokens(kid, now)).await?;
    let (caller_keys, keys_until) = live(connection, live_caller_keys(kid, now)).await?;
    Ok(LiveCredentials {
        tokens,
        caller_keys,
        until: later(tokens_until, keys_until),
    })
}

/// Returns the number of rows that a query finds, and when the last of them expires.
async fn live(
    connection: &impl ConnectionTrait,
    mut live: SelectStatement,
) -> Result<(u64, Option<Expiry>), StoreError> {
    live.expr_as(Expr::cust("count(*)"), "count")
        .expr_as(Expr::cust("max(expire_time)"), "latest")
        .expr_as(Expr::cust("count(*) - count(expire_time)"), "endless");
    let Some(found) = connection.query_one(&live).await? else {
        return Ok((0, None));
    };
    let (latest, endless): (Option<i64>, i64) = (found.try_get("", "latest")?, found.try_get("", "endless")?);
    let until = match latest {
        _ if endless > 0 => Some(Expiry::Never),
        latest => latest.map(|micros| Expiry::At(Timestamp::from_unix_micros(micros).unwrap_or(Timestamp::MAX))),
    };
    Ok((row::count(Some(found))?, until))
}

fn live_tokens(kid: Kid, now: Timestamp) -> SelectStatement {
    let mut deleted = Query::select();
    deleted
        .column(workspaces::Column::Id)
        .from(workspaces::Entity)
        .and_where(workspaces::Column::State.eq(DELETED));
    tokens::Entity::find()
        .select_only()
        .filter(tokens::Column::Kid.eq(kid.to_string()))
        .filter(not_ended_by_itself(now))
        .filter(tokens::Column::Workspace.not_in_subquery(deleted))
        .into_query()
}

fn live_caller_keys(kid: Kid, now: Timestamp) -> SelectStatement {
    caller_keys::Entity::find()
        .select_only()
        .filter(caller_keys::Column::Kid.eq(kid.to_string()))
        .filter(caller_keys::Column::RevokeTime.is_null())
        .filter(caller_keys::Column::ExpireTime.gt(now.unix_micros()))
        .into_query()
}

fn later(one: Option<Expiry>, other: Option<Expiry>) -> Option<Expiry> {
    match (one, other) {
        (Some(Expiry::Never), _) | (_, Some(Expiry::Never)) => Some(Expiry::Never),
        (Some(Expiry::At(one)), Some(Expiry::At(other))) => Some(Expiry::At(one.max(other))),
        (one, other) => one.or(other),
    }
}
