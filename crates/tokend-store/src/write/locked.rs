use std::ops::Deref;

use tokend_core::row_mac::RowMac;

/// A row as it was read under its lock. A change is applied to it only where its MAC is still the one read here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked<T> {
    row: T,
    pub(super) mac: RowMac,
}

impl<T> Locked<T> {
    pub(crate) const fn new(row: T, mac: RowMac) -> Self {
        Self { row, mac }
    }

    /// The row itself.
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
