//! Usage of tokens and caller keys.

pub(crate) mod reads;
pub(crate) mod row;
pub(crate) mod tables;
pub(crate) mod writes;
