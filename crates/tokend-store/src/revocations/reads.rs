use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};
use tokend_core::{credential::CredentialId, name::TokenName, revocation::Place};

use crate::{
    error::StoreError,
    revocations::tables::endings,
    row,
    store::Store,
    tokens::filter_sql::not_ended_by_itself,
    tokens::{row::token_name, tables::tokens},
};

/// A revocation record as it is stored and exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRevocation {
    /// Its epoch and position.
    pub place: Place,
    /// The line, without a line break.
    pub line: String,
}

impl Store {
    /// Returns the revocation records after `position`, at most `limit`, in the order of commits.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revocations_after(&self, position: u64, limit: u64) -> Result<Vec<StoredRevocation>, StoreError> {
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

    /// Returns the revocation record at `position`, if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revocation_at(&self, position: u64) -> Result<Option<StoredRevocation>, StoreError> {
        self.run(move |shared| async move {
            let Ok(position) = i64::try_from(position) else {
                return Ok(None);
            };
            Ok(endings::Entity::find_by_id(position)
                .one(&shared.connection)
                .await?
                .map(read))
        })
        .await
    }

    /// Returns the last revocation record. `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn last_revocation(&self) -> Result<Option<StoredRevocation>, StoreError> {
        self.run(|shared| async move {
            let query = endings::Entity::find().order_by_desc(endings::Column::Position);
            Ok(query.one(&shared.connection).await?.map(read))
        })
        .await
    }

    /// Returns tokens of all workspaces that are neither revoked nor past their own expiry, whatever their policy
    /// deadlines, ordered by id: at most `limit`, after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn live_tokens(&self, after: Option<CredentialId>, limit: u64) -> Result<Vec<TokenName>, StoreError> {
        self.run(move |shared| async move {
            let now = shared.now(&shared.connection).await?;
            let mut query = tokens::Entity::find()
                .select_only()
                .columns([tokens::Column::Workspace, tokens::Column::Id])
                .filter(not_ended_by_itself(now));
            if let Some(after) = after {
                query = query.filter(tokens::Column::Id.gt(after.as_bytes().to_vec()));
            }
            let query = query.order_by_asc(tokens::Column::Id).limit(limit);
            let rows = shared.connection.query_all(&query.into_query()).await?;
            rows.iter().map(token_name).collect()
        })
        .await
    }

    /// Returns the number of tokens that [`live_tokens`](Self::live_tokens) lists.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn live_token_count(&self) -> Result<u64, StoreError> {
        self.run(|shared| async move {
            let now = shared.now(&shared.connection).await?;
            let query = row::counting(tokens::Entity::find().filter(not_ended_by_itself(now)));
            row::count(shared.connection.query_one(&query).await?)
        })
        .await
    }
}

fn read(model: endings::Model) -> StoredRevocation {
    let endings::Model { position, epoch, line } = model;
    StoredRevocation {
        place: Place {
            epoch: epoch.unsigned_abs(),
            position: position.unsigned_abs(),
        },
        line,
    }
}
