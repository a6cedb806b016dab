//! Callers, their keys and the names in their certificates.

pub(crate) mod current;
pub(crate) mod reads;
pub(crate) mod row;
pub(crate) mod snapshots;
pub(crate) mod tables;
pub(crate) mod writes;
