//! Rows: converting columns to `tokend-core` types and back, and verifying MACs.
//!
//! Reading goes through a [`RowVerifier`]: decode the columns, convert them to the domain type, compare the MAC. Only
//! rows that pass all three leave the crate; any other row becomes an error that names its table and key. Each
//! subject's `row` module converts its own rows.

mod columns;
pub(crate) mod filter;
pub(crate) mod list;
mod paging;
mod sealed;
mod verifier;

pub use paging::TimeCursor;
pub use sealed::Locked;

pub(crate) use columns::{
    LEFT, RIGHT, THIRD, column, credential_id, credential_id_in, digest, flag, optional_time, revision, select_columns,
    shown_id, time,
};
pub(crate) use paging::{COUNT, count, counting, cut};
pub(crate) use sealed::Row;
pub(crate) use verifier::{RefusedRows, RowVerifier, keep_each};
