//! The timeline of PostgreSQL, which each promotion of a standby changes. It is part of every epoch (L4).

use sea_orm::{QueryResult, sea_query::Expr};

use crate::error::StoreError;

/// The timeline on SQLite, and on a standby, where nothing is committed.
pub(crate) const NONE: u32 = 0;

/// PostgreSQL: the SQL of the column that [`read`] reads. Needs no privilege. The first eight digits of the name of a
/// segment of the write-ahead log are the timeline.
pub(crate) const SQL: &str = "CASE WHEN pg_is_in_recovery() THEN NULL \
                              ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END AS timeline";

/// PostgreSQL: returns the column that [`read`] reads.
pub(crate) fn column() -> Expr {
    Expr::cust(SQL)
}

/// Reads the timeline from a row.
pub(crate) fn read(row: &QueryResult) -> Result<u32, StoreError> {
    let Some(digits) = row.try_get::<Option<String>>("", "timeline")? else {
        return Ok(NONE);
    };
    u32::from_str_radix(&digits, 16)
        .map_err(|error| StoreError::corrupt("feed", "1".to_owned(), format!("timeline {digits:?}: {error}")))
}
