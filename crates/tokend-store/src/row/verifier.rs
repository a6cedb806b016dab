//! Verifies that a stored row is what tokend wrote.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use sea_orm::{FromQueryResult, QueryResult};
use tokend_core::{
    caller::{Caller, CallerKey},
    feed::{FeedEntry, FeedHead},
    keyring::{KeyRing, WrongKeys},
    organization::Organization,
    row_mac::{RowMac, Sealed},
    token::Token,
    webhook::Message,
    workspace::Workspace,
};

use super::sealed::{Locked, Row};
use crate::error::StoreError;

/// Reads and verifies sealed rows, and counts those that fail.
pub(crate) struct RowVerifier {
    ring: Arc<KeyRing>,
    refused: Arc<RefusedRows>,
}

/// The number of rows that failed verification, by table.
#[derive(Default)]
pub(crate) struct RefusedRows([AtomicU64; Self::TABLES.len()]);

impl RowVerifier {
    pub(crate) const fn new(ring: Arc<KeyRing>, refused: Arc<RefusedRows>) -> Self {
        Self { ring, refused }
    }

    pub(crate) fn ring(&self) -> &KeyRing {
        &self.ring
    }

    pub(crate) fn shared_ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring)
    }

    /// Reads a row from columns whose names start with `prefix`.
    pub(crate) fn read<T: Row>(&self, columns: &QueryResult, prefix: &str) -> Result<Locked<T>, StoreError> {
        let read = self.verify(columns, prefix);
        if matches!(read, Err(StoreError::Corrupt { .. } | StoreError::Tampered { .. })) {
            self.refused.count(T::TABLE);
        }
        read
    }

    /// Reads a row of a left join, which may be missing.
    pub(crate) fn read_joined<T: Row>(
        &self,
        columns: &QueryResult,
        prefix: &str,
    ) -> Result<Option<Locked<T>>, StoreError> {
        match columns.try_get::<Option<T::Id>>(prefix, T::KEY) {
            Ok(None) => Ok(None),
            _ => self.read(columns, prefix).map(Some),
        }
    }

    /// Returns the error of a required row that is missing, and counts it.
    pub(crate) fn missing<T: Row>(&self, key: String) -> StoreError {
        self.refused.count(T::TABLE);
        StoreError::corrupt(T::TABLE, key, "the row is missing".to_owned())
    }

    fn verify<T: Row>(&self, columns: &QueryResult, prefix: &str) -> Result<Locked<T>, StoreError> {
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
            // Without the key nobody can say whether the row was changed.
            Ok(_) if self.ring.is_missing(mac.kid()) => Err(StoreError::wrong_keys(WrongKeys::Missing(mac.kid()))),
            Ok(_) => Err(StoreError::tampered(T::TABLE, key)),
        }
    }

    /// Reads every row of a list. A row that fails is an error in its place.
    ///
    /// # Errors
    /// [`StoreError::WrongKeys`] of the whole list: rows that can't be verified must not be left out.
    pub(crate) fn each<T: Row>(&self, rows: &[QueryResult]) -> Result<Vec<Result<T, StoreError>>, StoreError> {
        keep_each(
            rows.iter()
                .map(|columns| self.read(columns, "").map(Locked::into_inner)),
        )
    }
}

/// Collects the rows of a list. A row that fails is an error in its place.
///
/// # Errors
/// [`StoreError::WrongKeys`] of the whole list: rows that can't be verified must not be left out.
pub(crate) fn keep_each<T>(
    rows: impl IntoIterator<Item = Result<T, StoreError>>,
) -> Result<Vec<Result<T, StoreError>>, StoreError> {
    let mut each = Vec::new();
    for row in rows {
        if let Err(error @ StoreError::WrongKeys { .. }) = row {
            return Err(error);
        }
        each.push(row);
    }
    Ok(each)
}

impl RefusedRows {
    const TABLES: [&'static str; 8] = [
        Token::TABLE,
        Workspace::TABLE,
        Organization::TABLE,
        Caller::TABLE,
        CallerKey::TABLE,
        Message::TABLE,
        FeedHead::TABLE,
        FeedEntry::TABLE,
    ];

    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Self::TABLES
            .into_iter()
            .zip(&self.0)
            .map(|(table, count)| (table, count.load(Ordering::Relaxed)))
    }

    fn count(&self, table: &str) {
        let of_table = Self::TABLES.into_iter().zip(&self.0).find(|(name, _)| *name == table);
        if let Some((_, count)) = of_table {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}
