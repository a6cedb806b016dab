//! Checks the feed row before a server starts on a database.
//!
//! Every single row of a half-restored backup or of a truncated table is valid. The feed row reveals such a database:
//! it is sealed, it marks a restore that was not finished, and it holds the position of the last revocation record.

use sea_orm::{
    ColumnTrait, ConnectionTrait, FromQueryResult, JoinType,
    sea_query::{Asterisk, Expr, ExprTrait, Query},
};
use tokend_core::{
    feed::FeedHead,
    keyring::{KeyRing, WrongKeys},
    revocation::Place,
    row_mac::RowMac,
};

use crate::{
    error::{FeedProblem, OpenError, StoreError},
    feed::tables::feed,
    revocations::tables::endings,
    row::Row,
    shared::Shared,
};

/// Returns an error if revoked tokens may work again in the database.
pub(crate) async fn check(shared: &Shared) -> Result<(), OpenError> {
    match problem(&shared.connection, &shared.keys.ring()).await? {
        None => Ok(()),
        Some(problem) => Err(OpenError::Untrusted {
            database: shared.database.clone(),
            problem,
        }),
    }
}

/// Returns what is wrong with the feed row or the last revocation record. Reads both in one statement.
pub(crate) async fn problem(
    connection: &impl ConnectionTrait,
    ring: &KeyRing,
) -> Result<Option<FeedProblem>, StoreError> {
    let mut last = Query::select();
    last.expr(Expr::col(endings::Column::Position).max())
        .from(endings::Entity);
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
    let Some(mac) = RowMac::from_bytes(FeedHead::mac(&model)) else {
        return Ok(Some(FeedProblem::Tampered));
    };
    let head = match FeedHead::from_model(model) {
        Ok(head) => head,
        Err(problem) => return Ok(Some(FeedProblem::Corrupt(problem))),
    };
    if !ring.is_intact(&head, &mac) {
        if ring.is_missing(mac.kid()) {
            return Err(StoreError::wrong_keys(WrongKeys::Missing(mac.kid())));
        }
        return Ok(Some(FeedProblem::Tampered));
    }
    let last: Option<i64> = found.try_get("", POSITION)?;
    let is_right = match last {
        None => head.last_revocation == 0,
        Some(position) => {
            let (epoch, line): (i64, String) = (found.try_get("", EPOCH)?, found.try_get("", LINE)?);
            let place = Place {
                epoch: epoch.unsigned_abs(),
                position: position.unsigned_abs(),
            };
            head.last_revocation == place.position
                && ring.read_revocation(&line).is_ok_and(|(recorded, _)| recorded == place)
        }
    };
    if head.is_restoring {
        return Ok(Some(FeedProblem::Restoring));
    }
    Ok((!is_right).then_some(FeedProblem::Endings(head.last_revocation)))
}

const POSITION: &str = "ending_position";
const EPOCH: &str = "ending_epoch";
const LINE: &str = "ending_line";
