//! Whether a stored row is what tokend wrote.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use sea_orm::{FromQueryResult, QueryResult};
use tokend_core::{
    caller::{Caller, CallerKey},
    feed::FeedHead,
    keyring::{KeyRing, WrongKeys},
    organization::Organization,
    row_mac::{RowMac, Sealed},
    token::Token,
    webhook::Message,
    workspace::Workspace,
};

use super::Row;
use crate::{error::StoreError, write::Locked};

/// Reads sealed rows, and counts those that it refuses.
pub(crate) struct Judge {
    ring: Arc<KeyRing>,
    refused: Arc<RefusedRows>,
}

/// How many rows were refused, table by table.
#[derive(Default)]
pub(crate) struct RefusedRows([AtomicU64; Self::TABLES.len()]);

impl Judge {
    pub(crate) const fn new(ring: Arc<KeyRing>, refused: Arc<RefusedRows>) -> Self {
        Self { ring, refused }
    }

    pub(crate) fn ring(&self) -> &KeyRing {
        &self.ring
    }

    pub(crate) fn shared_ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring)
    }

    /// Takes a row out of a result whose columns start with `prefix`.
    pub(crate) fn read<T: Row>(&self, columns: &QueryResult, prefix: &str) -> Result<Locked<T>, StoreError> {
        let read = self.judge(columns, prefix);
        if matches!(read, Err(StoreError::Corrupt { .. } | StoreError::Tampered { .. })) {
            self.refused.count(T::TABLE);
        }
        read
    }

    /// Likewise, where a join need not have found a row.
    pub(crate) fn read_joined<T: Row>(&self, columns: &QueryResult, prefix: &str) -> Result<Option<Locked<T>>, StoreError> {
        match columns.try_get::<Option<T::Id>>(prefix, T::KEY) {
            Ok(None) => Ok(None),
            _ => self.read(columns, prefix).map(Some),
        }
    }

    /// A row that must be there and is not.
    pub(crate) fn missing<T: Row>(&self, key: String) -> StoreError {
        self.refused.count(T::TABLE);
        StoreError::corrupt(T::TABLE, key, "the row is missing".to_owned())
    }

    fn judge<T: Row>(&self, columns: &QueryResult, prefix: &str) -> Result<Locked<T>, StoreError> {
        let model = T::Model::from_query_result(columns, prefix).map_err(|error| {
            let key = T::key_of_undecoded(columns, prefix).unwrap_or_else(|| "(key unreadable)".to_owned());
            StoreError::corrupt(T::TABLE, key, error.to_string())
        })?;
        let key = T::key(&model);
        let Some(mac) = RowMac::from_bytes(T::mac(&model)) else {
            return Err(StoreError::tampered(T::TABLE, key));
        };
        match T::from_model(model) {
            Err(problem) => Err(StoreError::corrupt(T::TABLE, key, problem)),
            Ok(row) if self.ring.is_intact(&row, &mac) => Ok(Locked::new(row, mac)),
            // Nothing can be said of it, least of all that somebody changed it.
            Ok(_) if self.ring.lacks(mac.kid()) => Err(StoreError::wrong_keys(WrongKeys::Lacks(mac.kid()))),
            Ok(_) => Err(StoreError::tampered(T::TABLE, key)),
        }
    }

    /// Reads every row of a list, good or bad.
    ///
    /// Fails as a whole where rows can't be judged: left out, they would be missed.
    pub(crate) fn each<T: Row>(&self, rows: &[QueryResult]) -> Result<Vec<Result<T, StoreError>>, StoreError> {
        rows.iter().map(|columns| judged(self.read(columns, "").map(Locked::into_inner))).collect()
    }
}

/// What was read of a list, good or bad; an error of the whole list where that can't be told.
pub(crate) fn judged<T>(read: Result<T, StoreError>) -> Result<Result<T, StoreError>, StoreError> {
    match read {
        Err(unjudged @ StoreError::WrongKeys { .. }) => Err(unjudged),
        judged => Ok(judged),
    }
}

impl RefusedRows {
    const TABLES: [&'static str; 7] =
        [Token::TABLE, Workspace::TABLE, Organization::TABLE, Caller::TABLE, CallerKey::TABLE, Message::TABLE, FeedHead::TABLE];

    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Self::TABLES.into_iter().zip(&self.0).map(|(table, count)| (table, count.load(Ordering::Relaxed)))
    }

    fn count(&self, table: &str) {
        let of_table = Self::TABLES.into_iter().zip(&self.0).find(|(name, _)| *name == table);
        if let Some((_, count)) = of_table {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}
