//! Reading single columns. Each error is a sentence that names the column.

use sea_orm::{
    ColumnTrait, EntityTrait, IdenStatic, Iterable,
    sea_query::{Alias, Expr, SelectStatement},
};
use tokend_core::{
    credential::{CredentialId, Kid, SecretDigest},
    feed::Revision,
    time::Timestamp,
};

/// The prefixes that sea-orm gives to the columns of the first, second and third table of a join.
pub(crate) const LEFT: &str = "A_";
pub(crate) const RIGHT: &str = "B_";
pub(crate) const THIRD: &str = "C_";

/// Selects every column of a table. Their names get the prefix.
pub(crate) fn select_columns<E: EntityTrait>(query: &mut SelectStatement, prefix: &str) {
    for column in E::Column::iter() {
        query.expr_as(
            Expr::col(column.as_column_ref()),
            Alias::new(format!("{prefix}{}", column.as_str())),
        );
    }
}

/// Adds the name of the column to the error of reading its value.
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

pub(crate) fn credential_id_in(name: &str, id: &[u8]) -> Result<CredentialId, String> {
    let id = id
        .try_into()
        .map_err(|_| format!("must have {} bytes, it has {}", CredentialId::BYTES, id.len()));
    column(name, id).map(CredentialId::from_bytes)
}

pub(crate) fn digest(kid: &str, digest: &[u8]) -> Result<SecretDigest, String> {
    let kid: Kid = column("kid", kid.parse())?;
    let hash = digest
        .try_into()
        .map_err(|_| format!("must have {} bytes, it has {}", SecretDigest::BYTES, digest.len()));
    Ok(SecretDigest::from_stored(kid, column("digest", hash)?))
}

/// Reads the revision of the feed row.
pub(crate) fn revision(epoch: i64, number: i64) -> Result<Revision, String> {
    Ok(Revision {
        epoch: column("epoch", u64::try_from(epoch))?,
        number: column("revision", u64::try_from(number))?,
    })
}

/// Returns a credential's id as text, or its bytes if it is malformed.
pub(crate) fn shown_id(id: &[u8]) -> String {
    match id.try_into() {
        Ok(id) => CredentialId::from_bytes(id).to_string(),
        Err(_) => format!("{id:02x?}"),
    }
}
