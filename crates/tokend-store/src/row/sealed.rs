//! Sealed rows: rows that carry a MAC over their columns.

use std::ops::Deref;

use sea_orm::{FromQueryResult, QueryResult, TryGetable, Value};
use tokend_core::row_mac::{RowMac, Sealed};

/// A table whose rows are sealed.
pub(crate) trait Row: Sealed + Sized {
    /// The type of the key column.
    type Id: TryGetable + Into<Value>;
    /// The columns.
    type Model: FromQueryResult + Send;

    /// The name of the key column.
    const KEY: &'static str = "id";

    /// Returns the row's key as text.
    fn key(model: &Self::Model) -> String;

    /// Returns the row's key from columns that could not be decoded completely.
    fn key_of_undecoded(columns: &QueryResult, prefix: &str) -> Option<String>;

    /// Returns the stored MAC.
    fn mac(model: &Self::Model) -> &[u8];

    /// Converts the columns. The error says which column is malformed.
    fn from_model(model: Self::Model) -> Result<Self, String>;
}

/// A row as it was read under its lock. An update is applied only if the MAC is still the one that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked<T> {
    row: T,
    pub(crate) mac: RowMac,
}

impl<T> Locked<T> {
    pub(crate) const fn new(row: T, mac: RowMac) -> Self {
        Self { row, mac }
    }

    /// Returns the row itself.
    pub fn into_inner(self) -> T {
        self.row
    }
}

impl<T> Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.row
    }
}
