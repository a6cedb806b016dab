//! What the columns mean: each row as its `tokend-core` type, both ways.
//!
//! Reading goes through a [`Judge`]: the columns are decoded, then understood, then the MAC is compared. Only what passes all three leaves
//! the crate; what does not is an error that names table and row.

pub(crate) mod audit;
mod caller;
mod caller_key;
mod feed;
mod judge;
mod list;
mod message;
mod organization;
mod policy;
mod token;
mod usage;
mod workspace;

pub(crate) use caller::to_model as caller_to_model;
pub(crate) use caller_key::to_model as caller_key_to_model;
pub(crate) use feed::to_model as feed_to_model;
pub(crate) use judge::{Judge, RefusedRows, judged};
pub(crate) use list::map_entry;
pub(crate) use message::to_model as message_to_model;
pub(crate) use organization::to_model as organization_to_model;
pub(crate) use token::to_model as token_to_model;
pub(crate) use usage::{last_use_by_key, usage_by_token, usage_to_model};
pub(crate) use workspace::{DELETED, to_model as workspace_to_model};

use sea_orm::{
    ColumnTrait, Condition, EntityTrait, FromQueryResult, QueryResult, QuerySelect, QueryTrait, Select, TryGetable, Value,
    sea_query::{Expr, SelectStatement},
};
use tokend_core::{
    credential::{CredentialId, Kid, SecretDigest},
    revision::Revision,
    row_mac::Sealed,
    time::Timestamp,
};

use crate::{entity::tokens, error::StoreError};

/// A table whose rows are sealed.
pub(crate) trait Row: Sealed + Sized {
    /// What the column of its key holds.
    type Id: TryGetable + Into<Value>;
    /// Its columns.
    type Model: FromQueryResult + Send;

    /// The column of its key.
    const KEY: &'static str = "id";

    /// The row's key, for people.
    fn key(model: &Self::Model) -> String;

    /// The row's key out of columns that could not be decoded.
    fn key_of_undecoded(columns: &QueryResult, prefix: &str) -> Option<String>;

    /// The MAC as stored.
    fn mac(model: &Self::Model) -> &[u8];

    /// What the columns mean. `Err` says which column does not mean anything.
    fn from_model(model: Self::Model) -> Result<Self, String>;
}

/// Tokens that are neither revoked nor past their own end. A deadline may have ended them all the same.
pub(crate) fn not_ended_by_itself(now: Timestamp) -> Condition {
    let not_expired =
        Condition::any().add(tokens::Column::ExpireTime.is_null()).add(tokens::Column::ExpireTime.gt(now.unix_micros()));
    Condition::all().add(tokens::Column::RevokeTime.is_null()).add(not_expired)
}

/// Tokens that are neither revoked nor expired, where those made up to `made_until_ended` were ended by a deadline.
pub(crate) fn not_ended(made_until_ended: Option<Timestamp>, now: Timestamp) -> Condition {
    let younger = made_until_ended.map(|until| tokens::Column::CreateTime.gt(until.unix_micros()));
    not_ended_by_itself(now).add_option(younger)
}

/// A statement that counts the rows of another, without reading them.
pub(crate) fn counting<E: EntityTrait>(rows: Select<E>) -> SelectStatement {
    rows.select_only().expr_as(Expr::cust("count(*)"), COUNT).into_query()
}

/// The count in what such a statement found.
pub(crate) fn count(found: Option<QueryResult>) -> Result<u64, StoreError> {
    let count: i64 = found.map_or(Ok(0), |row| row.try_get("", COUNT))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// The column of a count.
pub(crate) const COUNT: &str = "count";

/// Reads one column's value, naming the column when that fails.
pub(crate) fn column<T, E: std::fmt::Display>(name: &str, value: Result<T, E>) -> Result<T, String> {
    value.map_err(|error| format!("column {name} {error}"))
}

pub(crate) fn time(name: &str, micros: i64) -> Result<Timestamp, String> {
    column(name, Timestamp::from_unix_micros(micros))
}

pub(crate) fn optional_time(name: &str, micros: Option<i64>) -> Result<Option<Timestamp>, String> {
    micros.map(|micros| time(name, micros)).transpose()
}

/// Reads a column that holds 0 or 1.
pub(crate) fn flag(name: &str, value: i16) -> Result<bool, String> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(format!("column {name} must be 0 or 1, it is {other}")),
    }
}

pub(crate) fn credential_id(id: &[u8]) -> Result<CredentialId, String> {
    credential_id_in("id", id)
}

fn credential_id_in(name: &str, id: &[u8]) -> Result<CredentialId, String> {
    let id = id.try_into().map_err(|_| format!("must have {} bytes, it has {}", CredentialId::BYTES, id.len()));
    column(name, id).map(CredentialId::from_bytes)
}

pub(crate) fn digest(kid: &str, digest: &[u8]) -> Result<SecretDigest, String> {
    let kid: Kid = column("kid", kid.parse())?;
    let hash = digest.try_into().map_err(|_| format!("must have {} bytes, it has {}", SecretDigest::BYTES, digest.len()));
    Ok(SecretDigest::from_stored(kid, column("digest", hash)?))
}

/// Where the feed's row stands.
pub(crate) fn revision(epoch: i64, number: i64) -> Result<Revision, String> {
    Ok(Revision { epoch: column("epoch", u64::try_from(epoch))?, number: column("revision", u64::try_from(number))? })
}

/// How people are shown the key of a row of credentials: the id's letters, or the bytes when they are none.
pub(crate) fn shown_id(id: &[u8]) -> String {
    match id.try_into() {
        Ok(id) => CredentialId::from_bytes(id).to_string(),
        Err(_) => format!("{id:02x?}"),
    }
}
