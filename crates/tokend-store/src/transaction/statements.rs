//! The statements of a transaction, and the keys that seal and verify its rows. An error of any of them means that
//! nothing of the transaction can be committed.

use sea_orm::{
    ActiveModelTrait, ConnectionTrait, Insert as InsertQuery, QueryResult, QueryTrait, StatementBuilder,
    sea_query::{OnConflict, SelectStatement},
};
use tokend_core::{
    keyring::{KeyRing, WrongKeys},
    row_mac::{RowMac, Sealed},
};

use super::{Insert, WriteTx};
use crate::{
    error::StoreError,
    keys::row as keys_row,
    row::{Locked, Row, RowVerifier},
};

impl WriteTx {
    /// Returns the key ring as this transaction finds it. It does not change before the transaction ends.
    ///
    /// # Errors
    /// [`StoreError::WrongKeys`] if this process does not have the active key.
    pub async fn ring(&self) -> Result<&KeyRing, StoreError> {
        let ring = self.row_verifier().await?.ring();
        match ring.missing_active_key() {
            Some(kid) => Err(self.failing(StoreError::wrong_keys(WrongKeys::Missing(kid)))),
            None => Ok(ring),
        }
    }

    /// Returns the MAC to store with `row`, by the key that is active in this transaction.
    pub(crate) async fn seal<T: Sealed>(&self, row: &T) -> Result<RowMac, StoreError> {
        Ok(self.ring().await?.seal(row))
    }

    pub(crate) async fn row_verifier(&self) -> Result<&RowVerifier, StoreError> {
        let find = async || {
            let known = keys_row::known(&self.tx).await?;
            let ring = self.shared.keys.ring_of(&known).map_err(StoreError::wrong_keys)?;
            Ok::<_, StoreError>(self.shared.row_verifier_with(ring))
        };
        self.noting_failure(self.row_verifier.get_or_try_init(find).await)
    }

    /// Inserts a row unless a row with that key exists.
    pub(crate) async fn insert<A: ActiveModelTrait>(&self, insert: InsertQuery<A>) -> Result<Insert, StoreError> {
        let query = insert
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .into_query();
        Ok(if self.change(&query).await? {
            Insert::Done
        } else {
            Insert::Taken
        })
    }

    /// Runs a statement and returns whether it changed a row.
    pub(crate) async fn change(&self, statement: &impl StatementBuilder) -> Result<bool, StoreError> {
        Ok(self.count_changed(statement).await? > 0)
    }

    /// Runs a statement and returns the number of changed rows.
    pub(crate) async fn count_changed(&self, statement: &impl StatementBuilder) -> Result<u64, StoreError> {
        Ok(self.noting_failure(self.tx.execute(statement).await)?.rows_affected())
    }

    /// Runs a query for one row.
    pub(crate) async fn find(&self, query: &SelectStatement) -> Result<Option<QueryResult>, StoreError> {
        self.noting_failure(self.tx.query_one(query).await)
    }

    /// Runs a query for many rows.
    pub(crate) async fn find_all(&self, query: &SelectStatement) -> Result<Vec<QueryResult>, StoreError> {
        self.noting_failure(self.tx.query_all(query).await)
    }

    /// Reads the sealed row that a query finds, if any.
    pub(crate) async fn read_one<T: Row>(&self, query: &SelectStatement) -> Result<Option<Locked<T>>, StoreError> {
        let Some(found) = self.find(query).await? else {
            return Ok(None);
        };
        self.row_verifier().await?.read(&found, "").map(Some)
    }

    /// Reads each of the sealed rows that a query finds.
    pub(crate) async fn read_all<T: Row>(
        &self,
        query: &SelectStatement,
    ) -> Result<Vec<Result<Locked<T>, StoreError>>, StoreError> {
        let found = self.find_all(query).await?;
        let row_verifier = self.row_verifier().await?;
        Ok(found.iter().map(|columns| row_verifier.read(columns, "")).collect())
    }
}
