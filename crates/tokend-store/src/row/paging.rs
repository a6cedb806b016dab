//! Paging and counting.
//!
//! Lists page by key, never by offset, so rows that are inserted meanwhile don't shift a page.

use sea_orm::{
    ColumnTrait, EntityTrait, QueryResult, QuerySelect, QueryTrait, Select,
    sea_query::{Expr, ExprTrait, SelectStatement},
};
use tokend_core::{credential::CredentialId, time::Timestamp};

use crate::error::StoreError;

/// A place in a list ordered by creation, after which the next page starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeCursor {
    micros: i64,
    pub(crate) id: Vec<u8>,
}

impl TimeCursor {
    /// Returns the place of a row with that creation time and id, whether or not it exists.
    #[must_use]
    pub fn new(create_time: Timestamp, id: CredentialId) -> Self {
        Self {
            micros: create_time.unix_micros(),
            id: id.as_bytes().to_vec(),
        }
    }

    /// Returns the bytes to put into a page token.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.micros.to_be_bytes(), self.id.as_slice()].concat()
    }

    /// Reads the bytes that [`to_bytes`](Self::to_bytes) returned. `None` for any other bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (micros, id) = bytes.split_first_chunk()?;
        Some(Self {
            micros: i64::from_be_bytes(*micros),
            id: id.to_vec(),
        })
    }

    /// Selects the rows after this place in a list with the newest first.
    pub(crate) fn comes_before<C: ColumnTrait>(self, key: [C; 2]) -> Expr {
        let place: [Expr; 2] = [self.micros.into(), self.id.into()];
        Expr::tuple(key.map(Expr::col)).lt(Expr::tuple(place))
    }

    /// Selects the rows up to this place, inclusive, in a list with the newest first.
    pub(crate) fn up_to_here<C: ColumnTrait>(self, key: [C; 2]) -> Expr {
        let place: [Expr; 2] = [self.micros.into(), self.id.into()];
        Expr::tuple(key.map(Expr::col)).gte(Expr::tuple(place))
    }

    pub(crate) fn of(row: &QueryResult) -> Result<Self, StoreError> {
        Ok(Self {
            micros: row.try_get("", "create_time")?,
            id: row.try_get("", "id")?,
        })
    }
}

/// Removes the row that was read beyond the page. If there was one, returns the place of the last row of the page,
/// after which the next page starts.
pub(crate) fn cut<C>(
    rows: &mut Vec<QueryResult>,
    limit: u64,
    cursor: impl Fn(&QueryResult) -> Result<C, StoreError>,
) -> Result<Option<C>, StoreError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if rows.len() <= limit {
        return Ok(None);
    }
    rows.truncate(limit);
    rows.last().map(cursor).transpose()
}

/// Returns a statement that counts the rows of another without reading them.
pub(crate) fn counting<E: EntityTrait>(rows: Select<E>) -> SelectStatement {
    rows.select_only().expr_as(Expr::cust("count(*)"), COUNT).into_query()
}

/// Reads the result of such a statement.
pub(crate) fn count(found: Option<QueryResult>) -> Result<u64, StoreError> {
    let count: i64 = found.map_or(Ok(0), |row| row.try_get("", COUNT))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// The column with the count.
pub(crate) const COUNT: &str = "count";
