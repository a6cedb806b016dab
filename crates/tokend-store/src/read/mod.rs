//! Reads: one statement each where a snapshot matters, without a lock.
//!
//! Lists page by key, never by offset, so that what is made meanwhile shifts no page; each row of a list is a `Result` of its own.

mod affected;
mod audit;
mod callers;
mod ended_tokens;
mod endings;
mod filtered_audit;
mod filtered_tokens;
mod governed;
pub(crate) mod known_caller;
mod living_tokens;
mod notices;
mod organizations;
mod presented;
mod token_walk;
mod tokens;
mod usage;
mod workspaces;

pub use affected::{Affected, Edit};
pub use audit::RecordPage;
pub use callers::{CallerKeyPage, CallerPage};
pub use ended_tokens::EndedBy;
pub use endings::StoredEnding;
pub use filtered_audit::MAX_EXAMINED_RECORDS;
pub use filtered_tokens::{MAX_COUNTED, MAX_COUNTED_AMONG, MAX_EXAMINED, TokenPlace};
pub use governed::{Governed, unreadable_policy};
pub use known_caller::{CallerNow, CallerRef};
pub use notices::{DueKeys, DuePlace, DueTokens};
pub use organizations::OrganizationPage;
pub use presented::{PresentedCallerKey, PresentedCertificate, PresentedToken};
pub use tokens::{StoredToken, TokenPage};
pub(crate) use workspaces::counted;
pub use workspaces::{StoredWorkspace, WorkspacePage};

use sea_orm::{
    ColumnTrait, QueryResult,
    sea_query::{Expr, ExprTrait},
};
use tokend_core::{
    credential::CredentialId,
    name::{CallerKeyName, TokenName},
    time::Timestamp,
};

use crate::{error::StoreError, row};

/// The prefixes that sea-orm gives to the columns of the tables of a join.
const LEFT: &str = "A_";
const RIGHT: &str = "B_";
const THIRD: &str = "C_";

/// A place in a list ordered by creation, to go on after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeCursor {
    micros: i64,
    id: Vec<u8>,
}

impl TimeCursor {
    /// The place of the row of that time and id, whether or not there is one.
    #[must_use]
    pub fn new(create_time: Timestamp, id: CredentialId) -> Self {
        Self { micros: create_time.unix_micros(), id: id.as_bytes().to_vec() }
    }

    /// A form to put into a page token.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.micros.to_be_bytes(), self.id.as_slice()].concat()
    }

    /// Takes the form that [`to_bytes`](Self::to_bytes) gave; `None` for any other.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (micros, id) = bytes.split_first_chunk()?;
        Some(Self { micros: i64::from_be_bytes(*micros), id: id.to_vec() })
    }

    /// Rows that come after this place, newest first.
    fn comes_before<C: ColumnTrait>(self, key: [C; 2]) -> Expr {
        let place: [Expr; 2] = [self.micros.into(), self.id.into()];
        Expr::tuple(key.map(Expr::col)).lt(Expr::tuple(place))
    }

    /// Rows that come up to this place, newest first, it included.
    fn up_to_here<C: ColumnTrait>(self, key: [C; 2]) -> Expr {
        let place: [Expr; 2] = [self.micros.into(), self.id.into()];
        Expr::tuple(key.map(Expr::col)).gte(Expr::tuple(place))
    }

    fn of(row: &QueryResult) -> Result<Self, StoreError> {
        Ok(Self { micros: row.try_get("", "create_time")?, id: row.try_get("", "id")? })
    }
}

/// The name of the token whose columns `workspace` and `id` these are.
fn token_name(found: &QueryResult) -> Result<TokenName, StoreError> {
    let (workspace, id): (String, Vec<u8>) = (found.try_get("", "workspace")?, found.try_get("", "id")?);
    let unreadable = |problem| StoreError::corrupt("tokens", row::shown_id(&id), problem);
    let workspace = row::column("workspace", workspace.parse()).map_err(unreadable)?;
    Ok(TokenName { workspace, id: row::credential_id(&id).map_err(unreadable)? })
}

/// The caller key that the columns `caller` and `id` name.
fn caller_key_name(found: &QueryResult) -> Result<CallerKeyName, StoreError> {
    let (caller, id): (String, Vec<u8>) = (found.try_get("", "caller")?, found.try_get("", "id")?);
    let unreadable = |problem| StoreError::corrupt("caller_keys", row::shown_id(&id), problem);
    let caller = row::column("caller", caller.parse()).map_err(unreadable)?;
    Ok(CallerKeyName { caller, id: row::credential_id(&id).map_err(unreadable)? })
}

/// Cuts the row that was asked for beyond the page: with it there is a next page, which goes on after the last row kept.
fn cut<C>(
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
