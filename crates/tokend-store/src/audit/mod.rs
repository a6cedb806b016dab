//! The audit log: its chains, records and checkpoints, and their verification.

pub(crate) mod checkpoints;
pub(crate) mod filter_sql;
pub(crate) mod filtered;
pub(crate) mod reads;
pub(crate) mod row;
pub(crate) mod tables;
pub(crate) mod verify;
pub(crate) mod writes;
