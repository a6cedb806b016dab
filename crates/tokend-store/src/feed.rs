//! Whether a server may start on a database, by what the feed's row says of it.
//!
//! A backup that was put back half, or a table that was cut, holds rows that are valid each by itself. The feed's row tells: it is sealed,
//! carries the mark of a restore that was begun, and says where the table of endings ends.

use sea_orm::{
    ColumnTrait, ConnectionTrait, FromQueryResult, JoinType,
    sea_query::{Asterisk, Expr, ExprTrait, Query},
};
use tokend_core::{
    ending::Place,
    feed::FeedHead,
    keyring::{KeyRing, WrongKeys},
    row_mac::RowMac,
};

use crate::{
    entity::{endings, feed},
    error::StoreError,
    open_error::OpenError,
    row::Row,
    store::Shared,
};

/// Why no server may start on a database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedProblem {
    /// The row is not the one that was sealed.
    #[error("the feed's row was changed behind tokend's back")]
    Tampered,
    /// The row is missing, or means nothing.
    #[error("the feed's row can't be read: {0}")]
    Corrupt(String),
    /// A restore ended before its end.
    #[error("a restore was begun and not finished")]
    Restoring,
    /// What ended last is not what the row says.
    #[error("the table of endings does not end where the feed's row says, at position {0}: it was changed behind tokend's back")]
    Endings(u64),
}

/// Refuses a start on a database in which something revoked may work again.
pub(crate) async fn check(shared: &Shared) -> Result<(), OpenError> {
    match problem(&shared.connection, &shared.keys.ring()).await? {
        None => Ok(()),
        Some(problem) => Err(OpenError::Untrusted { database: shared.database.clone(), problem }),
    }
}

/// What is wrong with the feed's row and the last of the endings, which are read in one statement.
pub(crate) async fn problem(connection: &impl ConnectionTrait, ring: &KeyRing) -> Result<Option<FeedProblem>, StoreError> {
    let mut last = Query::select();
    last.expr(Expr::col(endings::Column::Position).max()).from(endings::Entity);
    let ended = |column: endings::Column| Expr::col((endings::Entity, column));
    let is_last = ended(endings::Column::Position).eq(Expr::SubQuery(None, Box::new(last.into())));
    let mut query = Query::select();
    query
        .column((feed::Entity, Asterisk))
        .expr_as(ended(endings::Column::Position), POSITION)
        .expr_as(ended(endings::Column::Epoch), EPOCH)
        .expr_as(ended(endings::Column::Line), LINE)
        .from(feed::Entity)
        .join(JoinType::LeftJoin, endings::Entity, is_last)
        .and_where(feed::Column::One.eq(1));
    let Some(found) = connection.query_one(&query).await? else {
        return Ok(Some(FeedProblem::Corrupt("it is missing".to_owned())));
    };
    let model = feed::Model::from_query_result(&found, "")?;
    let Some(mac) = RowMac::from_bytes(FeedHead::mac(&model)) else { return Ok(Some(FeedProblem::Tampered)) };
    let head = match FeedHead::from_model(model) {
        Ok(head) => head,
        Err(problem) => return Ok(Some(FeedProblem::Corrupt(problem))),
    };
    if !ring.is_intact(&head, &mac) {
        return match ring.lacks(mac.kid()) {
            true => Err(StoreError::wrong_keys(WrongKeys::Lacks(mac.kid()))),
            false => Ok(Some(FeedProblem::Tampered)),
        };
    }
    let last: Option<i64> = found.try_get("", POSITION)?;
    let is_right = match last {
        None => head.last_ending == 0,
        Some(position) => {
            let (epoch, line): (i64, String) = (found.try_get("", EPOCH)?, found.try_get("", LINE)?);
            let place = Place { epoch: epoch.unsigned_abs(), position: position.unsigned_abs() };
            head.last_ending == place.position && ring.read_ending(&line).is_ok_and(|(told, _)| told == place)
        }
    };
    Ok(match (head.is_restoring, is_right) {
        (true, _) => Some(FeedProblem::Restoring),
        (false, false) => Some(FeedProblem::Endings(head.last_ending)),
        (false, true) => None,
    })
}

const POSITION: &str = "ending_position";
const EPOCH: &str = "ending_epoch";
const LINE: &str = "ending_line";
