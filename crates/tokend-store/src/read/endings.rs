use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};
use tokend_core::{credential::CredentialId, ending::Place, name::TokenName};

use super::token_name;
use crate::{
    entity::{endings, tokens},
    error::StoreError,
    row,
    store::Store,
};

/// What ended, as it is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEnding {
    /// Where it stands.
    pub place: Place,
    /// The line, without its end.
    pub line: String,
}

impl Store {
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

    /// What ended at `position`, if the database knows of it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ending_at(&self, position: u64) -> Result<Option<StoredEnding>, StoreError> {
        self.run(move |shared| async move {
            let Ok(position) = i64::try_from(position) else { return Ok(None) };
            Ok(endings::Entity::find_by_id(position).one(&shared.connection).await?.map(read))
        })
        .await
    }

    /// What ended last of all; nothing if nothing ever ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn last_ending(&self) -> Result<Option<StoredEnding>, StoreError> {
        self.run(|shared| async move {
            let query = endings::Entity::find().order_by_desc(endings::Column::Position);
            Ok(query.one(&shared.connection).await?.map(read))
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
