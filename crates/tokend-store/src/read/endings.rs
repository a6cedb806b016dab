use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::{Expr, Query},
};
use tokend_core::{credential::CredentialId, ending::Place, name::TokenName};

use super::token_name;
use crate::{
    entity::{endings, feed, tokens},
    error::StoreError,
    row,
    store::Store,
};

/// The key of the feed's one row.
const ONE: i16 = 1;

/// What ended, as it is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEnding {
    /// Where it stands.
    pub place: Place,
    /// The line, without its end.
    pub line: String,
}

impl Store {
    /// The epoch in which revisions are counted now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn epoch(&self) -> Result<u64, StoreError> {
        self.run(|shared| async move {
            let corrupt = |problem: &str| StoreError::corrupt("feed", "1".to_owned(), problem.to_owned());
            let feed = feed::Entity::find_by_id(ONE).one(&shared.connection).await?.ok_or_else(|| corrupt("the row is missing"))?;
            u64::try_from(feed.epoch).map_err(|_| corrupt("column epoch is negative"))
        })
        .await
    }

    /// What ended behind `position`, at most `limit` of it, in the order of commits.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn endings_after(&self, position: u64, limit: u64) -> Result<Vec<StoredEnding>, StoreError> {
        self.run(move |shared| async move {
            let query = endings::Entity::find()
                .filter(endings::Column::Position.gt(position.cast_signed()))
                .order_by_asc(endings::Column::Position)
                .limit(limit);
            let rows = query.all(&shared.connection).await?;
            Ok(rows.into_iter().map(read).collect())
        })
        .await
    }

    /// The first and the last position of an epoch; nothing if nothing ended in it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn endings_of_epoch(&self, epoch: u64) -> Result<Option<(u64, u64)>, StoreError> {
        self.run(move |shared| async move {
            let mut query = Query::select();
            query
                .expr_as(Expr::cust("min(position)"), "first")
                .expr_as(Expr::cust("max(position)"), "last")
                .from(endings::Entity)
                .and_where(endings::Column::Epoch.eq(epoch.cast_signed()));
            let Some(found) = shared.connection.query_one(&query).await? else { return Ok(None) };
            let (first, last): (Option<i64>, Option<i64>) = (found.try_get("", "first")?, found.try_get("", "last")?);
            Ok(first.zip(last).map(|(first, last)| (first.unsigned_abs(), last.unsigned_abs())))
        })
        .await
    }

    /// The last position of all; 0 if nothing ever ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn last_ending(&self) -> Result<u64, StoreError> {
        self.run(|shared| async move {
            let query = endings::Entity::find().order_by_desc(endings::Column::Position);
            Ok(query.one(&shared.connection).await?.map_or(0, |last| last.position.unsigned_abs()))
        })
        .await
    }

    /// Tokens of all workspaces that are neither revoked nor past their own end, whatever deadlines bind them, by id: at most `limit`, after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn live_tokens(&self, after: Option<CredentialId>, limit: u64) -> Result<Vec<TokenName>, StoreError> {
        self.run(move |shared| async move {
            let now = shared.now(&shared.connection).await?;
            let mut query = tokens::Entity::find()
                .select_only()
                .columns([tokens::Column::Workspace, tokens::Column::Id])
                .filter(row::not_ended_by_itself(now));
            if let Some(after) = after {
                query = query.filter(tokens::Column::Id.gt(after.as_bytes().to_vec()));
            }
            let query = query.order_by_asc(tokens::Column::Id).limit(limit);
            let rows = shared.connection.query_all(&query.into_query()).await?;
            rows.iter().map(token_name).collect()
        })
        .await
    }

    /// How many those are.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn live_token_count(&self) -> Result<u64, StoreError> {
        self.run(|shared| async move {
            let now = shared.now(&shared.connection).await?;
            let query = row::counting(tokens::Entity::find().filter(row::not_ended_by_itself(now)));
            row::count(shared.connection.query_one(&query).await?)
        })
        .await
    }
}

fn read(model: endings::Model) -> StoredEnding {
    let endings::Model { position, epoch, line } = model;
    StoredEnding { place: Place { epoch: epoch.unsigned_abs(), position: position.unsigned_abs() }, line }
}
