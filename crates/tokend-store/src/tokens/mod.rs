//! Tokens: their table, reads, filters and writes.

pub(crate) mod filter_sql;
pub(crate) mod filtered;
pub(crate) mod reads;
pub(crate) mod row;
pub(crate) mod snapshot;
pub(crate) mod tables;
pub(crate) mod unrevoked;
pub(crate) mod walk;
pub(crate) mod writes;
